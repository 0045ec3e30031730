// keep: first — a row passes when its key has not been seen within the time. Nothing is held back: what passes leaves
// with its batch.
#include <algorithm>

#include "operators/accumulator_bytes.h"
#include "operators/deduplicate.h"
#include "operators/deduplicate_time.h"
#include "operators/keyed_rows.h"
#include "operators/projection.h"

namespace millrace {
namespace {

constexpr uint8_t kCodecVersion = 1;
// Rows of one key that have passed and that later rows may still be duplicates of.
constexpr uint32_t kMaxTimes = 10'000;

// Event times of the rows of a key that have passed. Almost always one.
struct PassedTimes {
  int64_t newest_ms;
  std::vector<int64_t>* others;  // in no order; nullptr: none
  uint32_t count;                // 0: none has passed
  uint32_t changed_in;           // number of the cut that will write it

  uint32_t size() const { return count; }
  bool has_near(int64_t time_ms, int64_t within_ms) const {
    const auto is_near = [&](int64_t passed_ms) {
      return later_by(passed_ms, within_ms) > time_ms && later_by(time_ms, within_ms) > passed_ms;
    };
    if (count == 0) return false;
    return is_near(newest_ms) || (others != nullptr && std::any_of(others->begin(), others->end(), is_near));
  }
  void add(int64_t time_ms) {
    if (count++ == 0) {
      newest_ms = time_ms;
      return;
    }
    if (others == nullptr) others = new std::vector<int64_t>;
    others->push_back(std::min(time_ms, newest_ms));
    newest_ms = std::max(time_ms, newest_ms);
  }
  // Forgets times up to this one.
  void forget(int64_t until_ms) {
    if (count == 0) return;
    if (others != nullptr) {
      std::erase_if(*others, [&](int64_t time_ms) { return time_ms <= until_ms; });
      count = static_cast<uint32_t>(others->size()) + 1;
    }
    if (newest_ms <= until_ms) count = 0;
    if (count <= 1) release();
  }
  void release() {
    delete others;
    others = nullptr;
  }
};

class PassedTimesCodec : public AccumulatorCodec {
 public:
  static PassedTimes& of(void* state) { return *static_cast<PassedTimes*>(state); }
  static const PassedTimes& of(const void* state) { return *static_cast<const PassedTimes*>(state); }
  size_t size() const override { return sizeof(PassedTimes); }
  void create(void* state) const override { of(state) = {0, nullptr, 0, 0}; }
  void destroy(void* state) const override { of(state).release(); }
  bool trivially_destructible() const override { return false; }
  void encode(const void* state, std::string& out) const override {
    const PassedTimes& times = of(state);
    AccumulatorWriter writer(out);
    writer.byte(kCodecVersion);
    writer.varint(times.count);
    if (times.count > 0) writer.zigzag(times.newest_ms);
    if (times.others == nullptr) return;
    for (int64_t time_ms : *times.others) writer.zigzag(time_ms);
  }
  Status decode(std::string_view bytes, void* state) const override {
    AccumulatorReader in(bytes);
    const bool known = in.byte() == kCodecVersion;
    const uint64_t count = in.varint();
    for (uint64_t i = 0; known && i < count && in.ok(); i++) of(state).add(in.zigzag());
    if (!known || !in.finished()) return Status::terminal(Code::kStateCorrupt, "the times of a key do not decode");
    return Status::ok();
  }
  size_t extra_bytes(const void* state) const override {
    const PassedTimes& times = of(state);
    return times.others == nullptr ? 0 : sizeof(*times.others) + times.others->capacity() * sizeof(int64_t);
  }
  bool is_unchanged(const void* state) const override { return of(state).changed_in != cut_; }
  uint32_t cut_number() const { return cut_; }
  void next_cut() { cut_++; }

 private:
  uint32_t cut_ = 1;
};

class DeduplicateFirst : public Operator {
 public:
  explicit DeduplicateFirst(std::shared_ptr<const DeduplicateProgram> program)
      : program_(std::move(program)),
        rows_(StateTable::kKeys),
        time_(program_->input, program_->within_ms, program_->keeps_late_rows) {}
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  int64_t restored_watermark_ms() const override { return time_.restored_ms(); }
  void cut(DeltaBuilder& delta) override;
  bool wants_barrier() const override { return uncut_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return uncut_bytes() >= context_.cache_bytes; }

 private:
  bool forgets() const { return program_->within_ms > 0; }
  size_t uncut_bytes() const { return cache_->dirty_bytes() + time_.uncut_bytes(); }
  Status take(const Batch& batch, std::vector<uint32_t>& passed, RowErrors& errors);
  bool passes(const Batch& batch, uint32_t i, RowErrors& errors);
  // Drops keys whose time is over.
  Result<bool> expire(int64_t watermark_ms);
  // When the watermark reaches it, no row that is in time can be a duplicate of one that passed at this time.
  int64_t forgotten_at(int64_t passed_ms) const {
    return later_by(later_by(passed_ms, program_->within_ms), program_->within_ms - 1);
  }

  std::shared_ptr<const DeduplicateProgram> program_;
  OperatorContext context_;
  PassedTimesCodec codec_;
  std::unique_ptr<LaneCache> cache_;
  KeyedRows rows_;
  DeduplicateTime time_;
};

Status DeduplicateFirst::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  context_ = context;
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, codec_, context.cache_bytes);
  return time_.open(context);
}

Status DeduplicateFirst::process(const Batch& batch, size_t, Collector& out) {
  counters_.in += batch.live();
  RowErrors errors = rows_with_long_keys(batch);
  MR_ASSIGN(const Batch rows, time_.without_late(without_rows(batch, errors), counters_, out));
  auto passed = std::make_shared<std::vector<uint32_t>>();
  passed->reserve(rows.live());
  MR_RETURN_IF_ERROR(take(rows, *passed, errors));
  sort_errors(errors);
  if (!errors.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors));
  counters_.out += passed->size();
  if (!passed->empty()) {
    Batch result = batch;
    if (passed->size() < batch.live()) result.selection = std::move(passed);
    result.key_bytes = nullptr;
    result.shards = nullptr;
    MR_RETURN_IF_ERROR(out.emit(std::move(result)));
  }
  if (!forgets() || batch.watermark_ms == nullptr || batch.live() == 0) return Status::ok();
  return expire(batch.watermark_ms[batch.row(batch.live() - 1)]).status();
}

Status DeduplicateFirst::take(const Batch& batch, std::vector<uint32_t>& passed, RowErrors& errors) {
  for (uint32_t begin = 0; begin < batch.live(); begin += KeyedRows::kMaxRows) {
    const uint32_t count = std::min(KeyedRows::kMaxRows, batch.live() - begin);
    MR_RETURN_IF_ERROR(rows_.look_up(batch, begin, count, *cache_));
    const size_t passed_before = passed.size();
    const size_t failed_before = errors.entries.size();
    for (uint32_t i = 0; i < count; i++) {
      if (passes(batch, i, errors)) passed.push_back(rows_.row(i));
    }
    counters_.filtered += count - (passed.size() - passed_before) - (errors.entries.size() - failed_before);
  }
  counters_.cache_hits = cache_->counters().hits;
  counters_.cache_misses = cache_->counters().misses;
  counters_.store_reads = cache_->counters().store_reads;
  return Status::ok();
}

bool DeduplicateFirst::passes(const Batch& batch, uint32_t i, RowErrors& errors) {
  PassedTimes& times = PassedTimesCodec::of(rows_.state(i));
  const uint32_t row = rows_.row(i);
  if (!forgets()) {
    if (times.count > 0) return false;
    times.count = 1;
    times.changed_in = codec_.cut_number();
    return true;
  }
  const int64_t time_ms = batch.event_time_ms[row];
  if (times.has_near(time_ms, program_->within_ms)) return false;
  if (times.count >= kMaxTimes) {
    errors.entries.push_back({row, "too many rows of one key have passed that may still have duplicates"});
    return false;
  }
  if (times.count == 0) time_.watch(forgotten_at(time_ms), rows_.shard(i), batch.key_bytes[row]);
  times.add(time_ms);
  times.changed_in = codec_.cut_number();
  return true;
}

Result<bool> DeduplicateFirst::expire(int64_t watermark_ms) {
  MR_ASSIGN(const bool any, time_.take_due(watermark_ms));
  if (!any) return true;
  MR_RETURN_IF_ERROR(rows_.look_up(time_.keys(), time_.shards(), time_.size(), *cache_));
  const int64_t until_ms = later_by(later_by(watermark_ms, 1 - program_->within_ms), -program_->within_ms);
  for (uint32_t i = 0; i < time_.size(); i++) {
    PassedTimes& times = PassedTimesCodec::of(rows_.state(i));
    times.forget(until_ms);
    times.changed_in = codec_.cut_number();
    if (times.count > 0) {
      time_.watch(forgotten_at(times.newest_ms), time_.shards()[i], time_.keys()[i]);
    } else {
      cache_->mark_removed(rows_.state(i));
      counters_.fired++;
    }
  }
  return false;
}

Result<bool> DeduplicateFirst::advance(int64_t watermark_ms, size_t, Collector&) {
  if (!forgets()) return true;
  return expire(watermark_ms);
}

void DeduplicateFirst::cut(DeltaBuilder& delta) {
  cache_->cut(delta);
  codec_.next_cut();
  time_.cut(delta);
}

}  // namespace

std::unique_ptr<Operator> make_deduplicate_first(std::shared_ptr<const DeduplicateProgram> program) {
  return std::make_unique<DeduplicateFirst>(std::move(program));
}

}  // namespace millrace
