// keep: last — of the rows of a key the one with the largest event time stands, of equal ones the last arrival. Newer
// versions are shown once per key and epoch.
#include <algorithm>

#include "operators/deduplicate.h"
#include "operators/held_value.h"
#include "operators/deduplicate_time.h"
#include "operators/keyed_rows.h"
#include "operators/projection.h"
#include "operators/row_output.h"

namespace millrace {
namespace {

constexpr uint8_t kCodecVersion = 1;
constexpr uint32_t kNotPending = UINT32_MAX;

struct ShownVersion {
  std::string_view row;
  int64_t event_time_ms;
};

struct LastRow {
  HeldText row;  // encoded; empty: none yet
  int64_t event_time_ms;
  const ShownVersion* previous;  // that its retraction is owed to; nullptr: none
  uint32_t changed_in;           // number of the cut that will write it
  uint32_t pending;              // row of the batch that is to be encoded, or kNotPending
  uint64_t changed;              // since it was last shown
};

class LastRowCodec : public AccumulatorCodec {
 public:
  static LastRow& of(void* state) { return *static_cast<LastRow*>(state); }
  static const LastRow& of(const void* state) { return *static_cast<const LastRow*>(state); }
  size_t size() const override { return sizeof(LastRow); }
  void create(void* state) const override {
    of(state) = {{}, kNoTime, nullptr, 0, kNotPending, 0};
    of(state).row.create();
  }
  void destroy(void* state) const override { of(state).row.destroy(); }
  bool trivially_destructible() const override { return false; }
  void encode(const void* state, std::string& out) const override {
    AccumulatorWriter writer(out);
    writer.byte(kCodecVersion);
    writer.zigzag(of(state).event_time_ms);
    writer.string(of(state).row.view());
  }
  Status decode(std::string_view bytes, void* state) const override {
    AccumulatorReader in(bytes);
    const bool known = in.byte() == kCodecVersion;
    of(state).event_time_ms = in.zigzag();
    const std::string_view row = in.string();
    if (!known || !in.finished()) return Status::terminal(Code::kStateCorrupt, "the row of a key does not decode");
    of(state).row.set(row);
    return Status::ok();
  }
  size_t extra_bytes(const void* state) const override { return of(state).row.extra_bytes(); }
  bool is_unchanged(const void* state) const override { return of(state).changed_in != cut_; }
  uint32_t cut_number() const { return cut_; }
  void next_cut() { cut_++; }

 private:
  uint32_t cut_ = 1;
};

class DeduplicateLast : public Operator {
 public:
  explicit DeduplicateLast(std::shared_ptr<const DeduplicateProgram> program)
      : program_(std::move(program)),
        row_codec_(program_->types),
        rows_(StateTable::kKeys),
        time_(program_->input, program_->within_ms, program_->keeps_late_rows),
        output_(program_->types, false, program_->key_columns),
        columns_(program_->columns.size()) {}
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  int64_t restored_watermark_ms() const override { return time_.restored_ms(); }
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool holds_rows() const override { return !context_.emit_per_batch; }
  bool wants_barrier() const override { return uncut_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return uncut_bytes() >= context_.cache_bytes; }

 private:
  bool forgets() const { return program_->within_ms > 0; }
  size_t uncut_bytes() const { return cache_->dirty_bytes() + time_.uncut_bytes() + previous_bytes_; }
  Status take(const Batch& batch, Collector& out);
  void replace(const Batch& batch, uint32_t i);
  Status show(LastRow& last, Collector& out);
  // Drops keys whose time is over.
  Result<bool> expire(int64_t watermark_ms);
  void see_watermark(int64_t watermark_ms) {
    has_watermark_ = true;
    watermark_ms_ = std::max(watermark_ms_, watermark_ms);
  }
  void forget_previous() {
    previous_arena_.reset();
    previous_bytes_ = 0;
  }

  std::shared_ptr<const DeduplicateProgram> program_;
  OperatorContext context_;
  LastRowCodec codec_;
  RowCodec row_codec_;
  std::unique_ptr<LaneCache> cache_;
  KeyedRows rows_;
  DeduplicateTime time_;
  RowOutput output_;

  std::vector<ColumnPtr> columns_;  // of the batch at hand, those that are kept
  std::vector<LastRow*> replaced_;  // in the chunk at hand
  std::string encoded_;
  Arena previous_arena_;       // versions that were shown last
  size_t previous_bytes_ = 0;  // used of it
  size_t cursor_ = 0;  // of the flush under way
  bool has_watermark_ = false;
  int64_t watermark_ms_ = kNoTime;
};

Status DeduplicateLast::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  context_ = context;
  output_.open(*context.arenas);
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, codec_, context.cache_bytes);
  return time_.open(context);
}

Status DeduplicateLast::process(const Batch& batch, size_t, Collector& out) {
  counters_.in += batch.live();
  const RowErrors errors = rows_with_long_keys(batch);
  if (!errors.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors));
  MR_ASSIGN(const Batch rows, time_.without_late(without_rows(batch, errors), counters_, out));
  // What leaves with the batch carries the watermark in front of it.
  if (batch.watermark_ms != nullptr && batch.live() > 0) see_watermark(batch.watermark_ms[batch.row(0)]);
  for (size_t i = 0; i < columns_.size(); i++) columns_[i] = batch.columns[static_cast<size_t>(program_->columns[i])];
  const Status status = take(rows, out);
  std::fill(columns_.begin(), columns_.end(), nullptr);
  MR_RETURN_IF_ERROR(status);
  if (context_.emit_per_batch) {
    MR_RETURN_IF_ERROR(output_.emit(has_watermark_, out, counters_.out));
    forget_previous();
  }
  counters_.cache_hits = cache_->counters().hits;
  counters_.cache_misses = cache_->counters().misses;
  counters_.store_reads = cache_->counters().store_reads;
  if (batch.watermark_ms == nullptr || batch.live() == 0) return Status::ok();
  see_watermark(batch.watermark_ms[batch.row(batch.live() - 1)]);
  return forgets() ? expire(watermark_ms_).status() : Status::ok();
}

Status DeduplicateLast::take(const Batch& batch, Collector& out) {
  for (uint32_t begin = 0; begin < batch.live(); begin += KeyedRows::kMaxRows) {
    const uint32_t count = std::min(KeyedRows::kMaxRows, batch.live() - begin);
    MR_RETURN_IF_ERROR(rows_.look_up(batch, begin, count, *cache_));
    replaced_.clear();
    for (uint32_t i = 0; i < count; i++) replace(batch, i);
    // Once per key, however often it has been replaced.
    for (LastRow* last : replaced_) {
      encoded_.clear();
      row_codec_.encode(columns_, last->pending, encoded_);
      last->row.set(encoded_);
      last->pending = kNotPending;
      if (context_.emit_per_batch) MR_RETURN_IF_ERROR(show(*last, out));
    }
  }
  return Status::ok();
}

void DeduplicateLast::replace(const Batch& batch, uint32_t i) {
  LastRow& last = LastRowCodec::of(rows_.state(i));
  const uint32_t row = rows_.row(i);
  const int64_t time_ms = batch.event_time_ms[row];
  const bool is_new = last.row.empty() && last.pending == kNotPending;
  if (!is_new && time_ms < last.event_time_ms) {
    counters_.filtered++;
    return;
  }
  counters_.absorbed++;
  if (is_new && forgets()) {
    time_.watch(later_by(time_ms, program_->within_ms), rows_.shard(i), batch.key_bytes[row]);
  }
  if (program_->gives_retractions && !is_new && !last.changed) {
    auto* memory = previous_arena_.allocate(sizeof(ShownVersion));
    last.previous = new (memory) ShownVersion{previous_arena_.copy(last.row.view()), last.event_time_ms};
    previous_bytes_ += sizeof(ShownVersion) + last.row.view().size();
  }
  last.changed = 1;
  last.changed_in = codec_.cut_number();
  last.event_time_ms = time_ms;
  if (last.pending == kNotPending) replaced_.push_back(&last);
  last.pending = row;
}

// Adds the versions that are owed.
Status DeduplicateLast::show(LastRow& last, Collector& out) {
  const ShownVersion* previous = last.previous;
  last.previous = nullptr;
  if (!last.changed) return Status::ok();
  last.changed = 0;
  MR_RETURN_IF_ERROR(output_.make_room(2, has_watermark_, out, counters_.out));
  if (previous != nullptr) {
    MR_RETURN_IF_ERROR(output_.add({previous->row, Change::kRetract, previous->event_time_ms, watermark_ms_}));
  }
  return output_.add({last.row.view(), Change::kInsert, last.event_time_ms, watermark_ms_});
}

Result<bool> DeduplicateLast::expire(int64_t watermark_ms) {
  MR_ASSIGN(const bool any, time_.take_due(watermark_ms));
  if (!any) return true;
  MR_RETURN_IF_ERROR(rows_.look_up(time_.keys(), time_.shards(), time_.size(), *cache_));
  for (uint32_t i = 0; i < time_.size(); i++) {
    LastRow& last = LastRowCodec::of(rows_.state(i));
    // What has not been shown yet would be lost with the state.
    const int64_t soonest_ms = last.changed ? later_by(watermark_ms, 1) : kNoTime;
    const int64_t due_ms = std::max(later_by(last.event_time_ms, program_->within_ms), soonest_ms);
    if (due_ms > watermark_ms) {
      time_.watch(due_ms, time_.shards()[i], time_.keys()[i]);
    } else {
      cache_->mark_removed(rows_.state(i));
      counters_.fired++;
    }
  }
  return false;
}

Result<bool> DeduplicateLast::advance(int64_t watermark_ms, size_t, Collector&) {
  see_watermark(watermark_ms);
  return forgets() ? expire(watermark_ms) : true;
}

Result<bool> DeduplicateLast::flush(uint64_t, size_t max_rows, Collector& out) {
  if (context_.emit_per_batch) return true;
  const size_t limit = std::max<size_t>(max_rows / (program_->gives_retractions ? 2 : 1), 1);
  Status status;
  cursor_ = cache_->visit_dirty(cursor_, limit, [&](const LaneCache::EntryView& entry) {
    if (status.is_ok()) status = show(LastRowCodec::of(entry.state), out);
  });
  MR_RETURN_IF_ERROR(status);
  MR_RETURN_IF_ERROR(output_.emit(has_watermark_, out, counters_.out));
  if (cursor_ < cache_->dirty_count()) return false;
  cursor_ = 0;
  forget_previous();
  return true;
}

void DeduplicateLast::cut(DeltaBuilder& delta) {
  cache_->cut(delta);
  codec_.next_cut();
  time_.cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_deduplicate_last(std::shared_ptr<const DeduplicateProgram> program) {
  return std::make_unique<DeduplicateLast>(std::move(program));
}

}  // namespace millrace
