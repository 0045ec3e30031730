// Evaluates the nodes of a program over the rows of a frame, and the bodies of macros over the items of its lists.
// Internal to expr/; one thread.
#pragma once

#include <array>
#include <vector>

#include "expr/program.h"

namespace millrace::expr {

// The column that a node reads.
const ColumnPtr& column_of_batch(const Batch& batch, int index);

class Walker {
 public:
  // `program` outlives the walker.
  explicit Walker(const Program& program) : program_(program) {}

  // Begins an evaluation: `frame` is the one of the batch. `batch` may be nullptr if no column is read.
  void start(const Frame& frame, const Batch* batch);
  // The value of a node for the rows of `live`. Precondition: start().
  void run(Frame& frame, uint32_t id, const Live& live, Vector& out);
  // The value of a macro whose arguments are in args.
  void run_loop(Frame& frame, const Node& node, const Live& live, const Vector* args, Vector& out);

 private:
  struct Pass;
  class LoopOutput;

  void run_node(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out);
  void run_logic(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out);
  void run_open(Frame& frame, uint32_t id, const Live& live, const Live& open, Vector* args, Vector& out);
  void run_ternary(Frame& frame, uint32_t id, const Live& live, Vector* args, Vector& out);
  void place_output(Frame& frame, uint32_t id) const;
  bool is_leaf(uint32_t id) const;

  Pass take_pass(Frame& frame, const Node& node, const Vector& lists, const Live& live, uint32_t* next, Arena& memory,
                 Vector& out);
  void run_pass(Frame& frame, const Node& node, const Vector* args, const Pass& pass, const ArenaPtr& memory,
                LoopOutput& output);
  std::vector<Vector> parameters(Frame& frame, const Node& node, const Vector* args, const Pass& pass,
                                 Arena& memory) const;
  const Program& program_;
  const Batch* batch_ = nullptr;
  uint32_t depth_ = 0;                                // macros that are running
  Spending made_;                                     // lists and texts
  Spending visited_;                                  // items of macros
  std::array<ArenaPtr, kMaxMacroDepth> body_memory_;  // by depth; emptied after each pass
};

}  // namespace millrace::expr
