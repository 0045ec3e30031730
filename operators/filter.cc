// filter: EXPR — keeps the rows on which a bool expression is true. Only the selection changes.
#include <algorithm>

#include "operators/projection.h"
#include "operators/registration.h"

namespace millrace {
namespace {

class Filter : public Operator {
 public:
  explicit Filter(const ExpressionPtr& condition) : projection_({condition}) {}

  Status open(const OperatorContext& context) override {
    arenas_ = context.arenas;
    return Status::ok();
  }

  Status process(const Batch& batch, size_t, Collector& out) override {
    counters_.in += batch.live();
    errors_.clear();
    const ArenaPtr arena = arenas_->take();
    const ColumnPtr condition = projection_.evaluate(batch, arena, errors_).front();
    const Batch evaluated = without_rows(batch, errors_);
    const Batch typed = condition->nulls == nullptr ? evaluated : without_nulls(evaluated, *condition);
    Batch passed = select_rows(typed, [&](uint32_t row) { return condition->bools[row] != 0; });
    counters_.filtered += typed.live() - passed.live();
    counters_.out += passed.live();
    if (!errors_.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors_));
    return passed.live() > 0 ? out.emit(std::move(passed)) : Status::ok();
  }

 private:
  // Null is neither true nor false.
  Batch without_nulls(const Batch& batch, const Column& condition) {
    RowErrors nulls;
    for_each_live(batch, [&](uint32_t row) {
      if (condition.is_null(row)) nulls.entries.push_back({row, "the condition is null"});
    });
    errors_.entries.insert(errors_.entries.end(), nulls.entries.begin(), nulls.entries.end());
    sort_errors(errors_);
    return without_rows(batch, nulls);
  }

  ArenaPool* arenas_ = nullptr;
  Projection projection_;
  RowErrors errors_;
};

class FilterPlan : public OperatorPlan {
 public:
  explicit FilterPlan(ConfigNode body) : body_(std::move(body)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override {
    output_ = merge_edges(inputs);
    Scope scope;
    scope.schema = &output_.schema;
    condition_ = compile_node(body_, scope, diagnostics, Type(TypeKind::kBool));
    return true;  // also after an error: the columns are the input's
  }
  const Edge& output() const override { return output_; }
  std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const override {
    std::vector<bool> needed = needed_outputs;
    needed.resize(output_.schema.size());
    for (int column : condition_->columns()) needed[static_cast<size_t>(column)] = true;
    return needed;
  }
  bool preserves_rows() const override { return true; }
  std::string describe() const override { return "filter " + body_.text(); }
  std::unique_ptr<Operator> make() const override { return std::make_unique<Filter>(condition_); }

 private:
  ConfigNode body_;
  Edge output_;
  ExpressionPtr condition_;
};

}  // namespace

void register_filter(OperatorRegistry& registry) {
  registry.add("filter", [](const ConfigNode& body, Diagnostics&) { return std::make_unique<FilterPlan>(body); });
}

}  // namespace millrace
