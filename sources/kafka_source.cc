#include "sources/kafka_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "formats/format.h"
#include "kafka/admin.h"
#include "kafka/consumer.h"

namespace millrace {
namespace {

constexpr int kGatherBytes = 64 * 1024;  // of a fetch, where rows may be gathered
constexpr int kRequestTimeoutMs = 1000;
constexpr int kCommitTimeoutMs = 1000;
constexpr int64_t kCommitEveryMs = 1000;
constexpr int64_t kRecommitEveryMs = 60'000;
constexpr int64_t kCheckTopicsEveryMs = 30'000;
constexpr int64_t kTopicRetryMinMs = 100;
constexpr int64_t kTopicRetryMaxMs = 5000;
constexpr int kIdleWaitMs = 50;
// A partition that gives nothing for so long while the broker says that there is something; longer while others give.
constexpr int64_t kStallMs = 10'000;
constexpr int64_t kStallBesideOthersMs = 60'000;
constexpr int64_t kMaxStallMs = 600'000;
constexpr int64_t kStallCheckEveryMs = 1000;
constexpr int64_t kPausedMs = 3000;  // between two polls: the pipeline did not ask

struct Partition {
  TopicPartition at;
  std::string topic_id;
  int64_t position = 0;       // behind the last record that was handed out
  int64_t end = INT64_MAX;    // bounded: the first offset that is not read
  int64_t last_ms = kNoTime;  // broker's time of the last record
  bool at_end = false;
  int64_t seen_position = -1;  // when it was last looked at for a stall
  int64_t moved_ms = 0;        // when the position was last seen to move
};

class KafkaSource : public Source {
 public:
  KafkaSource(KafkaSourceOptions options, SourceContext context)
      : options_(std::move(options)), context_(std::move(context)) {}

  Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) override;
  Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) override;
  std::vector<SourcePosition> positions() override;
  Lag lag() override;
  bool connected() const override { return partitions_.empty() ? answered_ : consumer_->connected(); }
  void released(const std::vector<SourcePosition>& positions) override;
  void close() override;

 private:
  int64_t now_ms() const { return context_.clock->monotonic_us() / 1000; }
  Status wait(int ms);
  Result<bool> try_topic(const std::string& topic);
  Result<bool> add_topic(const std::string& topic);
  Result<TopicInfo> check_known(const std::string& topic, const std::optional<TopicInfo>& info);
  void forget(const std::string& topic);
  Result<std::vector<int64_t>> first_positions(const std::vector<TopicPartition>& at,
                                               const std::vector<Watermarks>& marks);
  Result<std::vector<int64_t>> start_positions(const std::vector<TopicPartition>& at,
                                               const std::vector<Watermarks>& marks);
  Status check_range(const TopicPartition& at, int64_t position, const Watermarks& marks) const;
  Status assign();
  Status serve_missing_topics();
  Status check_topics();
  Status open_consumer();
  Status heal_stall();
  bool note_moves(int64_t now, bool was_paused);
  void commit_released();
  Status take(const KafkaPoll& polled, SourcePoll* poll);
  std::pair<uint32_t, size_t> select(const KafkaPoll& polled, SourcePoll* poll);
  void copy_headers(const KafkaRecord& record, uint32_t row, Arena& arena);

  const KafkaSourceOptions options_;
  const SourceContext context_;
  SourceNeeds needs_;
  std::unique_ptr<KafkaAdmin> admin_;
  std::unique_ptr<KafkaConsumer> consumer_;
  std::map<TopicPartition, SourcePosition> resume_;
  bool first_start_ = false;
  bool accept_reset_ = false;  // only while opening
  std::vector<Partition> partitions_;
  std::shared_ptr<const std::vector<PartitionName>> names_;
  KafkaPoll polled_;
  std::vector<uint32_t> selected_;  // records of polled_ that become rows
  std::vector<Header> headers_;
  Span* header_spans_ = nullptr;
  bool answered_ = false;

  std::vector<std::string> missing_;  // topics that are waited for
  int64_t next_topic_try_ms_ = 0;
  int64_t topic_pause_ms_ = kTopicRetryMinMs;
  int64_t next_topic_check_ms_ = 0;
  int64_t polled_ms_ = 0;
  int64_t next_stall_check_ms_ = 0;
  int64_t stall_ms_ = kStallMs;  // doubles with every new consumer that did not help

  std::vector<PartitionOffset> released_;
  bool released_pending_ = false;
  int64_t committed_ms_ = 0;
  bool commit_failed_ = false;
};

std::string way_out(const std::string& group) {
  return fmt::format(
      "set the group's offsets with kafka-consumer-groups --group {} --reset-offsets and start with --accept-reset",
      group);
}

Status KafkaSource::open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) {
  needs_ = needs;
  first_start_ = resume.empty() && !context_.known;
  accept_reset_ = context_.accept_reset;
  partitions_.clear();
  missing_.clear();
  resume_.clear();
  for (const SourcePosition& known : resume) resume_[{known.name.topic, known.name.partition}] = known;
  for (const auto& [at, known] : resume_) {
    if (std::find(options_.topics.begin(), options_.topics.end(), at.topic) != options_.topics.end()) continue;
    context_.log.warn("source {}: topic {} is no longer read", context_.source, at.topic);
  }
  MR_ASSIGN(admin_, KafkaAdmin::create(context_.kafka, context_.log));
  MR_RETURN_IF_ERROR(open_consumer());
  for (const std::string& topic : options_.topics) {
    MR_ASSIGN(const bool there, try_topic(topic));
    if (there) continue;
    context_.log.warn("source {}: waiting for topic {}, which does not exist", context_.source, topic);
    missing_.push_back(topic);
  }
  next_topic_try_ms_ = now_ms() + topic_pause_ms_;
  next_topic_check_ms_ = now_ms() + kCheckTopicsEveryMs;
  first_start_ = false;  // what appears later is read from its beginning
  accept_reset_ = false;
  return assign();
}

// Brokers that do not answer are asked again for a while.
Result<bool> KafkaSource::try_topic(const std::string& topic) {
  const int64_t give_up_ms = now_ms() + options_.open_timeout_ms;
  for (;;) {
    auto there = add_topic(topic);
    answered_ = there.is_ok() || there.status().code() != Code::kKafkaUnavailable;
    if (answered_ || now_ms() >= give_up_ms) return there;
    MR_RETURN_IF_ERROR(wait(kIdleWaitMs));
  }
}

// Without an assignment a poll only waits, and hears when a broker refuses us.
Status KafkaSource::wait(int ms) { return consumer_->poll(1, 1, ms, false, &polled_); }

// False: does not exist, and is to be waited for. Nothing has changed then, nor after an error.
Result<bool> KafkaSource::add_topic(const std::string& topic) {
  MR_ASSIGN(const auto described, admin_->describe_topic(topic, kRequestTimeoutMs));
  const bool known =
      std::any_of(resume_.begin(), resume_.end(), [&](const auto& it) { return it.first.topic == topic; });
  if (!described && !known && options_.wait_for_topic) return false;
  MR_ASSIGN(const TopicInfo info, check_known(topic, described));
  std::vector<TopicPartition> at;
  for (int32_t partition = 0; partition < info.partitions; partition++) {
    const bool added = std::any_of(partitions_.begin(), partitions_.end(), [&](const Partition& existing) {
      return existing.at.topic == topic && existing.at.partition == partition;
    });
    if (!added) at.push_back({topic, partition});
  }
  MR_ASSIGN(const std::vector<Watermarks> marks, admin_->watermarks(at, kRequestTimeoutMs));
  MR_ASSIGN(const std::vector<int64_t> positions, first_positions(at, marks));
  for (size_t i = 0; i < at.size(); i++) {
    Partition& partition = partitions_.emplace_back();
    partition.at = at[i];
    partition.topic_id = info.topic_id;
    partition.position = positions[i];
    if (options_.bounded) partition.end = marks[i].high;
  }
  return true;
}

// Is this the topic that the resume positions count in?
Result<TopicInfo> KafkaSource::check_known(const std::string& topic, const std::optional<TopicInfo>& info) {
  if (!info) return Status::user(Code::kTopicMissing, fmt::format("topic {} does not exist", topic));
  int32_t known = 0;
  for (const auto& [at, position] : resume_) {
    if (at.topic != topic) continue;
    known++;
    if (position.identity.empty() || info->topic_id.empty() || position.identity == info->topic_id) continue;
    if (accept_reset_) {
      forget(topic);
      return *info;
    }
    return Status::user(
        Code::kTopicRecreated,
        fmt::format(
            "topic {} was deleted and created again (id {}, was {}): the positions of this pipeline mean nothing "
            "in it; start with --accept-reset to read it from its beginning",
            topic, info->topic_id, position.identity));
  }
  if (known == 0 || known == info->partitions) return *info;
  if (accept_reset_) {
    context_.log.warn("--accept-reset: topic {} has {} partitions now and had {}", topic, info->partitions, known);
    return *info;
  }
  if (context_.keyed_state || info->partitions < known) {
    return Status::user(
        Code::kPartitionsChanged,
        fmt::format(
            "topic {} has {} partitions now and had {}: keys have moved between partitions, so their records may "
            "be out of order; drain the old partitions first, then start with --accept-reset",
            topic, info->partitions, known));
  }
  return *info;
}

// The positions in a topic that is gone.
void KafkaSource::forget(const std::string& topic) {
  context_.log.warn("--accept-reset: topic {} was deleted and created again; it is read from its beginning", topic);
  std::erase_if(resume_, [&](const auto& known) { return known.first.topic == topic; });
}

Status KafkaSource::check_range(const TopicPartition& at, int64_t position, const Watermarks& marks) const {
  if (position >= marks.low && position <= marks.high) return Status::ok();
  const std::string lost = position < marks.low
                               ? fmt::format("{} records were deleted before they were read", marks.low - position)
                               : fmt::format("the log ends {} records before it", position - marks.high);
  return Status::user(
      Code::kOffsetOutOfRange,
      fmt::format("topic {} partition {}: position {} does not exist, the log holds offsets {} to {}: {}; {}", at.topic,
                  at.partition, position, marks.low, marks.high, lost, way_out(options_.group)));
}

Result<std::vector<int64_t>> KafkaSource::first_positions(const std::vector<TopicPartition>& at,
                                                          const std::vector<Watermarks>& marks) {
  if (first_start_) return start_positions(at, marks);
  std::vector<int64_t> positions;
  for (size_t i = 0; i < at.size(); i++) {
    const auto known = resume_.find(at[i]);
    positions.push_back(known == resume_.end() ? marks[i].low : known->second.position);
    MR_RETURN_IF_ERROR(check_range(at[i], positions[i], marks[i]));
  }
  return positions;
}

Result<std::vector<int64_t>> KafkaSource::start_positions(const std::vector<TopicPartition>& at,
                                                          const std::vector<Watermarks>& marks) {
  std::vector<int64_t> positions(at.size(), kOffsetNone);
  if (!options_.bounded) {
    MR_ASSIGN(positions, consumer_->committed(at, kRequestTimeoutMs));
  }
  std::vector<int64_t> at_time;
  const bool undecided = std::find(positions.begin(), positions.end(), kOffsetNone) != positions.end();
  if (undecided && options_.start == KafkaSourceOptions::Start::kTimestamp) {
    MR_ASSIGN(at_time, admin_->offsets_for_time(at, options_.start_ms, kRequestTimeoutMs));
  }
  for (size_t i = 0; i < at.size(); i++) {
    if (positions[i] != kOffsetNone) {
      MR_RETURN_IF_ERROR(check_range(at[i], positions[i], marks[i]));
    } else if (options_.start == KafkaSourceOptions::Start::kTimestamp) {
      positions[i] = at_time[i];
    } else {
      positions[i] = options_.start == KafkaSourceOptions::Start::kLatest ? marks[i].high : marks[i].low;
    }
  }
  return positions;
}

Status KafkaSource::assign() {
  std::vector<PartitionOffset> offsets;
  auto names = std::make_shared<std::vector<PartitionName>>();
  for (Partition& partition : partitions_) {
    offsets.push_back({partition.at, partition.position});
    names->push_back({partition.at.topic, partition.at.partition});
    partition.at_end = false;
  }
  names_ = std::move(names);
  return consumer_->assign(offsets);
}

Status KafkaSource::open_consumer() {
  KafkaConsumerOptions options;
  options.group = options_.group;
  options.queue_bytes = options_.queue_bytes;
  if (context_.gather_ms > 0) {
    options.fetch_wait_max_ms = context_.gather_ms;
    options.fetch_min_bytes = kGatherBytes;
  }
  MR_ASSIGN(consumer_, KafkaConsumer::create(context_.kafka, options, context_.log));
  return Status::ok();
}

// True when some partition has given something not long ago. While nobody asks, nothing can move.
bool KafkaSource::note_moves(int64_t now, bool was_paused) {
  bool any = false;
  for (Partition& partition : partitions_) {
    const bool moved = partition.position != partition.seen_position;
    if (moved && partition.seen_position >= 0) stall_ms_ = kStallMs;
    if (moved || was_paused) partition.moved_ms = now;
    partition.seen_position = partition.position;
    any = any || now - partition.moved_ms < kStallMs;
  }
  return any;
}

// librdkafka may stop fetching a partition for good when its broker was away so long that metadata did not name it for
// a while. A new client fetches again. What a foreign open transaction holds back looks the same, so a new client is
// tried ever more rarely.
Status KafkaSource::heal_stall() {
  const int64_t now = now_ms();
  const bool was_paused = now - polled_ms_ > kPausedMs;
  polled_ms_ = now;
  if (now < next_stall_check_ms_ && !was_paused) return Status::ok();
  next_stall_check_ms_ = now + kStallCheckEveryMs;
  const bool others_give = note_moves(now, was_paused);
  const int64_t limit_ms = std::max(stall_ms_, others_give ? kStallBesideOthersMs : kStallMs);
  for (Partition& partition : partitions_) {
    if (now - partition.moved_ms < limit_ms || partition.position >= partition.end) continue;
    partition.moved_ms = now;  // not again before the same time has passed
    const auto marks = admin_->watermarks({partition.at}, kRequestTimeoutMs);
    if (!marks.is_ok() || (*marks)[0].high <= partition.position) continue;
    context_.log.warn("source {}: topic {} partition {} ends at {}, but nothing came behind {} for {} s; reconnecting",
                      context_.source, partition.at.topic, partition.at.partition, (*marks)[0].high, partition.position,
                      limit_ms / 1000);
    stall_ms_ = std::min(stall_ms_ * 2, kMaxStallMs);
    MR_RETURN_IF_ERROR(open_consumer());
    return assign();
  }
  return Status::ok();
}

Status KafkaSource::serve_missing_topics() {
  if (now_ms() < next_topic_try_ms_) return Status::ok();
  const size_t before = partitions_.size();
  for (size_t i = 0; i < missing_.size();) {
    auto there = add_topic(missing_[i]);
    answered_ = there.is_ok() || there.status().code() != Code::kKafkaUnavailable;
    if (!there.is_ok() && answered_) return there.status();
    if (there.is_ok() && *there) {
      context_.log.info("source {}: topic {} is there now", context_.source, missing_[i]);
      missing_.erase(missing_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      i++;
    }
  }
  topic_pause_ms_ = std::min(topic_pause_ms_ * 2, kTopicRetryMaxMs);
  next_topic_try_ms_ = now_ms() + topic_pause_ms_;
  return partitions_.size() == before ? Status::ok() : assign();
}

// A topic that is deleted and created again, or grows, while it is being read.
Status KafkaSource::check_topics() {
  next_topic_check_ms_ = now_ms() + kCheckTopicsEveryMs;
  for (const Partition& partition : partitions_) {
    SourcePosition position{{partition.at.topic, partition.at.partition}, partition.topic_id, partition.position};
    resume_[partition.at] = std::move(position);
  }
  const size_t before = partitions_.size();
  for (const std::string& topic : options_.topics) {
    if (std::find(missing_.begin(), missing_.end(), topic) != missing_.end()) continue;
    const auto there = add_topic(topic);
    if (!there.is_ok() && there.status().retry() == Retry::kNever) return there.status();
  }
  return partitions_.size() == before ? Status::ok() : assign();
}

Status KafkaSource::poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) {
  if (!missing_.empty()) MR_RETURN_IF_ERROR(serve_missing_topics());
  if (released_pending_) commit_released();
  if (partitions_.empty()) {
    const bool over = options_.bounded && missing_.empty();
    if (!over) MR_RETURN_IF_ERROR(wait(std::min(timeout_ms, kIdleWaitMs)));
    poll->end_of_input = over;
    return Status::ok();
  }
  if (now_ms() >= next_topic_check_ms_) MR_RETURN_IF_ERROR(check_topics());
  const Status status = consumer_->poll(limits.max_rows, limits.max_bytes, timeout_ms, needs_.headers, &polled_);
  if (status.code() == Code::kOffsetOutOfRange) {
    return Status::user(status.code(), status.message() + "; " + way_out(options_.group));
  }
  MR_RETURN_IF_ERROR(status);
  poll->more_waits = polled_.more_waits;
  MR_RETURN_IF_ERROR(take(polled_, poll));
  for (const auto& [index, position] : polled_.ends) {
    Partition& partition = partitions_[index];
    partition.at_end = true;
    // Control records and aborted ones in between are nothing to come back to.
    partition.position = std::max(partition.position, std::min(position, partition.end));
  }
  MR_RETURN_IF_ERROR(heal_stall());
  if (options_.bounded && missing_.empty()) {
    poll->end_of_input = std::all_of(partitions_.begin(), partitions_.end(),
                                     [](const Partition& partition) { return partition.position >= partition.end; });
  }
  return Status::ok();
}

// Moves positions over the polled records and picks those that become rows; returns how many and their payload bytes.
std::pair<uint32_t, size_t> KafkaSource::select(const KafkaPoll& polled, SourcePoll* poll) {
  selected_.clear();
  size_t bytes = 0;
  for (uint32_t i = 0; i < polled.records.size(); i++) {
    const KafkaRecord& record = polled.records[i];
    Partition& partition = partitions_[record.partition_index];
    if (record.offset >= partition.end) {
      partition.position = partition.end;
      continue;
    }
    partition.position = record.offset + 1;
    partition.at_end = false;
    if (record.timestamp_ms != kNoTime) partition.last_ms = record.timestamp_ms;
    if (record.value.size() + record.key.size() > kMaxKafkaRecordBytes) {
      context_.log.warn("source {}: topic {} partition {} offset {}: skipped a record of {} bytes, the limit is {}",
                        context_.source, partition.at.topic, partition.at.partition, record.offset, record.value.size(),
                        kMaxKafkaRecordBytes);
      poll->skipped_too_large.push_back(record.partition_index);
      continue;
    }
    bytes += record.value.size() + (needs_.key ? record.key.size() : 0);
    selected_.push_back(i);
  }
  return {static_cast<uint32_t>(selected_.size()), bytes};
}

Status KafkaSource::take(const KafkaPoll& polled, SourcePoll* poll) {
  const auto [count, bytes] = select(polled, poll);
  if (count == 0) return Status::ok();
  Arena& arena = *poll->arena;
  auto rows = std::make_shared<SourceRows>();
  auto* partition = arena.array<uint32_t>(count);
  auto* offset = arena.array<int64_t>(count);
  auto* timestamp = arena.array<int64_t>(count);
  auto* payload = arena.array<std::string_view>(count);
  auto* key = needs_.key ? arena.array<std::string_view>(count) : nullptr;
  header_spans_ = needs_.headers ? arena.array<Span>(count) : nullptr;
  headers_.clear();
  // One piece of memory: what follows a payload pads it.
  char* memory = static_cast<char*>(arena.allocate(bytes + kPayloadPadding));
  auto copy = [&memory](std::string_view text) {
    if (text.data() == nullptr) return std::string_view();
    char* begin = memory;
    std::memcpy(begin, text.data(), text.size());
    memory += text.size();
    return std::string_view(begin, text.size());
  };
  for (uint32_t row = 0; row < count; row++) {
    const KafkaRecord& record = polled.records[selected_[row]];
    partition[row] = record.partition_index;
    offset[row] = record.offset;
    timestamp[row] = record.timestamp_ms;
    payload[row] = copy(record.value);
    if (key != nullptr) key[row] = copy(record.key);
    if (header_spans_ != nullptr) copy_headers(record, row, arena);
  }
  std::memset(memory, 0, kPayloadPadding);
  rows->partitions = names_;
  rows->partition = partition;
  rows->offset = offset;
  rows->timestamp_ms = timestamp;
  rows->payload = payload;
  rows->key = key;
  rows->headers = header_spans_;
  if (header_spans_ != nullptr) {
    auto* list = arena.array<Header>(std::max<size_t>(headers_.size(), 1));
    std::copy(headers_.begin(), headers_.end(), list);
    rows->header_list = list;
  }
  rows->owners.push_back(poll->arena);
  poll->count = count;
  poll->bytes = bytes;
  poll->rows = std::move(rows);
  return Status::ok();
}

void KafkaSource::copy_headers(const KafkaRecord& record, uint32_t row, Arena& arena) {
  header_spans_[row] = {static_cast<uint32_t>(headers_.size()), record.header_count};
  for (uint32_t i = 0; i < record.header_count; i++) {
    const Header& header = record.headers[i];
    headers_.push_back({arena.copy(header.name), arena.copy(header.value)});
  }
}

std::vector<SourcePosition> KafkaSource::positions() {
  std::vector<SourcePosition> positions;
  positions.reserve(partitions_.size());
  for (const Partition& partition : partitions_) {
    positions.push_back({{partition.at.topic, partition.at.partition}, partition.topic_id, partition.position});
  }
  return positions;
}

Source::Lag KafkaSource::lag() {
  Lag lag;
  if (partitions_.empty()) return lag;
  const std::vector<int64_t> behind = consumer_->lag();
  int64_t records = 0;
  int64_t oldest_ms = INT64_MAX;
  for (size_t i = 0; i < partitions_.size(); i++) {
    const Partition& partition = partitions_[i];
    if (partition.at_end || partition.position >= partition.end) continue;
    if (behind[i] < 0) return lag;
    records += behind[i];
    if (behind[i] > 0 && partition.last_ms != kNoTime) oldest_ms = std::min(oldest_ms, partition.last_ms);
  }
  lag.records = records;
  if (records == 0) lag.behind_ms = 0;
  if (oldest_ms != INT64_MAX) lag.behind_ms = std::max<int64_t>(context_.clock->wall_ms() - oldest_ms, 0);
  return lag;
}

void KafkaSource::released(const std::vector<SourcePosition>& positions) {
  std::vector<PartitionOffset> offsets;
  offsets.reserve(positions.size());
  bool moved = positions.size() != released_.size();
  for (size_t i = 0; i < positions.size(); i++) {
    offsets.push_back({{positions[i].name.topic, positions[i].name.partition}, positions[i].position});
    moved = moved || offsets[i].at != released_[i].at || offsets[i].offset != released_[i].offset;
  }
  released_ = std::move(offsets);
  released_pending_ = released_pending_ || moved || now_ms() - committed_ms_ >= kRecommitEveryMs;
  if (released_pending_) commit_released();
}

void KafkaSource::commit_released() {
  if (released_.empty() || (committed_ms_ != 0 && now_ms() - committed_ms_ < kCommitEveryMs)) return;
  committed_ms_ = now_ms();
  const Status status = consumer_->commit(released_, kCommitTimeoutMs);
  released_pending_ = !status.is_ok();
  if (!status.is_ok() && !commit_failed_) {
    context_.log.warn("source {}: group {}: {}", context_.source, options_.group, status.to_string());
  }
  commit_failed_ = !status.is_ok();
}

void KafkaSource::close() {
  if (released_pending_ && consumer_ && consumer_->connected()) {
    committed_ms_ = 0;
    commit_released();
  }
  released_pending_ = false;
  partitions_.clear();
  consumer_.reset();
  admin_.reset();
}

}  // namespace

std::unique_ptr<Source> make_kafka_source(KafkaSourceOptions options, const SourceContext& context) {
  return std::make_unique<KafkaSource>(std::move(options), context);
}

}  // namespace millrace
