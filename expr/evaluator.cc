#include "expr/argument_cache.h"
#include "expr/walker.h"

namespace millrace {
namespace {

class ProgramEvaluator : public Evaluator {
 public:
  explicit ProgramEvaluator(std::shared_ptr<const expr::Program> program)
      : program_(std::move(program)), walker_(*program_) {}

  ColumnPtr evaluate(const Batch& batch, const ArenaPtr& arena, RowErrors& errors) override {
    if (const int plain = program_->plain_column(); plain >= 0) return expr::column_of_batch(batch, plain);
    expr::Frame frame{batch.rows, arena, scratch_, arguments_};
    const expr::Live live{batch.selection ? batch.selection->data() : nullptr, batch.live()};
    ColumnPtr result;
    {
      expr::Vector value;
      walker_.start(frame, &batch);
      walker_.run(frame, program_->root, live, value);
      if (value.errors) {
        live.each([&](uint32_t row) {
          if (value.errors[row]) errors.entries.push_back({row, value.errors[row]});
        });
      }
      result = finish(frame, value, live, batch);
    }
    scratch_.reset();
    return result;
  }

 private:
  ColumnPtr finish(expr::Frame& frame, const expr::Vector& value, const expr::Live& live, const Batch& batch) {
    auto result = std::const_pointer_cast<Column>(materialize(value, program_->type(), live, frame));
    result->owners.push_back(frame.result);
    // Values may still lie in the columns that were read, and text in the literals.
    result->owners.push_back(program_);
    for (int index : program_->columns()) result->owners.push_back(expr::column_of_batch(batch, index));
    return result;
  }

  std::shared_ptr<const expr::Program> program_;
  expr::Walker walker_;
  Arena scratch_;
  expr::ArgumentCache arguments_;
};

}  // namespace

std::unique_ptr<Evaluator> make_evaluator(ExpressionPtr expression) {
  auto program = std::dynamic_pointer_cast<const expr::Program>(std::move(expression));
  MR_CHECK(program);
  return std::make_unique<ProgramEvaluator>(std::move(program));
}

}  // namespace millrace
