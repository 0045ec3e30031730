#include "recovery/changelog_restore.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "base/crash_point.h"
#include "base/murmur2.h"
#include "recovery/changelog_key.h"
#include "recovery/operator_table.h"

namespace millrace {

namespace {

constexpr size_t kTailChunkBytes = 32u << 20;  // of all readers
constexpr int64_t kClockSlackMs = 3'600'000;

const ChangelogPosition* find_position(const ProgressRecord& record, const TopicPartition& at) {
  auto found = std::find_if(record.changelog.begin(), record.changelog.end(), [&](const ChangelogPosition& position) {
    return position.partition == at.partition && position.topic == at.topic;
  });
  return found == record.changelog.end() ? nullptr : &*found;
}

int64_t tail_begin(const ChangelogSpan& span, const ProgressRecord& held) {
  const ChangelogPosition* position = find_position(held, span.at);
  return position == nullptr ? span.floor : std::max(position->offset, span.floor);
}

std::string why_other_state(const ProgressRecord& target, const ProgressRecord& held) {
  if (held.pipeline != target.pipeline) return fmt::format("it belongs to pipeline \"{}\"", held.pipeline);
  if (held.mode != target.mode) return fmt::format("it was written in mode {}", held.mode);
  if (held.generation != target.generation) return "it belongs to a state that was reset since, or to another life";
  if (held.shards != target.shards || held.key_codec != target.key_codec) return "its keys are laid out differently";
  if (held.epoch > target.epoch) {
    return fmt::format("it is at epoch {}, ahead of the last decided epoch {}", held.epoch, target.epoch);
  }
  for (const OperatorProgress& op : held.operators) {
    bool same = std::any_of(target.operators.begin(), target.operators.end(), [&](const OperatorProgress& other) {
      return other.id == op.id && other.number == op.number && other.descriptor == op.descriptor;
    });
    if (!same) return fmt::format("it holds an operator \"{}\" that is gone or has changed", op.id);
  }
  return "";
}

// Turns changelog records into entries of the store. One reader's.
class EntryMaker {
 public:
  EntryMaker(const RestorePlan& plan, const RestoreTools& tools, size_t reader)
      : plan_(plan), log_(tools.log), consumer_(*tools.consumers[reader]) {}
  // False: not one of ours (no key, or in a partition where its key does not belong); counted and left out.
  bool make(size_t range, const KafkaRecord& record, std::string* key) {
    const ChangelogSpan& span = plan_.spans[range];
    std::string_view user_key = record.key;
    uint32_t shard = shard_of(user_key, plan_.target.shards);
    if (may_have_shard(record.key) && has_shard_header(record)) split_shard(record.key, &shard, &user_key);
    uint32_t partitions = partitions_of(span);
    const bool known = record.key.data() != nullptr && shard < plan_.target.shards;
    if (!known || shard % partitions != static_cast<uint32_t>(span.at.partition)) {
      if (foreign_++ == 0) {
        log_.warn("{}[{}]: the record at offset {} was not written by this pipeline; it is ignored", span.at.topic,
                  span.at.partition, record.offset);
      }
      return false;
    }
    const uint16_t number = span.operator_number;
    const char prefix[kFullKeyPrefix] = {static_cast<char>(shard >> 8), static_cast<char>(shard),
                                         static_cast<char>(number >> 8), static_cast<char>(number)};
    key->assign(prefix, sizeof prefix).append(user_key);
    return true;
  }

 private:
  bool has_shard_header(KafkaRecord record) {
    consumer_.read_headers(&record);
    return record.header_count > 0 && record.headers[0].name == kShardHeader;
  }
  uint32_t partitions_of(const ChangelogSpan& span) {
    if (counted_for_ == &span) return counted_;
    counted_for_ = &span;
    counted_ = static_cast<uint32_t>(std::count_if(plan_.spans.begin(), plan_.spans.end(), [&](const auto& other) {
      return other.operator_number == span.operator_number;
    }));
    return counted_;
  }
  const RestorePlan& plan_;
  const Logger& log_;
  KafkaConsumer& consumer_;
  const ChangelogSpan* counted_for_ = nullptr;
  uint32_t counted_ = 1;
  uint64_t foreign_ = 0;
};

// What one reader makes of a record: its entry's full key, and the record.
using EntryVisitor = std::function<Status(size_t reader, const std::string& key, const KafkaRecord& record)>;

// Reads the ranges with all consumers at once. A partition number is always read by the same one, so that a key of the
// store always comes from the same reader; visit is called by every reader for its own. Returns the number of entries.
Result<uint64_t> read_entries(const RestorePlan& plan, const std::vector<ReadRange>& ranges, const RestoreTools& tools,
                              const EntryVisitor& visit) {
  const size_t readers = tools.consumers.size();
  std::atomic<uint64_t> entries = 0;
  std::atomic<bool> failed = false;
  Status failure;  // the first one, written by who sets `failed`
  const auto read = [&](size_t reader) {
    std::vector<ReadRange> own;
    std::vector<size_t> spans;
    for (size_t i = 0; i < ranges.size(); i++) {
      if (static_cast<size_t>(ranges[i].at.partition) % readers != reader) continue;
      own.push_back(ranges[i]);
      spans.push_back(i);
    }
    EntryMaker maker(plan, tools, reader);
    std::string key;
    uint64_t made = 0;
    ReadLimits limits = tools.limits;
    limits.stop = &failed;
    Status result = read_to_end(*tools.consumers[reader], own, limits, tools.clock, tools.log,
                                [&](size_t range, const KafkaRecord& record) {
                                  if (!maker.make(spans[range], record, &key)) return Status::ok();
                                  made++;
                                  crash_point("restore-record");
                                  return visit(reader, key, record);
                                });
    entries += made;
    if (!result.is_ok() && !failed.exchange(true)) failure = std::move(result);
  };
  std::vector<std::thread> threads;
  for (size_t reader = 1; reader < readers; reader++) threads.emplace_back(read, reader);
  read(0);
  for (std::thread& thread : threads) thread.join();
  if (failed) return failure;
  return entries.load();
}

}  // namespace

std::string why_full(const RestorePlan& plan, const ProgressRecord* held) {
  if (held == nullptr) return "it is empty";
  if (std::string why = why_other_state(plan.target, *held); !why.empty()) return why;
  int64_t age_ms = plan.now_wall_ms - held->decided_wall_ms;
  if (age_ms > plan.delete_retention_ms / 2) {
    return fmt::format("it is {} h old, and tombstones are only kept for {} h", age_ms / 3'600'000,
                       plan.delete_retention_ms / 3'600'000);
  }
  if (age_ms < -kClockSlackMs) return "it is from the future: the wall clock was set back, so its age is unknown";
  for (const ChangelogSpan& span : plan.spans) {
    int64_t begin = tail_begin(span, *held);
    if (begin < span.low || begin > span.high) {
      return fmt::format("it is at offset {} of {}[{}], the topic holds {} to {}", begin, span.at.topic,
                         span.at.partition, span.low, span.high);
    }
  }
  return "";
}

std::vector<ChangelogSpan> incomplete_spans(const RestorePlan& plan) {
  std::vector<ChangelogSpan> incomplete;
  for (const ChangelogSpan& span : plan.spans) {
    if (span.low > span.floor) incomplete.push_back(span);
  }
  return incomplete;
}

int64_t records_to_read(const RestorePlan& plan, const std::optional<ProgressRecord>& held) {
  int64_t records = 0;
  for (const ChangelogSpan& span : plan.spans) {
    records += span.high - (held ? tail_begin(span, *held) : std::max(span.low, span.floor));
  }
  return records;
}

Result<uint64_t> replay_tail(const RestorePlan& plan, const ProgressRecord& held, StateStore& store,
                             const RestoreTools& tools) {
  std::vector<ReadRange> ranges;
  for (const ChangelogSpan& span : plan.spans) ranges.push_back({span.at, tail_begin(span, held), span.high});
  const std::string held_bytes = held.encode();
  const size_t readers = tools.consumers.size();
  std::vector<DeltaBuilder> builders(readers, DeltaBuilder(plan.target.epoch));
  std::mutex ingesting;
  MR_ASSIGN(const uint64_t replayed,
            read_entries(plan, ranges, tools, [&](size_t reader, const std::string& key, const KafkaRecord& record) {
              DeltaBuilder& builder = builders[reader];
              if (record.value.data() == nullptr) {
                builder.remove_full(key);
              } else {
                builder.put_full(key, record.value);
              }
              if (builder.bytes() < kTailChunkBytes / readers) return Status::ok();
              const DeltaPtr part = builder.finish(false);
              const std::lock_guard lock(ingesting);
              return store.ingest(*part, held_bytes);
            }));
  std::vector<DeltaPtr> last;
  for (DeltaBuilder& builder : builders) last.push_back(builder.finish(false));
  const DeltaPtr rest = readers == 1 ? last[0] : Delta::merge(last, false, false);
  MR_RETURN_IF_ERROR(store.ingest(*rest, plan.target.encode()));
  return replayed;
}

Result<uint64_t> replay_full(const RestorePlan& plan, StateStore& store, const RestoreTools& tools) {
  std::vector<ReadRange> ranges;
  for (const ChangelogSpan& span : plan.spans) ranges.push_back({span.at, std::max(span.low, span.floor), span.high});
  const int64_t started_us = tools.clock.monotonic_us();
  MR_ASSIGN(std::unique_ptr<BulkLoad> load, store.bulk_load(tools.consumers.size()));
  MR_ASSIGN(const uint64_t replayed,
            read_entries(plan, ranges, tools, [&](size_t reader, const std::string& key, const KafkaRecord& record) {
              return record.value.data() == nullptr ? load->remove(reader, key) : load->put(reader, key, record.value);
            }));
  const int64_t read_us = tools.clock.monotonic_us();
  MR_RETURN_IF_ERROR(load->finish(plan.target.encode()));
  tools.log.debug("{} changelog records read in {} ms, loaded in {} ms more", replayed, (read_us - started_us) / 1000,
                  (tools.clock.monotonic_us() - read_us) / 1000);
  return replayed;
}

}  // namespace millrace
