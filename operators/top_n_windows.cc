#include "operators/top_n_windows.h"

#include <algorithm>
#include <tuple>

#include "operators/order_key.h"
#include "operators/projection.h"
#include "operators/row_output.h"
#include "operators/top_aggregate.h"
#include "operators/window_plan.h"

namespace millrace {
namespace {

// The added column; no declared name has a dot.
const std::string kArrival = ".row";
constexpr int64_t kMicrosPerMilli = 1000;

// Between the windows and what is behind this operator: lists become rows, the added column goes.
class TopRows : public Collector {
 public:
  TopRows(const TopProgram& program, size_t arrival_column)
      : program_(program),
        arrival_column_(arrival_column),
        output_(program.types, program.with_rank, program.key_columns) {}
  void open(ArenaPool& arenas) { output_.open(arenas); }
  void set_next(Collector* next) { next_ = next; }
  uint64_t emitted() const { return emitted_; }

  Status emit(Batch batch) override;
  Status emit_side(const std::string& port, Batch batch) override {
    batch.columns.erase(batch.columns.begin() + static_cast<ptrdiff_t>(arrival_column_));
    return next_->emit_side(port, std::move(batch));
  }
  Status fail_rows(const Batch& batch, const RowErrors& errors) override { return next_->fail_rows(batch, errors); }

 private:
  Status read(const Batch& batch, uint32_t row, std::vector<TopRow>& rows) const;
  Status show_changes(const Batch& batch, uint32_t row);
  void find_stays();
  Status add(const Batch& batch, uint32_t row, const TopRow& top, Change change);
  static int64_t event_time_of(const Batch& batch, uint32_t row);

  const TopProgram& program_;
  const size_t arrival_column_;
  RowOutput output_;
  Collector* next_ = nullptr;
  uint64_t emitted_ = 0;
  std::vector<TopRow> before_, after_;
  std::vector<const TopRow*> left_, entered_;
  std::vector<uint8_t> stays_;  // by position in before_, then in after_
};

Status TopRows::emit(Batch batch) {
  for (uint32_t i = 0; i < batch.live(); i++) {
    const uint32_t row = batch.row(i);
    before_.clear();
    after_.clear();
    const bool replaces = batch.change(row) == Change::kRetract;
    if (replaces) MR_RETURN_IF_ERROR(read(batch, row, before_));
    const bool pair = replaces && i + 1 < batch.live() && batch.change(batch.row(i + 1)) == Change::kInsert;
    if (pair) i++;
    if (pair || !replaces) MR_RETURN_IF_ERROR(read(batch, batch.row(i), after_));
    MR_RETURN_IF_ERROR(show_changes(batch, batch.row(i)));
  }
  return output_.emit(batch.watermark_ms != nullptr, *next_, emitted_);
}

Status TopRows::read(const Batch& batch, uint32_t row, std::vector<TopRow>& rows) const {
  MR_CHECK(batch.change(row) != Change::kDelete);
  const Column& lists = *batch.columns[0];
  if (!lists.is_null(row) && !read_top_list(lists.strings[row], program_.rule, rows)) {
    return Status::terminal(Code::kStateCorrupt, "the best rows of a window do not decode");
  }
  return Status::ok();
}

// The rows of before_ that are not in after_ leave, those of after_ that are not in before_ enter.
Status TopRows::show_changes(const Batch& batch, uint32_t row) {
  find_stays();
  for (size_t i = 0; i < before_.size(); i++) {
    if (stays_[i] == 0) MR_RETURN_IF_ERROR(add(batch, row, before_[i], Change::kRetract));
  }
  for (size_t i = 0; i < after_.size(); i++) {
    if (stays_[before_.size() + i] == 0) MR_RETURN_IF_ERROR(add(batch, row, after_[i], Change::kInsert));
  }
  return Status::ok();
}

// A row that stays has the same bytes and, if that is shown, the same rank. Rows that rank equal may stand in another
// order than before, where windows are put together of parts.
void TopRows::find_stays() {
  stays_.assign(before_.size() + after_.size(), 0);
  const auto key = [this](const TopRow& top) {
    return std::tuple(top.order, top.row, program_.with_rank ? top.rank : 0);
  };
  size_t same = 0;  // at the beginning
  for (const size_t n = std::min(before_.size(), after_.size()); same < n; same++) {
    if (key(before_[same]) != key(after_[same])) break;
    stays_[same] = stays_[before_.size() + same] = 1;
  }
  const auto by_key = [&](const TopRow* a, const TopRow* b) { return key(*a) < key(*b); };
  left_.clear();
  entered_.clear();
  for (size_t i = same; i < before_.size(); i++) left_.push_back(&before_[i]);
  for (size_t i = same; i < after_.size(); i++) entered_.push_back(&after_[i]);
  std::sort(left_.begin(), left_.end(), by_key);
  std::sort(entered_.begin(), entered_.end(), by_key);
  auto entered = entered_.begin();
  for (const TopRow* left : left_) {
    while (entered != entered_.end() && by_key(*entered, left)) ++entered;
    if (entered == entered_.end()) break;
    if (by_key(left, *entered)) continue;
    stays_[static_cast<size_t>(left - before_.data())] = 1;
    stays_[before_.size() + static_cast<size_t>(*entered - after_.data())] = 1;
    ++entered;
  }
}

Status TopRows::add(const Batch& batch, uint32_t row, const TopRow& top, Change change) {
  MR_RETURN_IF_ERROR(output_.make_room(1, batch.watermark_ms != nullptr, *next_, emitted_));
  const int64_t watermark_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : kNoTime;
  return output_.add({top.row, change, event_time_of(batch, row), watermark_ms, top.rank});
}

// The last millisecond of the window, in whatever mode it is shown: a row that leaves has the time that it came with.
int64_t TopRows::event_time_of(const Batch& batch, uint32_t row) {
  if (batch.columns.size() < 2) return batch.event_time_ms[row];
  return batch.columns[1]->ints[row] / kMicrosPerMilli - 1;
}

class TopNWindows : public Operator {
 public:
  TopNWindows(std::shared_ptr<const TopProgram> top, const std::shared_ptr<const AggregateProgram>& windows)
      : program_(std::move(top)),
        inputs_(windows->input.size() - 1),
        order_(program_->order),
        windows_(make_windowed_operator(windows)),
        rows_(*program_, inputs_) {}

  Status open(const OperatorContext& context) override {
    arenas_ = context.arenas;
    rows_.open(*context.arenas);
    return windows_->open(context);
  }
  Status process(const Batch& batch, size_t input, Collector& out) override {
    rows_.set_next(&out);
    MR_RETURN_IF_ERROR(begin_batch(batch, out));
    const Status status = windows_->process(arrivals_, input, rows_);
    end_batch();
    return counted(status);
  }
  Result<uint32_t> consume(const Batch& batch, uint32_t begin, size_t input, Collector& out) override {
    rows_.set_next(&out);
    if (!in_batch_) MR_RETURN_IF_ERROR(begin_batch(batch, out));
    Result<uint32_t> consumed = windows_->consume(arrivals_, to_arrival(begin), input, rows_);
    MR_RETURN_IF_ERROR(counted(consumed.status()));
    if (*consumed < arrivals_.live()) return to_live(*consumed);
    end_batch();
    return batch.live();
  }
  Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) override {
    rows_.set_next(&out);
    return counted(windows_->advance(watermark_ms, max_rows, rows_));
  }
  int64_t next_clock_ms() const override { return windows_->next_clock_ms(); }
  Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) override {
    rows_.set_next(&out);
    return counted(windows_->advance_clock(now_ms, max_rows, rows_));
  }
  int64_t restored_watermark_ms() const override { return windows_->restored_watermark_ms(); }
  int64_t output_delay_ms() const override { return windows_->output_delay_ms(); }
  Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) override {
    rows_.set_next(&out);
    return counted(windows_->flush(epoch, max_rows, rows_));
  }
  void cut(DeltaBuilder& delta) override { windows_->cut(delta); }
  bool holds_rows() const override { return windows_->holds_rows(); }
  bool wants_barrier() const override { return windows_->wants_barrier(); }
  bool is_full() const override { return windows_->is_full(); }

 private:
  Status begin_batch(const Batch& batch, Collector& out);
  ColumnPtr order_keys(const Batch& batch, const std::vector<ColumnPtr>& parts, const ArenaPtr& arena);
  void end_batch() {
    in_batch_ = false;
    arrivals_ = {};
    live_.clear();
  }
  // Positions of live rows in the batch and among the arrivals, which are fewer where rows have failed.
  uint32_t to_arrival(uint32_t live) const {
    if (live_.empty()) return live;
    return static_cast<uint32_t>(std::lower_bound(live_.begin(), live_.end(), live) - live_.begin());
  }
  uint32_t to_live(uint32_t arrival) const { return live_.empty() ? arrival : live_[arrival]; }
  // Takes over what the windows have counted.
  template <class Outcome>
  Outcome counted(Outcome outcome) {
    counters_ = windows_->counters();
    counters_.in += failed_;
    counters_.out = rows_.emitted();
    return outcome;
  }

  std::shared_ptr<const TopProgram> program_;
  const size_t inputs_;  // columns of the input
  Projection order_;
  std::unique_ptr<Operator> windows_;
  TopRows rows_;
  ArenaPool* arenas_ = nullptr;
  uint64_t failed_ = 0;

  // The batch at hand, as the windows see it.
  bool in_batch_ = false;
  Batch arrivals_;
  std::vector<uint32_t> live_;  // its rows, as positions of live rows in the batch; empty: all of them
  std::string keys_;
  std::vector<size_t> ends_;
};

Status TopNWindows::begin_batch(const Batch& batch, Collector& out) {
  const ArenaPtr arena = arenas_->take();
  RowErrors errors;
  const std::vector<ColumnPtr> parts = order_.evaluate(batch, arena, errors);
  arrivals_ = without_rows(batch, errors);
  in_batch_ = true;
  std::vector<ColumnPtr> kept;
  for (int column : program_->columns) kept.push_back(batch.columns[static_cast<size_t>(column)]);
  arrivals_.columns.resize(inputs_);
  arrivals_.columns.push_back(arrival_column(order_keys(arrivals_, parts, arena), std::move(kept)));
  if (errors.empty()) return Status::ok();
  failed_ += errors.entries.size();
  size_t next = 0;
  for (uint32_t i = 0; i < batch.live(); i++) {
    while (next < errors.entries.size() && errors.entries[next].row < batch.row(i)) next++;
    if (next == errors.entries.size() || errors.entries[next].row != batch.row(i)) live_.push_back(i);
  }
  return out.fail_rows(batch, errors);
}

ColumnPtr TopNWindows::order_keys(const Batch& batch, const std::vector<ColumnPtr>& parts, const ArenaPtr& arena) {
  keys_.clear();
  ends_.clear();
  for_each_live(batch, [&](uint32_t row) {
    for (size_t i = 0; i < parts.size(); i++) append_order_key(*parts[i], row, program_->descending[i], keys_);
    ends_.push_back(keys_.size());
  });
  const std::string_view text = arena->copy(keys_);
  auto keys = std::make_shared<Column>();
  auto* views = arena->array<std::string_view>(batch.rows);
  size_t begin = 0, i = 0;
  for_each_live(batch, [&](uint32_t row) {
    views[row] = text.substr(begin, ends_[i] - begin);
    begin = ends_[i++];
  });
  keys->type = Type(TypeKind::kBytes);
  keys->rows = batch.rows;
  keys->strings = views;
  keys->owners.push_back(arena);
  return keys;
}

}  // namespace

void add_top_list(const TopProgram& top, AggregateProgram& windows) {
  windows.input.push_back({kArrival, Type(TypeKind::kBytes)});
  Scope scope;
  scope.schema = &windows.input;
  auto name = std::make_shared<Ast>();
  name->kind = Ast::Kind::kName;
  name->name = kArrival;
  std::vector<ExpressionError> errors;
  const ExpressionPtr arrival = compile_expression(name, scope, &errors);
  MR_CHECK(arrival != nullptr && arrival->plain_column() == static_cast<int>(windows.input.size() - 1));
  windows.inputs = {{kArrival, arrival}};
  AggregateCall call;
  call.text = "top_n: too many rows rank equal";
  call.aggregate = make_top_aggregate(top.rule, top.types);
  call.value = 0;
  windows.calls = {call};
  windows.state_order = {0};
  windows.virtuals = {{call.aggregate->type(), 0}};
  Schema lists = {{"list", call.aggregate->type()}};
  if (windows.window.has_bounds()) {
    windows.virtuals.push_back({Type(TypeKind::kTimestamp), -1, -1, VirtualColumn::Bound::kEnd});
    lists.push_back({"end", Type(TypeKind::kTimestamp)});
  }
  scope.schema = &lists;
  for (const Field& column : lists) {
    auto field = std::make_shared<Ast>();
    field->kind = Ast::Kind::kName;
    field->name = column.name;
    windows.fields.push_back(compile_expression(field, scope, &errors));
    MR_CHECK(windows.fields.back() != nullptr);
  }
  windows.output = lists;
}

std::unique_ptr<Operator> make_top_n_windows(std::shared_ptr<const TopProgram> top,
                                             std::shared_ptr<const AggregateProgram> windows) {
  return std::make_unique<TopNWindows>(std::move(top), windows);
}

}  // namespace millrace
