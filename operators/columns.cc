#include "operators/columns.h"

namespace millrace {
namespace {

class Columns : public Operator {
 public:
  explicit Columns(const ColumnList& list) : projection_(computed(list)), sources_(list.sources) {
    for (const ExpressionPtr& expression : list.expressions) computed_.push_back(expression != nullptr);
  }

  Status open(const OperatorContext& context) override {
    arenas_ = context.arenas;
    return Status::ok();
  }

  Status process(const Batch& batch, size_t, Collector& out) override {
    counters_.in += batch.live();
    errors_.clear();
    const ArenaPtr arena = arenas_->take();
    std::vector<ColumnPtr> values = projection_.evaluate(batch, arena, errors_);
    Batch result = without_rows(batch, errors_);
    result.columns.clear();
    size_t next = 0;
    for (size_t i = 0; i < sources_.size(); i++) {
      result.columns.push_back(computed_[i] ? std::move(values[next++])
                                            : batch.columns[static_cast<size_t>(sources_[i])]);
    }
    counters_.out += result.live();
    if (!errors_.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors_));
    return result.live() > 0 ? out.emit(std::move(result)) : Status::ok();
  }

 private:
  static std::vector<ExpressionPtr> computed(const ColumnList& list) {
    std::vector<ExpressionPtr> expressions;
    for (const ExpressionPtr& expression : list.expressions) {
      if (expression) expressions.push_back(expression);
    }
    return expressions;
  }

  ArenaPool* arenas_ = nullptr;
  Projection projection_;
  std::vector<int> sources_;
  std::vector<bool> computed_;
  RowErrors errors_;
};

}  // namespace

bool read_columns(const std::string& kind, const ConfigNode& body, const Schema& input, Diagnostics& diagnostics,
                  ColumnList& list) {
  if (!body.is_mapping() || body.size() == 0) {
    diagnostics.error(LintCode::kWrongType, body.location(), "`" + kind + "` is a map of columns",
                      kind + ": {name: expression}");
    return false;
  }
  bool known = true;
  bool ok = true;
  Scope scope;
  scope.schema = &input;
  for (size_t i = 0; i < body.size(); i++) {
    const ConfigNode node = body.at(i);
    if (!ok && body.is_flow() && node.is_null()) {
      known = false;  // the rest of an expression that YAML has split is no column
      continue;
    }
    ExpressionPtr expression = compile_node(node, scope, diagnostics);
    ok = ok && expression;
    const int source = expression ? expression->plain_column() : -1;
    list.schema.push_back({body.key_at(i), expression ? expression->type() : Type::unknown()});
    list.expressions.push_back(source >= 0 ? nullptr : std::move(expression));
    list.sources.push_back(source);
  }
  return known;
}

std::vector<bool> needed_by_columns(const ColumnList& list, size_t inputs, const std::vector<bool>& needed) {
  std::vector<bool> result(inputs);
  for (size_t i = 0; i < list.sources.size(); i++) {
    if (list.expressions[i]) {
      for (int column : list.expressions[i]->columns()) result[static_cast<size_t>(column)] = true;
    } else if (i < needed.size() && needed[i]) {
      result[static_cast<size_t>(list.sources[i])] = true;
    }
  }
  return result;
}

std::string names_of(const Schema& schema, size_t first) {
  std::string names;
  for (size_t i = first; i < schema.size(); i++) names += (i > first ? ", " : "") + schema[i].name;
  return names;
}

std::unique_ptr<Operator> make_columns_operator(const ColumnList& list) { return std::make_unique<Columns>(list); }

}  // namespace millrace
