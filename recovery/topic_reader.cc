#include "recovery/topic_reader.h"

#include <algorithm>

namespace millrace {

namespace {

constexpr int kPollMs = 50;
constexpr int64_t kComplainMs = 10'000;

struct Reading {
  size_t range;      // index in the caller's list
  int64_t position;  // everything below was seen
};

Status stalled(const ReadRange& range, const Reading& reading, int64_t waited_ms) {
  return Status::external(
      Code::kKafkaUnavailable,
      fmt::format("{}[{}]: no progress for {} s at offset {} of {}; either the broker does not answer, or another "
                  "producer holds a transaction open there (its timeout ends it; kafka-transactions.sh finds it)",
                  range.at.topic, range.at.partition, waited_ms / 1000, reading.position, range.end));
}

}  // namespace

Status read_to_end(KafkaConsumer& consumer, const std::vector<ReadRange>& ranges, const ReadLimits& limits,
                   const Clock& clock, const Logger& log, const ReadVisitor& visit) {
  std::vector<Reading> readings;
  std::vector<PartitionOffset> assignment;
  for (size_t i = 0; i < ranges.size(); i++) {
    if (ranges[i].begin >= ranges[i].end) continue;
    readings.push_back({i, ranges[i].begin});
    assignment.push_back({ranges[i].at, ranges[i].begin});
  }
  if (readings.empty()) return Status::ok();
  MR_RETURN_IF_ERROR(consumer.assign(assignment));
  auto now_ms = [&clock] { return clock.monotonic_us() / 1000; };
  auto unfinished = [&] {
    return std::find_if(readings.begin(), readings.end(),
                        [&](const Reading& reading) { return reading.position < ranges[reading.range].end; });
  };
  int64_t moved_ms = now_ms();
  int64_t complained_ms = moved_ms;
  KafkaPoll poll;
  for (auto waiting = unfinished(); waiting != readings.end(); waiting = unfinished()) {
    if (limits.stop != nullptr && *limits.stop) return Status::internal("another reader has failed");
    MR_RETURN_IF_ERROR(consumer.poll(limits.poll_records, limits.poll_bytes, kPollMs, false, &poll));
    bool moved = !poll.records.empty();
    for (const KafkaRecord& record : poll.records) {
      Reading& reading = readings[record.partition_index];
      if (record.offset < ranges[reading.range].end) MR_RETURN_IF_ERROR(visit(reading.range, record));
      reading.position = std::max(reading.position, record.offset + 1);
    }
    for (const auto& [index, position] : poll.ends) {
      moved = moved || position > readings[index].position;
      readings[index].position = std::max(readings[index].position, position);
    }
    int64_t now = now_ms();
    if (moved) moved_ms = complained_ms = now;
    if (now - moved_ms >= limits.no_progress_ms) return stalled(ranges[waiting->range], *waiting, now - moved_ms);
    if (now - complained_ms >= kComplainMs) {
      const ReadRange& range = ranges[waiting->range];
      log.warn("{}[{}]: waiting at offset {} of {} for {} s (an open transaction of another producer, or the broker)",
               range.at.topic, range.at.partition, waiting->position, range.end, (now - moved_ms) / 1000);
      complained_ms = now;
    }
  }
  return Status::ok();
}

}  // namespace millrace
