// Macros over lists. The items of many rows are laid one after the other and the body is evaluated over all of them at
// once, in passes that bound the memory; what the body takes from outside is spread over the items first.
#include <fmt/format.h>

#include <algorithm>

#include "expr/walker.h"

namespace millrace::expr {
namespace {

// Items of one pass, but that a row is never cut. What a pass leaves behind is freed after it.
constexpr uint32_t kPassItems = 16 * 1024;

constexpr char kTooManyVisits[] = "macros visit more than 10000 items of a record";
static_assert(kMaxListItems == 10'000);

template <class T>
const T* spread(const T* values, const Vector& from, const uint32_t* rows, uint32_t count, Arena& memory) {
  T* out = memory.array<T>(count);
  for (uint32_t i = 0; i < count; i++) out[i] = values[from.at(rows[i])];
  return out;
}

// The vector whose row i is row rows[i] of another.
Vector spread_vector(const Vector& from, const uint32_t* rows, uint32_t count, Arena& values, Arena& scratch) {
  if (from.constant) return from;
  Vector out;
  if (from.nulls) out.nulls = spread(from.nulls, from, rows, count, scratch);
  if (from.errors) {
    const char** errors = scratch.array<const char*>(count);
    for (uint32_t i = 0; i < count; i++) errors[i] = from.errors[rows[i]];
    out.errors = errors;
  }
  if (from.bools) out.bools = spread(from.bools, from, rows, count, values);
  if (from.ints) out.ints = spread(from.ints, from, rows, count, values);
  if (from.doubles) out.doubles = spread(from.doubles, from, rows, count, values);
  if (from.strings) out.strings = spread(from.strings, from, rows, count, values);
  if (from.column) {
    uint32_t* index = scratch.array<uint32_t>(count);
    for (uint32_t i = 0; i < count; i++) index[i] = from.cell(rows[i]);
    out.column = from.column;
    out.index = index;
  }
  return out;
}

// Why a condition is neither true nor false for an item, or nullptr.
const char* open_reason(const Node& node, const Vector& condition, uint32_t item) {
  if (const char* error = condition.error(item)) return error;
  return condition.is_null(item) ? node.null_message.c_str() : nullptr;
}

bool holds(const Vector& condition, uint32_t item) { return condition.bools[condition.at(item)] != 0; }

}  // namespace

// The items of some consecutive live rows.
struct Walker::Pass {
  const uint32_t* rows = nullptr;
  const Span* spans = nullptr;  // items per row
  uint32_t row_count = 0;
  const uint32_t* owners = nullptr;   // row per item
  const uint32_t* records = nullptr;  // row of the batch per item
  const uint32_t* cells = nullptr;    // row of the list's child per item
  uint32_t count = 0;
  bool dense = true;   // the cells are 0, 1, 2 …
  bool whole = false;  // the only pass
};

// Collects what the passes of one macro yield.
class Walker::LoopOutput {
 public:
  LoopOutput(Frame& frame, const Node& node, const Vector& lists, Vector& out)
      : frame_(frame), node_(node), lists_(lists), out_(out) {
    if (node.loop == Node::Loop::kFilter || node.loop == Node::Loop::kMap) {
      spans_ = frame.result->zeroed<Span>(frame.rows);
    } else {
      truths_ = frame.output<uint8_t>(out);
    }
  }

  // all, exists: one item that decides outweighs those that fail. exists_one: none may fail.
  void add_truths(const Pass& pass, const Vector& condition) {
    const bool one = node_.loop == Node::Loop::kExistsOne;
    const bool decisive = node_.loop == Node::Loop::kExists;
    for (uint32_t i = 0; i < pass.row_count; i++) {
      const Span span = pass.spans[i];
      const char* reason = nullptr;
      uint32_t yes = 0;
      bool decided = false;
      for (uint32_t item = span.begin; item < span.begin + span.count && !decided; item++) {
        if (const char* open = open_reason(node_, condition, item)) {
          if (!reason) reason = open;
          continue;
        }
        yes += holds(condition, item);
        decided = !one && holds(condition, item) == decisive;
      }
      truths_[pass.rows[i]] = one ? yes == 1 : decided == decisive;
      if (reason && !decided) frame_.fail(out_, pass.rows[i], frame_.keep(reason));
    }
  }

  void add_filtered(const Pass& pass, const Vector& condition) {
    const Column* items = lists_.column->children[0].get();
    for (uint32_t i = 0; i < pass.row_count; i++) {
      const Span span = pass.spans[i];
      const auto begin = static_cast<uint32_t>(cells_.size());
      const char* reason = nullptr;
      for (uint32_t item = span.begin; item < span.begin + span.count && !reason; item++) {
        reason = open_reason(node_, condition, item);
        if (!reason && holds(condition, item)) cells_.push_back({items, pass.cells[item]});
      }
      close(pass.rows[i], begin, reason);
    }
  }

  // `condition` is nullptr or has been true for the items of `live`; `frame` is the one of the values.
  void add_mapped(const Pass& pass, const Vector* condition, const Vector& value, const Live& live, Frame& frame) {
    columns_.push_back(materialize(value, node_.type.element(), live, frame));
    const Column* items = columns_.back().get();
    direct_ = pass.whole && !condition;
    for (uint32_t i = 0; i < pass.row_count; i++) {
      const Span span = pass.spans[i];
      const auto begin = static_cast<uint32_t>(cells_.size());
      const char* reason = nullptr;
      for (uint32_t item = span.begin; item < span.begin + span.count && !reason; item++) {
        if (condition) reason = open_reason(node_, *condition, item);
        if (reason || (condition && !holds(*condition, item))) continue;
        reason = value.error(item);
        if (!reason && !direct_) cells_.push_back({items, item});
      }
      if (direct_ && !reason) {
        spans_[pass.rows[i]] = span;
        charge(pass.rows[i], *items, span);
      } else {
        close(pass.rows[i], begin, reason);
      }
    }
  }

  void finish() {
    if (!spans_) return;
    auto column = std::make_shared<Column>();
    column->type = node_.type;
    column->rows = frame_.rows;
    column->spans = spans_;
    if (direct_) {
      column->children.push_back(columns_[0]);
    } else {
      column->children.push_back(
          gather_column(node_.type.element(), cells_.data(), static_cast<uint32_t>(cells_.size()), frame_.result));
    }
    column->owners.push_back(frame_.result);
    out_.column = std::move(column);
  }

 private:
  // The list of a row ends with the last cell.
  void close(uint32_t row, uint32_t begin, const char* reason) {
    if (!reason) {
      spans_[row] = {begin, static_cast<uint32_t>(cells_.size()) - begin};
      uint64_t items = spans_[row].count;
      for (size_t i = begin; i < cells_.size() && nested(); i++) items += items_within(cells_[i]);
      if (frame_.charge_items(node_, out_, row, items)) return;
    } else {
      frame_.fail(out_, row, frame_.keep(reason));
    }
    cells_.resize(begin);
    spans_[row] = {};
  }

  void charge(uint32_t row, const Column& items, Span span) {
    uint64_t count = span.count;
    for (uint32_t i = span.begin; i < span.begin + span.count && nested(); i++) count += items_within({&items, i});
    if (!frame_.charge_items(node_, out_, row, count)) spans_[row] = {};
  }

  bool nested() const { return is_nested(node_.type.element().kind()); }

  Frame& frame_;
  const Node& node_;
  const Vector& lists_;
  Vector& out_;
  uint8_t* truths_ = nullptr;
  Span* spans_ = nullptr;
  bool direct_ = false;  // the items of the only pass are the items of the lists
  std::vector<Cell> cells_;
  std::vector<ColumnPtr> columns_;  // that the cells are of
};

Walker::Pass Walker::take_pass(Frame& frame, const Node& node, const Vector& lists, const Live& live, uint32_t* next,
                               Arena& memory, Vector& out) {
  const auto live_row = [&](uint32_t i) { return live.rows ? live.rows[i] : i; };
  const bool first = *next == 0;
  uint32_t* rows = memory.array<uint32_t>(live.count - *next);
  Span* spans = memory.array<Span>(live.count - *next);
  Pass pass;
  for (; *next < live.count && pass.count < kPassItems; ++*next) {
    const uint32_t row = live_row(*next);
    const uint32_t items = lists.column->spans[lists.cell(row)].count;
    uint64_t& total = visited_.of(node.id, frame.record(row));
    if (items > kMaxListItems - total) {
      frame.fail(out, row, kTooManyVisits);
      continue;
    }
    total += items;
    rows[pass.row_count] = row;
    spans[pass.row_count++] = {pass.count, items};
    pass.count += items;
  }
  uint32_t* owners = memory.array<uint32_t>(pass.count);
  uint32_t* records = memory.array<uint32_t>(pass.count);
  uint32_t* cells = memory.array<uint32_t>(pass.count);
  for (uint32_t i = 0; i < pass.row_count; i++) {
    const uint32_t begin = lists.column->spans[lists.cell(rows[i])].begin;
    pass.dense = pass.dense && (spans[i].count == 0 || begin == spans[i].begin);
    std::fill_n(owners + spans[i].begin, spans[i].count, rows[i]);
    std::fill_n(records + spans[i].begin, spans[i].count, frame.record(rows[i]));
    for (uint32_t k = 0; k < spans[i].count; k++) cells[spans[i].begin + k] = begin + k;
  }
  pass.rows = rows;
  pass.spans = spans;
  pass.owners = owners;
  pass.records = records;
  pass.cells = cells;
  pass.whole = first && *next == live.count;
  return pass;
}

std::vector<Vector> Walker::parameters(Frame& frame, const Node& node, const Vector* args, const Pass& pass,
                                       Arena& memory) const {
  std::vector<Vector> out;
  for (size_t i = 0; i < node.args.size(); i++) {
    // What the body returns as it is must outlive the pass.
    const Node* body = node.value ? &program_.nodes[*node.value] : nullptr;
    const bool returned = body && body->form == Node::Form::kParameter && body->number == static_cast<int64_t>(i);
    Arena& values = returned ? *frame.result : memory;
    if (i > 0) {
      out.push_back(spread_vector(args[i], pass.owners, pass.count, values, memory));
      continue;
    }
    const Vector items = view_of(args[0].column->children[0]);
    out.push_back(pass.dense ? items : spread_vector(items, pass.cells, pass.count, values, memory));
  }
  return out;
}

void Walker::run_pass(Frame& frame, const Node& node, const Vector* args, const Pass& pass, const ArenaPtr& memory,
                      LoopOutput& output) {
  const std::vector<Vector> bound = parameters(frame, node, args, pass, *memory);
  const auto body_frame = [&](const ArenaPtr& result) {
    Frame body{pass.count, result, *memory, frame.arguments};
    body.parameters = bound.data();
    body.records = pass.records;
    body.spending = &made_;
    return body;
  };
  Live items{nullptr, pass.count};
  Vector condition;
  if (node.condition) {
    Frame body = body_frame(memory);  // nothing of the condition outlives the pass
    run(body, *node.condition, items, condition);
  }
  if (node.loop == Node::Loop::kFilter) return output.add_filtered(pass, condition);
  if (node.loop != Node::Loop::kMap) return output.add_truths(pass, condition);
  if (node.condition) {
    uint32_t* chosen = memory->array<uint32_t>(pass.count);
    uint32_t count = 0;
    for (uint32_t item = 0; item < pass.count; item++)
      if (!open_reason(node, condition, item) && holds(condition, item)) chosen[count++] = item;
    items = {chosen, count};
  }
  Frame body = body_frame(frame.result);
  Vector value;
  run(body, *node.value, items, value);
  output.add_mapped(pass, node.condition ? &condition : nullptr, value, items, body);
}

void Walker::run_loop(Frame& frame, const Node& node, const Live& live, const Vector* args, Vector& out) {
  const Live good = screen(frame, node, args, 1, live, out);
  LoopOutput output(frame, node, args[0], out);
  MR_CHECK(depth_ < kMaxMacroDepth);
  ArenaPtr& memory = body_memory_[depth_++];
  if (!memory) memory = std::make_shared<Arena>();
  for (uint32_t next = 0; next < good.count;) {
    const Pass pass = take_pass(frame, node, args[0], good, &next, *memory, out);
    run_pass(frame, node, args, pass, memory, output);
    memory->reset();
  }
  depth_--;
  output.finish();
}

}  // namespace millrace::expr
