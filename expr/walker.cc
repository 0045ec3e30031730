#include "expr/walker.h"

#include <algorithm>

namespace millrace::expr {

const ColumnPtr& column_of_batch(const Batch& batch, int index) {
  MR_CHECK(static_cast<size_t>(index) < batch.columns.size() && batch.columns[static_cast<size_t>(index)]);
  return batch.columns[static_cast<size_t>(index)];
}

void Walker::start(const Frame& frame, const Batch* batch) {
  batch_ = batch;
  if (!program_.has_loops) return;
  made_.start(program_.nodes.size(), frame.rows, frame.scratch);
  visited_.start(program_.nodes.size(), frame.rows, frame.scratch);
}

void Walker::run(Frame& frame, uint32_t id, const Live& live, Vector& out) {
  const Node& node = program_.nodes[id];
  if (node.form == Node::Form::kConstant) {
    out = node.constant;
    return;
  }
  if (node.form == Node::Form::kColumn) {
    out = view_of(column_of_batch(*batch_, node.column));
    return;
  }
  if (node.form == Node::Form::kParameter) {
    out = frame.parameters[node.number];
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

void Walker::run_node(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out) {
  const Node& node = program_.nodes[id];
  switch (node.form) {
    case Node::Form::kAnd:
    case Node::Form::kOr: return run_logic(frame, id, live, args, out);
    case Node::Form::kTernary: return run_ternary(frame, id, live, args, out);
    default: break;
  }
  for (size_t i = 0; i < node.args.size(); i++) run(frame, node.args[i], live, args[i]);
  place_output(frame, id);
  if (node.form == Node::Form::kLoop) return run_loop(frame, node, live, args, out);
  apply(frame, node, args, node.args.size(), live, out);
}

// Values that escape lie where the result lives, all others in the scratch memory.
void Walker::place_output(Frame& frame, uint32_t id) const {
  frame.output_arena = program_.nodes[id].escapes ? frame.result.get() : &frame.scratch;
}

void Walker::run_logic(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out) {
  const Node& node = program_.nodes[id];
  run(frame, node.args[0], live, args[0]);
  if (program_.nodes[node.args[1]].cost > kCheap) {
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
  apply(frame, node, args, 2, live, out);
}

void Walker::run_open(Frame& frame, uint32_t id, const Live& live, const Live& open, Vector* args, Vector& out) {
  const Node& node = program_.nodes[id];
  run(frame, node.args[1], open, args[1]);
  place_output(frame, id);
  apply(frame, node, args, 2, open, out);
  const uint8_t absorbing = node.form == Node::Form::kAnd ? 0 : 1;
  auto* o = const_cast<uint8_t*>(out.bools);  // apply() has just allocated it
  uint32_t next = 0;
  live.each([&](uint32_t row) {
    if (next < open.count && open.rows[next] == row) {
      next++;
    } else {
      o[row] = absorbing;
    }
  });
}

void Walker::run_ternary(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out) {
  const Node& node = program_.nodes[id];
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
  apply(frame, node, args, 3, good, out);
}

bool Walker::is_leaf(uint32_t id) const {
  const Node::Form form = program_.nodes[id].form;
  return form == Node::Form::kConstant || form == Node::Form::kColumn || form == Node::Form::kParameter;
}

}  // namespace millrace::expr
