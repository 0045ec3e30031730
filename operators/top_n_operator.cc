// Keeps the best rows of each key and says what changed among them, once per key and epoch, or with each row. Where the
// input takes rows back it keeps all of them, so that others can move up.
#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "operators/keyed_rows.h"
#include "operators/order_key.h"
#include "operators/projection.h"
#include "operators/row_output.h"
#include "operators/top_n.h"

namespace millrace {
namespace {

constexpr uint8_t kCodecVersion = 1;

struct TopState {
  TopList list;
  uint32_t changed_in = 0;  // number of the cut that will write it
  bool changed = false;     // since it was last shown
};

class TopStateCodec : public AccumulatorCodec {
 public:
  explicit TopStateCodec(const TopRule& rule) : rule_(rule) {}
  static TopState& of(void* state) { return *static_cast<TopState*>(state); }
  static const TopState& of(const void* state) { return *static_cast<const TopState*>(state); }
  size_t size() const override { return sizeof(TopState); }
  void create(void* state) const override { new (state) TopState; }
  void destroy(void* state) const override { of(state).~TopState(); }
  bool trivially_destructible() const override { return false; }
  void encode(const void* state, std::string& out) const override {
    AccumulatorWriter writer(out);
    writer.byte(kCodecVersion);
    of(state).list.encode(writer);
  }
  Status decode(std::string_view bytes, void* state) const override {
    AccumulatorReader in(bytes);
    if (in.byte() != kCodecVersion || !of(state).list.decode(in) || !in.finished()) {
      return Status::terminal(Code::kStateCorrupt, "the best rows of a key do not decode");
    }
    of(state).list.mark_shown(rule_);  // before they were written
    return Status::ok();
  }
  size_t extra_bytes(const void* state) const override { return of(state).list.heap_bytes(); }
  bool is_unchanged(const void* state) const override { return of(state).changed_in != cut_; }
  uint32_t cut_number() const { return cut_; }
  void next_cut() { cut_++; }

 private:
  const TopRule rule_;
  uint32_t cut_ = 1;
};
static_assert(sizeof(TopState) % 8 == 0 && alignof(TopState) == 8);

bool is_same(const TopList::Entry& a, const TopList::Entry& b) {
  return a.bytes == b.bytes && a.event_time_ms == b.event_time_ms;
}

class TopN : public Operator {
 public:
  explicit TopN(std::shared_ptr<const TopProgram> program)
      : program_(std::move(program)),
        codec_(program_->rule),
        row_codec_(program_->types),
        order_(program_->order),
        rows_(StateTable::kKeys),
        output_(program_->types, program_->with_rank, program_->key_columns),
        columns_(program_->columns.size()) {}
  Status open(const OperatorContext& context) override;
  Status process(const Batch& batch, size_t input, Collector& out) override;
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override;
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override;
  void cut(DeltaBuilder& delta) override;
  bool holds_rows() const override { return coalesces(); }
  bool wants_barrier() const override { return cache_->dirty_bytes() > context_.cache_bytes / 2; }
  bool is_full() const override { return cache_->dirty_bytes() >= context_.cache_bytes; }

 private:
  // Changes wait for the end of the epoch.
  bool coalesces() const { return !program_->emits_each && !context_.emit_per_batch; }
  const TopRule& rule() const { return program_->rule; }
  void see_watermark(int64_t watermark_ms) {
    has_watermark_ = true;
    watermark_ms_ = std::max(watermark_ms_, watermark_ms);
  }
  Status take(const Batch& batch, RowErrors& errors, Collector& out);
  // Puts row i of the piece at hand in, or takes it out. False: the list is as it was.
  bool apply(const Batch& batch, uint32_t i, RowErrors& errors);
  // Takes row `row` of the batch out, whose bytes are in encoded_.
  bool take_back(const Batch& batch, uint32_t row, TopList& list);
  bool take_back_by_identity(uint32_t row, TopList& list);
  // A row that is taken back and the one in its place are one change, if they have one key.
  bool is_replaced_at_once(const Batch& batch, uint32_t i, uint32_t count) const;
  // Adds what has changed.
  Status show(TopState& state, Collector& out);
  Status show_ranks(const TopList& list, Collector& out);
  Status show_rank(const TopList::Entry* before, const TopList::Entry* after, uint32_t rank, Collector& out);
  Status show_rows(const TopList& list, Collector& out);
  Status show_left(const TopList::Entry& entry, Collector& out);
  Status add(const TopList::Entry& entry, Change change, uint32_t rank);
  Status emit(Collector& out) { return output_.emit(has_watermark_, out, counters_.out); }

  std::shared_ptr<const TopProgram> program_;
  OperatorContext context_;
  TopStateCodec codec_;
  RowCodec row_codec_;
  Projection order_;
  std::unique_ptr<LaneCache> cache_;
  KeyedRows rows_;
  RowOutput output_;

  std::vector<ColumnPtr> columns_;  // of the batch at hand: those that are kept,
  std::vector<ColumnPtr> orders_;   // and those that say the order
  std::string order_key_;
  std::string encoded_;
  std::vector<const TopList::Entry*> shown_;  // by rank
  size_t cursor_ = 0;                         // of the flush under way
  bool has_watermark_ = false;
  int64_t watermark_ms_ = kNoTime;
};

Status TopN::open(const OperatorContext& context) {
  MR_CHECK(context.arenas != nullptr && context.state != nullptr);
  context_ = context;
  output_.open(*context.arenas);
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, codec_, context.cache_bytes);
  return Status::ok();
}

Status TopN::process(const Batch& batch, size_t, Collector& out) {
  counters_.in += batch.live();
  RowErrors errors = rows_with_long_keys(batch);
  orders_ = order_.evaluate(batch, context_.arenas->take(), errors);
  sort_errors(errors);
  for (size_t i = 0; i < columns_.size(); i++) columns_[i] = batch.columns[static_cast<size_t>(program_->columns[i])];
  if (batch.watermark_ms != nullptr && batch.live() > 0) see_watermark(batch.watermark_ms[batch.row(0)]);
  const Status status = take(without_rows(batch, errors), errors, out);
  std::fill(columns_.begin(), columns_.end(), nullptr);
  orders_.clear();
  MR_RETURN_IF_ERROR(status);
  counters_.cache_hits = cache_->counters().hits;
  counters_.cache_misses = cache_->counters().misses;
  counters_.store_reads = cache_->counters().store_reads;
  if (!coalesces()) MR_RETURN_IF_ERROR(emit(out));
  if (batch.watermark_ms != nullptr && batch.live() > 0) see_watermark(batch.watermark_ms[batch.row(batch.live() - 1)]);
  if (errors.empty()) return Status::ok();
  sort_errors(errors);
  return out.fail_rows(batch, errors);
}

Status TopN::take(const Batch& batch, RowErrors& errors, Collector& out) {
  for (uint32_t begin = 0; begin < batch.live(); begin += KeyedRows::kMaxRows) {
    const uint32_t count = std::min(KeyedRows::kMaxRows, batch.live() - begin);
    MR_RETURN_IF_ERROR(rows_.look_up(batch, begin, count, *cache_));
    for (uint32_t i = 0; i < count; i++) {
      // Rows that leave with their batch carry the watermark in front of it; with each row, the row's.
      if (batch.watermark_ms != nullptr && program_->emits_each) see_watermark(batch.watermark_ms[rows_.row(i)]);
      TopState& state = TopStateCodec::of(rows_.state(i));
      if (!apply(batch, i, errors)) continue;
      state.changed = true;
      state.changed_in = codec_.cut_number();
      if (program_->emits_each && !is_replaced_at_once(batch, i, count)) MR_RETURN_IF_ERROR(show(state, out));
    }
    if (!context_.emit_per_batch) continue;
    for (uint32_t i = 0; i < count; i++) MR_RETURN_IF_ERROR(show(TopStateCodec::of(rows_.state(i)), out));
  }
  return Status::ok();
}

// Side by side where they were made, so that a row whose successor was filtered out is a change of its own.
bool TopN::is_replaced_at_once(const Batch& batch, uint32_t i, uint32_t count) const {
  if (i + 1 == count || rows_.state(i) != rows_.state(i + 1) || rows_.row(i) + 1 != rows_.row(i + 1)) return false;
  return batch.change(rows_.row(i)) == Change::kRetract && batch.change(rows_.row(i + 1)) == Change::kInsert;
}

bool TopN::apply(const Batch& batch, uint32_t i, RowErrors& errors) {
  TopList& list = TopStateCodec::of(rows_.state(i)).list;
  const uint32_t row = rows_.row(i);
  order_key_.clear();
  for (size_t part = 0; part < orders_.size(); part++) {
    append_order_key(*orders_[part], row, program_->descending[part], order_key_);
  }
  const Change change = batch.change(row);
  MR_CHECK(change == Change::kInsert || (change == Change::kRetract && rule().keeps_all));
  const bool enters = change == Change::kInsert;
  if (enters && !list.takes(order_key_, rule())) {
    counters_.filtered++;
    return false;
  }
  if (enters && list.is_full(order_key_, rule())) {
    errors.entries.push_back({row, fmt::format("more than {} rows of one key{}", TopRule::kMaxRows,
                                               rule().keeps_all ? "" : " rank equal")});
    return false;
  }
  encoded_.clear();
  row_codec_.encode(columns_, row, encoded_);
  if (enters) {
    list.insert(order_key_, encoded_, batch.event_time_ms[row], rule());
  } else if (!take_back(batch, row, list)) {
    errors.entries.push_back({row, "takes back a row that is not there"});
    return false;
  }
  counters_.absorbed++;
  return true;
}

bool TopN::take_back(const Batch& batch, uint32_t row, TopList& list) {
  if (list.remove(order_key_, encoded_, batch.event_time_ms[row])) return true;
  return !program_->identity.empty() && take_back_by_identity(row, list);
}

// A sum of doubles that is merged from parts may come back other than it came in its last digits.
bool TopN::take_back_by_identity(uint32_t row, TopList& list) {
  const auto identity_of = [this](const std::vector<ColumnPtr>& columns) {
    std::vector<ColumnPtr> parts;
    for (int column : program_->identity) parts.push_back(columns[static_cast<size_t>(column)]);
    return parts;
  };
  std::vector<Type> types;
  for (int column : program_->identity) types.push_back(program_->types[static_cast<size_t>(column)]);
  const RowCodec codec(std::move(types));
  encoded_.clear();
  codec.encode(identity_of(columns_), row, encoded_);
  RowColumns rows(program_->types);
  rows.begin(context_.arenas->take());
  for (const TopList::Entry& entry : list.entries()) {
    if (!rows.add(entry.row())) return false;
  }
  const std::vector<ColumnPtr> held = identity_of(rows.finish());
  std::string identity;
  for (uint32_t i = 0; i < list.entries().size(); i++) {
    identity.clear();
    codec.encode(held, i, identity);
    if (identity != encoded_) continue;
    list.remove_at(i);
    return true;
  }
  return false;
}

Status TopN::show(TopState& state, Collector& out) {
  if (!state.changed) return Status::ok();
  state.changed = false;
  if (rule().keeps_all) state.list.reunite(rule());
  MR_RETURN_IF_ERROR(program_->output == TopProgram::Output::kRanks ? show_ranks(state.list, out)
                                                                    : show_rows(state.list, out));
  state.list.mark_shown(rule());
  return Status::ok();
}

Status TopN::show_ranks(const TopList& list, Collector& out) {
  shown_.clear();
  const auto note = [this](const TopList::Entry& entry) {
    if (entry.shown_rank > shown_.size()) shown_.resize(entry.shown_rank);
    if (entry.shown_rank > 0) shown_[entry.shown_rank - 1] = &entry;
  };
  std::for_each_n(list.entries().begin(), list.shown_end(), note);
  std::for_each(list.gone().begin(), list.gone().end(), note);
  const size_t best = list.best(rule());
  const size_t ranks = std::max(shown_.size(), best);
  for (size_t i = 0; i < ranks; i++) {
    const TopList::Entry* before = i < shown_.size() ? shown_[i] : nullptr;
    const TopList::Entry* after = i < best ? &list.entries()[i] : nullptr;
    if (before == after || (before != nullptr && after != nullptr && is_same(*before, *after))) continue;
    MR_RETURN_IF_ERROR(show_rank(before, after, static_cast<uint32_t>(i + 1), out));
  }
  return Status::ok();
}

Status TopN::show_rank(const TopList::Entry* before, const TopList::Entry* after, uint32_t rank, Collector& out) {
  MR_RETURN_IF_ERROR(output_.make_room(2, has_watermark_, out, counters_.out));
  if (before != nullptr && program_->gives_retractions) MR_RETURN_IF_ERROR(add(*before, Change::kRetract, rank));
  if (after != nullptr) return add(*after, Change::kInsert, rank);
  return program_->gives_retractions ? Status::ok() : add(*before, Change::kDelete, rank);
}

// What left first, so that a reader never counts more rows than there are.
Status TopN::show_rows(const TopList& list, Collector& out) {
  const size_t best = list.best(rule());
  for (const TopList::Entry& entry : list.gone()) MR_RETURN_IF_ERROR(show_left(entry, out));
  for (size_t i = best; i < list.shown_end(); i++) MR_RETURN_IF_ERROR(show_left(list.entries()[i], out));
  for (size_t i = 0; i < best; i++) {
    const TopList::Entry& entry = list.entries()[i];
    if (entry.shown_rank != 0 && !program_->with_rank) continue;
    const uint32_t rank = program_->with_rank ? list.rank(i, rule()) : 0;
    if (program_->with_rank && rank == entry.shown_rank) continue;
    MR_RETURN_IF_ERROR(output_.make_room(2, has_watermark_, out, counters_.out));
    if (entry.shown_rank != 0) MR_RETURN_IF_ERROR(add(entry, Change::kRetract, entry.shown_rank));
    MR_RETURN_IF_ERROR(add(entry, Change::kInsert, rank));
  }
  return Status::ok();
}

Status TopN::show_left(const TopList::Entry& entry, Collector& out) {
  if (entry.shown_rank == 0) return Status::ok();
  MR_RETURN_IF_ERROR(output_.make_room(1, has_watermark_, out, counters_.out));
  return add(entry, Change::kRetract, entry.shown_rank);
}

Status TopN::add(const TopList::Entry& entry, Change change, uint32_t rank) {
  return output_.add({entry.row(), change, entry.event_time_ms, watermark_ms_, rank});
}

Result<bool> TopN::advance(int64_t watermark_ms, size_t, Collector&) {
  see_watermark(watermark_ms);
  return true;
}

Result<bool> TopN::flush(uint64_t, size_t max_rows, Collector& out) {
  if (!coalesces()) return true;
  const uint64_t emitted = counters_.out;
  Status status;
  while (cursor_ < cache_->dirty_count() && counters_.out + output_.rows() - emitted < max_rows) {
    cursor_ = cache_->visit_dirty(cursor_, 1, [&](const LaneCache::EntryView& entry) {
      status = show(TopStateCodec::of(entry.state), out);
    });
    MR_RETURN_IF_ERROR(status);
  }
  MR_RETURN_IF_ERROR(emit(out));
  if (cursor_ < cache_->dirty_count()) return false;
  cursor_ = 0;
  return true;
}

void TopN::cut(DeltaBuilder& delta) {
  if (rule().keeps_all) {
    // Keys whose last row was taken back leave the state.
    std::vector<void*> gone;
    cache_->visit_dirty(0, cache_->dirty_count(), [&](const LaneCache::EntryView& entry) {
      if (TopStateCodec::of(entry.state).list.entries().empty()) gone.push_back(entry.state);
    });
    for (void* state : gone) cache_->mark_removed(state);
  }
  cache_->cut(delta);
  codec_.next_cut();
}

}  // namespace

std::unique_ptr<Operator> make_top_n_operator(std::shared_ptr<const TopProgram> program) {
  return std::make_unique<TopN>(std::move(program));
}

}  // namespace millrace
