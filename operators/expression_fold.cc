#include "operators/expression_fold.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <string>

#include "base/check.h"
#include "operators/held_value.h"

namespace millrace {
namespace {

// Some rows of a batch, as a batch of their own that shares its columns: row i is row begin + i.
class RowWindow {
 public:
  // The columns that are wanted; the others are nullptr. `last` is put behind them.
  RowWindow(const std::vector<int>& columns, int last) : columns_(columns), last_(last) {}
  const Batch& show(const Batch& batch, uint32_t begin, uint32_t rows, ColumnPtr last) {
    view_.rows = rows;
    view_.event_time_ms = batch.event_time_ms + begin;
    view_.columns.resize(static_cast<size_t>(last_) + 1);
    for (const int column : columns_) {
      const auto at = static_cast<size_t>(column);
      if (column != last_) view_.columns[at] = shifted(*batch.columns[at], begin, rows);
    }
    view_.columns[static_cast<size_t>(last_)] = std::move(last);
    return view_;
  }
  Batch& batch() { return view_; }

 private:
  static ColumnPtr shifted(const Column& column, uint32_t begin, uint32_t rows) {
    auto result = std::make_shared<Column>();
    result->type = column.type;
    result->rows = rows;
    const auto move = [begin](auto values) { return values == nullptr ? values : values + begin; };
    result->nulls = move(column.nulls);
    result->bools = move(column.bools);
    result->ints = move(column.ints);
    result->doubles = move(column.doubles);
    result->strings = move(column.strings);
    result->spans = move(column.spans);
    result->children = column.children;
    if (column.type.kind() == TypeKind::kStruct) {
      for (ColumnPtr& child : result->children) {
        if (child) child = shifted(*child, begin, rows);
      }
    }
    return result;
  }

  const std::vector<int>& columns_;
  const int last_;
  Batch view_;
};

// Numbers the blocks of some rows from 0 on in the order of their first rows.
class BlockNumbers {
 public:
  // Forgets all; at most n follow.
  void start(size_t n) {
    const size_t slots = std::bit_ceil(2 * n + 1);
    if (slots > slots_.size()) slots_.assign(slots, {});
    if (++stamp_ == 0) {
      slots_.assign(slots_.size(), {});
      stamp_ = 1;
    }
    count_ = 0;
  }
  uint32_t count() const { return count_; }
  uint32_t of(const void* block) {
    const size_t mask = slots_.size() - 1;
    size_t at = (reinterpret_cast<uintptr_t>(block) * 0x9fb21c651e98df25) >> 32 & mask;
    while (slots_[at].stamp == stamp_ && slots_[at].block != block) at = (at + 1) & mask;
    if (slots_[at].stamp != stamp_) slots_[at] = {block, count_++, stamp_};
    return slots_[at].number;
  }

 private:
  struct Slot {
    const void* block = nullptr;
    uint32_t number = 0;
    uint32_t stamp = 0;  // of start()
  };
  std::vector<Slot> slots_;
  uint32_t count_ = 0;
  uint32_t stamp_ = 0;
};

// Text longer than this does not fit an accumulator.
constexpr size_t kMaxTextBytes = 64 * 1024;

bool fits(std::string_view text) { return text.size() <= kMaxTextBytes; }
template <class T>
bool fits(T) {
  return true;
}

template <class Cell>
class ExpressionFold : public Aggregate {
 public:
  using Slot = typename Cell::Held;
  using View = typename Cell::View;

  explicit ExpressionFold(FoldProgram program)
      : program_(std::move(program)),
        add_(make_evaluator(program_.add)),
        merge_(make_evaluator(program_.merge)),
        window_(program_.add->columns(), program_.accumulator) {}
  AggregatePtr for_lane() const override { return std::make_shared<ExpressionFold>(program_); }

  size_t size() const override { return sizeof(Slot); }
  const Type& type() const override { return program_.init->type; }
  void create(void* slot) const override {
    slot_of(slot).create();
    slot_of(slot).set(Cell::get(*program_.init, 0));
  }
  void destroy(void* slot) const override { slot_of(slot).destroy(); }
  bool trivially_destructible() const override { return Slot::kTrivial; }
  size_t extra_bytes(const void* slot) const override { return slot_of(slot).extra_bytes(); }

  bool cannot_fail(const AggregateRows& rows) const override { return prepare(rows); }
  bool can_fold(const AggregateRows& rows, size_t i) const override { return prepare(row_of(rows, i)); }
  std::string failure() const override { return failure_; }

  void add(const AggregateRows& rows) const override {
    take_prepared(rows);
    for (size_t i = 0; i < rows.n; i++) {
      if (changed_[i] != 0) slot_at(rows, i).set(after_[i]);
    }
  }
  void add_running(const AggregateRows& rows, const RunningRows& out) const override {
    take_prepared(rows);
    for (size_t i = 0; i < rows.n; i++) {
      Slot& slot = slot_at(rows, i);
      if (out.before != nullptr && out.before[i] != kNoRow) Cell::put(*out.column, out.before[i], slot.view());
      if (changed_[i] != 0) slot.set(after_[i]);
      if (out.after[i] != kNoRow) Cell::put(*out.column, out.after[i], slot.view());
    }
  }

  bool can_merge(const void* into, const void* from) const override {
    View merged;
    return evaluate_merge(slot_of(into), slot_of(from), merged);
  }
  bool merge(void* into, const void* from) const override {
    View merged;
    if (!evaluate_merge(slot_of(into), slot_of(from), merged)) return false;
    slot_of(into).set(merged);
    return true;
  }

  void write(void* const* states, size_t offset, size_t n, const uint32_t* out_rows,
             ColumnBuilder& out) const override {
    for (size_t i = 0; i < n; i++) {
      Cell::put(out, out_rows[i], slot_of(static_cast<const char*>(states[i]) + offset).view());
    }
  }
  void encode(const void* slot, AccumulatorWriter& out) const override { Cell::encode(slot_of(slot).view(), out); }
  Status decode(AccumulatorReader& in, void* slot) const override {
    const View value = Cell::decode(in);
    if (!in.ok()) return Status::terminal(Code::kStateCorrupt, "an accumulator does not decode");
    slot_of(slot).set(value);
    return Status::ok();
  }

 private:
  static Slot& slot_of(void* slot) { return *static_cast<Slot*>(slot); }
  static const Slot& slot_of(const void* slot) { return *static_cast<const Slot*>(slot); }
  static Slot& slot_at(const AggregateRows& rows, size_t i) {
    return slot_of(static_cast<void*>(static_cast<char*>(rows.states[i]) + rows.offset));
  }
  static AggregateRows row_of(AggregateRows rows, size_t i) {
    rows.n = 1;
    rows.states += i;
    rows.rows += i;
    return rows;
  }
  static bool counts(const AggregateRows& rows, size_t i) {
    return rows.condition == nullptr || rows.condition->bools[rows.rows[i]] != 0;
  }

  // Computes the accumulators after each of these rows into after_, where changed_. False if a row fails.
  bool prepare(const AggregateRows& rows) const;
  void take_prepared(const AggregateRows& rows) const;
  // Puts rows into rounds, in each of which every block and every row of the batch occurs once at most.
  void plan_rounds(const AggregateRows& rows) const;
  bool evaluate_round(const AggregateRows& rows, const uint32_t* indexes, size_t n) const;
  bool evaluate_merge(const Slot& into, const Slot& from, View& merged) const;
  View kept(View value) const {
    if constexpr (std::is_same_v<View, std::string_view>) {
      return kept_->copy(value);
    } else {
      return value;
    }
  }

  const FoldProgram program_;
  // The rest is scratch of the lane.
  std::unique_ptr<Evaluator> add_, merge_;
  mutable RowWindow window_;
  mutable ArenaPtr round_ = std::make_shared<Arena>();
  mutable ArenaPtr kept_ = std::make_shared<Arena>();
  mutable RowErrors errors_;
  mutable std::string failure_;
  mutable std::vector<View> after_;
  mutable std::vector<uint8_t> changed_;
  // What after_ belongs to; n is 0 when it has been used.
  mutable AggregateRows prepared_;
  // Of the rows at hand: the block of each by number; and of each block its accumulator and how many rounds it is in.
  mutable BlockNumbers numbers_;
  mutable std::vector<uint32_t> blocks_;
  mutable std::vector<View> current_;
  mutable std::vector<uint32_t> rounds_of_block_;
  mutable std::vector<uint32_t> rounds_of_row_;  // by physical row
  mutable std::vector<uint32_t> round_of_;
  mutable std::vector<uint32_t> order_;         // rows by round
  mutable std::vector<uint32_t> round_begins_;  // in order_
  mutable std::vector<uint32_t> next_;          // of each round in order_
};

template <class Cell>
void ExpressionFold<Cell>::plan_rounds(const AggregateRows& rows) const {
  numbers_.start(rows.n);
  rounds_of_row_.resize(std::max<size_t>(rounds_of_row_.size(), rows.batch->rows));
  for (size_t i = 0; i < rows.n; i++) rounds_of_row_[rows.rows[i]] = 0;
  rounds_of_block_.clear();
  current_.clear();
  blocks_.resize(rows.n);
  round_of_.resize(rows.n);
  round_begins_.assign(1, 0);
  for (size_t i = 0; i < rows.n; i++) {
    if (!counts(rows, i)) continue;
    blocks_[i] = numbers_.of(rows.states[i]);
    if (numbers_.count() > current_.size()) {
      current_.push_back(slot_at(rows, i).view());
      rounds_of_block_.push_back(0);
    }
    uint32_t& of_block = rounds_of_block_[blocks_[i]];
    uint32_t& of_row = rounds_of_row_[rows.rows[i]];
    const uint32_t round = std::max(of_block, of_row);
    of_block = of_row = round + 1;
    round_of_[i] = round;
    if (round_begins_.size() < round + 2) round_begins_.resize(round + 2);
    round_begins_[round + 1]++;
  }
  for (size_t r = 1; r < round_begins_.size(); r++) round_begins_[r] += round_begins_[r - 1];
  order_.resize(round_begins_.back());
  next_ = round_begins_;
  for (uint32_t i = 0; i < rows.n; i++) {
    if (counts(rows, i)) order_[next_[round_of_[i]]++] = i;
  }
}

template <class Cell>
bool ExpressionFold<Cell>::prepare(const AggregateRows& rows) const {
  MR_CHECK(rows.batch != nullptr);
  prepared_.n = 0;
  kept_->reset();
  after_.resize(std::max(after_.size(), rows.n));
  changed_.assign(rows.n, 0);
  plan_rounds(rows);
  for (size_t round = 0; round + 1 < round_begins_.size(); round++) {
    uint32_t* begin = order_.data() + round_begins_[round];
    uint32_t* end = order_.data() + round_begins_[round + 1];
    const auto by_row = [&](uint32_t a, uint32_t b) { return rows.rows[a] < rows.rows[b]; };
    if (!std::is_sorted(begin, end, by_row)) std::sort(begin, end, by_row);
    if (!evaluate_round(rows, begin, static_cast<size_t>(end - begin))) return false;
  }
  prepared_ = rows;
  return true;
}

template <class Cell>
bool ExpressionFold<Cell>::evaluate_round(const AggregateRows& rows, const uint32_t* indexes, size_t n) const {
  const uint32_t begin = rows.rows[indexes[0]];
  const uint32_t count = rows.rows[indexes[n - 1]] - begin + 1;
  round_->reset();
  ColumnBuilder accumulators(type(), round_, count);
  auto selection = std::make_shared<std::vector<uint32_t>>(n);
  for (size_t k = 0; k < n; k++) {
    const uint32_t row = rows.rows[indexes[k]] - begin;
    (*selection)[k] = row;
    Cell::put(accumulators, row, current_[blocks_[indexes[k]]]);
  }
  window_.show(*rows.batch, begin, count, accumulators.finish(count));
  window_.batch().selection = n < count ? std::move(selection) : nullptr;
  errors_.clear();
  const ColumnPtr result = add_->evaluate(window_.batch(), round_, errors_);
  window_.batch().columns.clear();
  if (!errors_.empty()) {
    failure_ = errors_.entries[0].message;
    return false;
  }
  for (size_t k = 0; k < n; k++) {
    const uint32_t i = indexes[k];
    const uint32_t row = rows.rows[i] - begin;
    if (result->is_null(row)) continue;
    const View value = Cell::get(*result, row);
    if (!fits(value)) {
      failure_ = "an accumulator of more than 64 KiB";
      return false;
    }
    changed_[i] = 1;
    after_[i] = current_[blocks_[i]] = kept(value);
  }
  return true;
}

// Rows that were not prepared with this call's arguments are now; they cannot fail (the precondition of add).
template <class Cell>
void ExpressionFold<Cell>::take_prepared(const AggregateRows& rows) const {
  const bool ready = prepared_.n == rows.n && prepared_.states == rows.states && prepared_.rows == rows.rows &&
                     prepared_.offset == rows.offset && prepared_.batch == rows.batch;
  if (!ready) {
    const bool fit = prepare(rows);
    MR_CHECK(fit);
  }
  prepared_.n = 0;
}

template <class Cell>
bool ExpressionFold<Cell>::evaluate_merge(const Slot& into, const Slot& from, View& merged) const {
  prepared_.n = 0;
  kept_->reset();
  round_->reset();
  ColumnBuilder earlier(type(), round_, 1);
  ColumnBuilder later(type(), round_, 1);
  Cell::put(earlier, 0, into.view());
  Cell::put(later, 0, from.view());
  const int64_t time_ms = 0;
  Batch batch;
  batch.rows = 1;
  batch.event_time_ms = &time_ms;
  batch.columns = {earlier.finish(1), later.finish(1)};
  errors_.clear();
  const ColumnPtr result = merge_->evaluate(batch, round_, errors_);
  if (!errors_.empty() || result->is_null(0) || !fits(Cell::get(*result, 0))) return false;
  merged = kept(Cell::get(*result, 0));
  return true;
}

}  // namespace

AggregatePtr make_expression_fold(FoldProgram program) {
  switch (program.init->type.kind()) {
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return std::make_shared<ExpressionFold<IntCell>>(std::move(program));
    case TypeKind::kBool: return std::make_shared<ExpressionFold<BoolCell>>(std::move(program));
    case TypeKind::kDouble: return std::make_shared<ExpressionFold<DoubleCell>>(std::move(program));
    case TypeKind::kString:
    case TypeKind::kBytes: return std::make_shared<ExpressionFold<TextCell>>(std::move(program));
    default: return nullptr;
  }
}

}  // namespace millrace
