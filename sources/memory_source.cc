#include "sources/memory_source.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "formats/format.h"

namespace millrace {

MemoryFeed::MemoryFeed(std::vector<PartitionName> partitions)
    : partitions_(std::make_shared<const std::vector<PartitionName>>(std::move(partitions))),
      next_offsets_(partitions_->size()) {
  MR_CHECK(!partitions_->empty());
}

void MemoryFeed::send(MemoryRecord record) {
  MR_CHECK(!ended_ && record.partition < partitions_->size());
  Entry entry;
  entry.partition = record.partition;
  entry.offset = next_offsets_[record.partition]++;
  entry.record = std::move(record);
  entries_.push_back(std::move(entry));
}

void MemoryFeed::mark(uint32_t partition, int64_t event_time_ms) {
  MR_CHECK(!ended_ && partition < partitions_->size());
  Entry entry;
  entry.partition = partition;
  entry.offset = next_offsets_[partition];
  entry.mark_ms = event_time_ms;
  entries_.push_back(std::move(entry));
}

class MemorySource : public Source {
 public:
  MemorySource(std::shared_ptr<MemoryFeed> feed, MemorySourceSettings settings)
      : feed_(std::move(feed)), settings_(settings) {}

  Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) override {
    (void)needs;
    positions_.assign(feed_->partitions().size(), 0);
    if (!feed_->group_.empty()) positions_ = feed_->group_;
    for (const SourcePosition& known : resume)
      if (const size_t index = find(known.name); index < positions_.size()) positions_[index] = known.position;
    feed_->read_ = 0;
    return Status::ok();
  }

  Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) override {
    (void)timeout_ms;
    take(limits);
    fill(*poll);
    poll->end_of_input = feed_->has_ended() && feed_->is_drained();
    return Status::ok();
  }

  std::vector<SourcePosition> positions() override {
    std::vector<SourcePosition> result;
    for (size_t i = 0; i < positions_.size(); i++) result.push_back({feed_->partitions()[i], "", positions_[i]});
    return result;
  }

  void released(const std::vector<SourcePosition>& positions) override {
    if (!settings_.keeps_offsets) return;
    feed_->group_.assign(feed_->partitions().size(), 0);
    for (const SourcePosition& at : positions)
      if (const size_t index = find(at.name); index < positions_.size()) feed_->group_[index] = at.position;
  }

 private:
  using Entry = MemoryFeed::Entry;

  size_t find(const PartitionName& name) const {
    const std::vector<PartitionName>& all = feed_->partitions();
    const auto same = [&name](const PartitionName& other) {
      return other.topic == name.topic && other.partition == name.partition;
    };
    return static_cast<size_t>(std::find_if(all.begin(), all.end(), same) - all.begin());
  }

  // Records up to the limits, and the marks behind them: a mark that has records behind it ends the poll.
  void take(const SourceLimits& limits) {
    records_.clear();
    marks_.clear();
    size_t bytes = 0;
    while (feed_->read_ < feed_->entries_.size()) {
      const Entry& entry = feed_->entries_[feed_->read_];
      if (!entry.record) {
        // A mark before the position may be new all the same (no record came since), and repeating it does no harm.
        if (entry.offset >= positions_[entry.partition]) marks_.push_back(&entry);
      } else if (entry.offset >= positions_[entry.partition]) {
        const size_t size = entry.record->payload ? entry.record->payload->size() : 0;
        const bool full = records_.size() >= limits.max_rows || (!records_.empty() && bytes + size > limits.max_bytes);
        if (full || !marks_.empty()) return;
        bytes += size;
        records_.push_back(&entry);
        positions_[entry.partition] = entry.offset + 1;
      }
      feed_->read_++;
    }
  }

  void fill(SourcePoll& poll) {
    poll.count = static_cast<uint32_t>(records_.size());
    poll.rows = std::make_shared<SourceRows>();
    poll.rows->partitions = feed_->partitions_;
    poll.rows->owners.push_back(poll.arena);
    for (const Entry* mark : marks_) poll.event_time_marks.emplace_back(mark->partition, mark->mark_ms);
    if (records_.empty()) return;
    Arena& arena = *poll.arena;
    const size_t count = records_.size();
    size_t payload_bytes = 0, header_count = 0;
    for (const Entry* entry : records_) {
      if (entry->record->payload) payload_bytes += entry->record->payload->size();
      header_count += entry->record->headers.size();
    }
    auto* partition = arena.array<uint32_t>(count);
    auto* offset = arena.array<int64_t>(count);
    auto* timestamp = arena.array<int64_t>(count);
    auto* key = arena.array<std::string_view>(count);
    auto* payload = arena.array<std::string_view>(count);
    auto* spans = arena.array<Span>(count);
    auto* headers = arena.array<Header>(header_count);
    char* bytes = static_cast<char*>(arena.allocate(payload_bytes + kPayloadPadding));
    std::memset(bytes + payload_bytes, 0, kPayloadPadding);
    uint32_t next_header = 0;
    for (size_t i = 0; i < count; i++) {
      const MemoryRecord& record = *records_[i]->record;
      partition[i] = record.partition;
      offset[i] = records_[i]->offset;
      timestamp[i] = record.timestamp_ms;
      key[i] = record.key ? arena.copy(*record.key) : std::string_view();
      payload[i] = std::string_view();
      if (record.payload) {
        std::memcpy(bytes, record.payload->data(), record.payload->size());
        payload[i] = {bytes, record.payload->size()};
        bytes += record.payload->size();
      }
      spans[i] = {next_header, static_cast<uint32_t>(record.headers.size())};
      for (const auto& [name, value] : record.headers) headers[next_header++] = {arena.copy(name), arena.copy(value)};
    }
    poll.bytes = payload_bytes;
    poll.rows->partition = partition;
    poll.rows->offset = offset;
    poll.rows->timestamp_ms = timestamp;
    poll.rows->key = key;
    poll.rows->payload = payload;
    poll.rows->headers = spans;
    poll.rows->header_list = headers;
  }

  const std::shared_ptr<MemoryFeed> feed_;
  const MemorySourceSettings settings_;
  std::vector<int64_t> positions_;     // next offset by partition
  std::vector<const Entry*> records_;  // of the poll
  std::vector<const Entry*> marks_;
};

namespace {

class MemorySourcePlan : public SourcePlan {
 public:
  MemorySourcePlan(std::unique_ptr<SourcePlan> replaced, std::shared_ptr<MemoryFeed> feed,
                   MemorySourceSettings settings)
      : replaced_(std::move(replaced)), feed_(std::move(feed)), settings_(settings) {}

  // The connector was planned before it was replaced.
  bool plan(const SourcePlanContext& context, Diagnostics& diagnostics) override {
    (void)context, (void)diagnostics;
    return true;
  }
  bool bounded() const override { return replaced_->bounded(); }
  bool sequential() const override { return replaced_->sequential(); }
  bool has_record_time() const override { return replaced_->has_record_time(); }
  std::string describe() const override { return "memory, for " + replaced_->describe(); }
  std::unique_ptr<Source> make(const SourceContext& context) const override {
    (void)context;
    return std::make_unique<MemorySource>(feed_, settings_);
  }

 private:
  const std::unique_ptr<SourcePlan> replaced_;
  const std::shared_ptr<MemoryFeed> feed_;
  const MemorySourceSettings settings_;
};

}  // namespace

std::unique_ptr<SourcePlan> make_memory_source_plan(std::unique_ptr<SourcePlan> replaced,
                                                    std::shared_ptr<MemoryFeed> feed, MemorySourceSettings settings) {
  return std::make_unique<MemorySourcePlan>(std::move(replaced), std::move(feed), settings);
}

}  // namespace millrace
