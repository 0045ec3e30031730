#include "expr/argument_cache.h"
#include "expr/map_rows.h"
#include "expr/program.h"

#include <algorithm>
#include <array>

namespace millrace::expr {

void Frame::fail(Vector& out, uint32_t row, const char* message) {
  if (!out.errors) out.errors = scratch.zeroed<const char*>(rows);
  if (!out.errors[row]) out.errors[row] = message;
}

const char* Frame::keep(std::string_view message) {
  char* copy = scratch.array<char>(message.size() + 1);
  std::copy(message.begin(), message.end(), copy);
  copy[message.size()] = '\0';
  return copy;
}

namespace {

// Rows of `live` that a kernel may see. The others are marked in `out`: with the error of their first failed argument,
// or, where nulls are errors, with the node's message.
Live screen(Frame& frame, const Node& node, const Vector* args, size_t count, const Live& live, Vector& out) {
  const bool strict = node.form != Node::Form::kLenient;
  bool suspect = false;
  for (size_t i = 0; i < count; i++) suspect = suspect || args[i].errors || (strict && args[i].nulls);
  if (!suspect) return live;
  uint32_t* good = frame.scratch.array<uint32_t>(live.count);
  uint32_t kept = 0;
  live.each([&](uint32_t row) {
    const char* message = nullptr;
    for (size_t i = 0; i < count && !message; i++) message = args[i].error(row);
    for (size_t i = 0; strict && i < count && !message; i++)
      if (args[i].is_null(row)) message = node.null_message.c_str();
    if (message) {
      frame.fail(out, row, message);
    } else {
      good[kept++] = row;
    }
  });
  return kept == live.count ? live : Live{good, kept};
}

// false, true or neither of && and ||, where null and failed operands are neither.
enum Logic : uint8_t { kNo, kYes, kNeither };
Logic logic_of(const Vector& vector, uint32_t row) {
  if (vector.error(row) || vector.is_null(row)) return kNeither;
  return vector.bools[vector.at(row)] ? kYes : kNo;
}

// a && b, a || b of operands computed for all live rows: the absorbing value wins over an error on either side.
void combine(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const bool is_and = node.form == Node::Form::kAnd;
  const Vector& left = args[0];
  const Vector& right = args[1];
  if (!left.errors && !right.errors && !left.nulls && !right.nulls) {
    if (is_and) {
      map_two<uint8_t, uint8_t>(live, o, left, right, [](uint8_t a, uint8_t b) { return static_cast<uint8_t>(a & b); });
    } else {
      map_two<uint8_t, uint8_t>(live, o, left, right, [](uint8_t a, uint8_t b) { return static_cast<uint8_t>(a | b); });
    }
    return;
  }
  const Logic absorbing = is_and ? kNo : kYes;
  live.each([&](uint32_t row) {
    const Logic a = logic_of(left, row);
    const Logic b = logic_of(right, row);
    o[row] = absorbing == kYes;
    if (a == absorbing || b == absorbing) return;
    o[row] ^= 1;
    if (a != kNeither && b != kNeither) return;
    const char* message = left.error(row) ? left.error(row) : a == kNeither ? nullptr : right.error(row);
    frame.fail(out, row, message ? message : node.null_message.c_str());
  });
}

template <class T>
void choose(Frame& frame, const Vector& condition, const Vector& yes, const Vector& no, const Live& live, Vector& out) {
  T* o = frame.output<T>(out);
  const T* a = values<T>(yes);
  const T* b = values<T>(no);
  live.each([&](uint32_t row) {
    const Vector& side = condition.bools[condition.at(row)] ? yes : no;
    const T* from = &side == &yes ? a : b;
    o[row] = from ? from[side.at(row)] : T{};  // nullptr: the literal null
  });
}

// condition ? yes : no, both sides computed where they are chosen; values, nulls and errors come along.
void merge(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  const Vector& condition = args[0];
  const auto side_of = [&](uint32_t row) -> const Vector& {
    return condition.bools[condition.at(row)] ? args[1] : args[2];
  };
  if (args[1].errors || args[2].errors) {
    live.each([&](uint32_t row) {
      if (const char* message = side_of(row).error(row)) frame.fail(out, row, message);
    });
  }
  if (args[1].nulls || args[2].nulls) {
    uint8_t* nulls = frame.scratch.zeroed<uint8_t>(frame.rows);
    live.each([&](uint32_t row) { nulls[row] = side_of(row).is_null(row); });
    out.nulls = nulls;
  }
  switch (node.type.kind()) {
    case TypeKind::kNull: return;
    case TypeKind::kBool: return choose<uint8_t>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return choose<int64_t>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kDouble: return choose<double>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kString:
    case TypeKind::kBytes: return choose<std::string_view>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kList:
    case TypeKind::kStruct:
    case TypeKind::kMap: break;
  }
  std::vector<Cell> cells(frame.rows);
  live.each([&](uint32_t row) {
    const Vector& side = side_of(row);
    if (side.column && !side.is_null(row) && !side.error(row)) cells[row] = {side.column.get(), side.cell(row)};
  });
  out.column = gather_column(node.type, cells.data(), frame.rows, frame.result);
}

class ProgramEvaluator : public Evaluator {
 public:
  explicit ProgramEvaluator(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

  ColumnPtr evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) override {
    if (const int plain = program_->plain_column(); plain >= 0) return column(batch, plain);
    Frame frame{batch.rows, arena, scratch_, arguments_};
    const Live live{batch.selection ? batch.selection->data() : nullptr, batch.live()};
    batch_ = &batch;
    Vector value;
    run(frame, program_->root, live, value);
    if (value.errors) {
      live.each([&](uint32_t row) {
        if (value.errors[row]) errors.entries.push_back({row, value.errors[row]});
      });
    }
    ColumnPtr result = finish(frame, value, live);
    value = {};
    scratch_.reset();
    return result;
  }

 private:
  static const ColumnPtr& column(const Batch& batch, int index) {
    MR_CHECK(static_cast<size_t>(index) < batch.columns.size() && batch.columns[static_cast<size_t>(index)]);
    return batch.columns[static_cast<size_t>(index)];
  }

  ColumnPtr finish(Frame& frame, const Vector& value, const Live& live) {
    auto result = std::const_pointer_cast<Column>(materialize(value, program_->type(), live, frame));
    result->owners.push_back(frame.result);
    // Values may still lie in the columns that were read, and text in the literals.
    result->owners.push_back(program_);
    for (int index : program_->columns()) result->owners.push_back(column(*batch_, index));
    return result;
  }

  void run(Frame& frame, uint32_t id, const Live& live, Vector& out) {
    const Node& node = program_->nodes[id];
    if (node.form == Node::Form::kConstant) {
      out = node.constant;
      return;
    }
    if (node.form == Node::Form::kColumn) {
      out = view_of(column(*batch_, node.column));
      return;
    }
    if (node.args.size() <= 3) {
      std::array<Vector, 3> args;
      run_node(frame, id, live, args.data(), out);
    } else {
      std::vector<Vector> args(node.args.size());
      run_node(frame, id, live, args.data(), out);
    }
  }

  void run_node(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out) {
    const Node& node = program_->nodes[id];
    switch (node.form) {
      case Node::Form::kAnd:
      case Node::Form::kOr: return run_logic(frame, id, live, args, out);
      case Node::Form::kTernary: return run_ternary(frame, id, live, args, out);
      default: break;
    }
    for (size_t i = 0; i < node.args.size(); i++) run(frame, node.args[i], live, args[i]);
    place_output(frame, id);
    apply(frame, node, args, node.args.size(), live, out);
  }

  // The values of the root lie where the result lives, all others in the scratch memory.
  void place_output(Frame& frame, uint32_t id) {
    frame.output_arena = id == program_->root ? frame.result.get() : &frame.scratch;
  }

  void run_logic(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out) {
    const Node& node = program_->nodes[id];
    run(frame, node.args[0], live, args[0]);
    if (program_->nodes[node.args[1]].cost > kCheap) {
      // Only where the left side leaves it open; elsewhere the right side is never looked at.
      const Logic absorbing = node.form == Node::Form::kAnd ? kNo : kYes;
      uint32_t* open = frame.scratch.array<uint32_t>(live.count);
      uint32_t count = 0;
      live.each([&](uint32_t row) {
        open[count] = row;
        count += logic_of(args[0], row) != absorbing;
      });
      if (count < live.count) {
        run_open(frame, id, live, Live{open, count}, args, out);
        return;
      }
    }
    run(frame, node.args[1], live, args[1]);
    place_output(frame, id);
    combine(frame, node, args, live, out);
  }

  void run_open(Frame& frame, uint32_t id, const Live& live, const Live& open, Vector* args, Vector& out) {
    const Node& node = program_->nodes[id];
    run(frame, node.args[1], open, args[1]);
    place_output(frame, id);
    combine(frame, node, args, open, out);
    const uint8_t absorbing = node.form == Node::Form::kAnd ? 0 : 1;
    auto* o = const_cast<uint8_t*>(out.bools);  // combine() has just allocated it
    uint32_t next = 0;
    live.each([&](uint32_t row) {
      if (next < open.count && open.rows[next] == row) {
        next++;
      } else {
        o[row] = absorbing;
      }
    });
  }

  void run_ternary(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out) {
    const Node& node = program_->nodes[id];
    run(frame, node.args[0], live, args[0]);
    const Live good = screen(frame, node, args, 1, live, out);
    if (is_leaf(node.args[1]) && is_leaf(node.args[2])) {
      run(frame, node.args[1], good, args[1]);
      run(frame, node.args[2], good, args[2]);
    } else {
      uint32_t* rows = frame.scratch.array<uint32_t>(good.count);
      uint32_t yes = 0;
      uint32_t no = good.count;
      good.each([&](uint32_t row) {
        if (args[0].bools[args[0].at(row)]) {
          rows[yes++] = row;
        } else {
          rows[--no] = row;  // from the end, so descending
        }
      });
      std::reverse(rows + no, rows + good.count);
      run(frame, node.args[1], Live{rows, yes}, args[1]);
      run(frame, node.args[2], Live{rows + no, good.count - no}, args[2]);
    }
    place_output(frame, id);
    merge(frame, node, args, good, out);
  }

  bool is_leaf(uint32_t id) const {
    const Node::Form form = program_->nodes[id].form;
    return form == Node::Form::kConstant || form == Node::Form::kColumn;
  }

  std::shared_ptr<const Program> program_;
  Arena scratch_;
  ArgumentCache arguments_;
  const Batch* batch_ = nullptr;
};

}  // namespace

void apply(Frame& frame, const Node& node, const Vector* args, size_t count, const Live& live, Vector& out) {
  switch (node.form) {
    case Node::Form::kStrict:
    case Node::Form::kLenient: {
      const Live good = screen(frame, node, args, count, live, out);
      node.kernel(frame, node, args, good, out);
      return;
    }
    case Node::Form::kAnd:
    case Node::Form::kOr: return combine(frame, node, args, live, out);
    case Node::Form::kTernary: return merge(frame, node, args, screen(frame, node, args, 1, live, out), out);
    case Node::Form::kConstant:
    case Node::Form::kColumn: break;
  }
  MR_CHECK(false);
}

}  // namespace millrace::expr

namespace millrace {

std::unique_ptr<Evaluator> make_evaluator(ExpressionPtr expression) {
  auto program = std::dynamic_pointer_cast<const expr::Program>(std::move(expression));
  MR_CHECK(program);
  return std::make_unique<expr::ProgramEvaluator>(std::move(program));
}

}  // namespace millrace
