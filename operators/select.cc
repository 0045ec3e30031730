// select: {name: EXPR, …} — replaces the columns.
#include "operators/columns.h"
#include "operators/registration.h"

namespace millrace {
namespace {

class SelectPlan : public OperatorPlan {
 public:
  explicit SelectPlan(ConfigNode body) : body_(std::move(body)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override {
    const Edge input = merge_edges(inputs);
    list_ = {};
    if (!read_columns("select", body_, input.schema, diagnostics, list_)) return false;
    inputs_ = input.schema.size();
    output_ = {list_.schema, input.type, map_key_columns(input.key_columns, list_.sources)};
    return true;
  }
  const Edge& output() const override { return output_; }
  std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const override {
    return needed_by_columns(list_, inputs_, needed_outputs);
  }
  std::string describe() const override { return "select " + names_of(list_.schema, 0); }
  std::unique_ptr<Operator> make() const override { return make_columns_operator(list_); }

 private:
  ConfigNode body_;
  ColumnList list_;
  size_t inputs_ = 0;
  Edge output_;
};

}  // namespace

void register_select(OperatorRegistry& registry) {
  registry.add("select", [](const ConfigNode& body, Diagnostics&) { return std::make_unique<SelectPlan>(body); });
}

}  // namespace millrace
