// drop: [a, b] — removes columns.
#include <algorithm>

#include "operators/columns.h"
#include "operators/registration.h"

namespace millrace {
namespace {

class DropPlan : public OperatorPlan {
 public:
  explicit DropPlan(ConfigNode body) : body_(std::move(body)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override {
    const Edge input = merge_edges(inputs);
    inputs_ = input.schema.size();
    const std::optional<std::vector<std::string>> names = as_string_list(body_, diagnostics);
    if (!names) return false;
    std::vector<bool> dropped(inputs_);
    mark(input.schema, *names, dropped, diagnostics);
    list_ = {};
    for (size_t i = 0; i < inputs_; i++) {
      if (dropped[i]) continue;
      list_.schema.push_back(input.schema[i]);
      list_.sources.push_back(static_cast<int>(i));
      list_.expressions.push_back(nullptr);
    }
    if (list_.schema.empty()) {
      diagnostics.error(LintCode::kBadValue, body_.location(), "no column is left");
      return false;
    }
    output_ = {list_.schema, input.type, map_key_columns(input.key_columns, list_.sources)};
    return true;
  }
  const Edge& output() const override { return output_; }
  std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const override {
    return needed_by_columns(list_, inputs_, needed_outputs);
  }
  std::string describe() const override { return "drop " + dropped_names_; }
  std::unique_ptr<Operator> make() const override { return make_columns_operator(list_); }

 private:
  void mark(const Schema& schema, const std::vector<std::string>& names, std::vector<bool>& dropped,
            Diagnostics& diagnostics) {
    std::vector<std::string> candidates;
    for (const Field& field : schema) candidates.push_back(field.name);
    dropped_names_.clear();
    for (size_t i = 0; i < names.size(); i++) {
      const int column = find_column(schema, names[i]);
      if (column < 0) {
        const ConfigNode item = body_.is_sequence() ? body_.at(i) : body_;
        diagnostics.error(LintCode::kUnknownField, item.location(), "unknown column \"" + names[i] + "\" in drop",
                          did_you_mean(names[i], candidates));
        continue;
      }
      dropped[static_cast<size_t>(column)] = true;
      dropped_names_ += (i > 0 ? ", " : "") + names[i];
    }
  }

  ConfigNode body_;
  ColumnList list_;
  size_t inputs_ = 0;
  Edge output_;
  std::string dropped_names_;
};

}  // namespace

void register_drop(OperatorRegistry& registry) {
  registry.add("drop", [](const ConfigNode& body, Diagnostics&) { return std::make_unique<DropPlan>(body); });
}

}  // namespace millrace
