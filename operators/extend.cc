// extend: {name: EXPR, …} — adds columns behind those of the input.
#include "operators/columns.h"
#include "operators/registration.h"

namespace millrace {
namespace {

class ExtendPlan : public OperatorPlan {
 public:
  explicit ExtendPlan(ConfigNode body) : body_(std::move(body)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override {
    const Edge input = merge_edges(inputs);
    inputs_ = input.schema.size();
    list_ = {input.schema, std::vector<ExpressionPtr>(inputs_), {}};
    for (size_t i = 0; i < inputs_; i++) list_.sources.push_back(static_cast<int>(i));
    bool ok = read_columns("extend", body_, input.schema, diagnostics, list_);
    for (size_t i = 0; body_.is_mapping() && i < body_.size(); i++) {
      if (find_column(input.schema, body_.key_at(i)) < 0) continue;
      diagnostics.error(LintCode::kConflict, body_.at(i).key_location(),
                        "column \"" + body_.key_at(i) + "\" exists already", "use select to replace columns");
      ok = false;
    }
    output_ = {list_.schema, input.type, input.key_columns};
    return ok;
  }
  const Edge& output() const override { return output_; }
  std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const override {
    return needed_by_columns(list_, inputs_, needed_outputs);
  }
  std::string describe() const override { return "extend " + names_of(list_.schema, inputs_); }
  std::unique_ptr<Operator> make() const override { return make_columns_operator(list_); }

 private:
  ConfigNode body_;
  ColumnList list_;
  size_t inputs_ = 0;
  Edge output_;
};

}  // namespace

void register_extend(OperatorRegistry& registry) {
  registry.add("extend", [](const ConfigNode& body, Diagnostics&) { return std::make_unique<ExtendPlan>(body); });
}

}  // namespace millrace
