// AggregateCompiler: types the fields of an `aggregate` and collects their aggregate calls into a program. Lives for
// one plan().
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/config_node.h"
#include "operators/aggregate_program.h"

namespace millrace {

class AggregateCompiler {
 public:
  // program.input, program.keys and program.window are set; calls, inputs, virtuals, output and fields are filled by
  // add_field.
  AggregateCompiler(const AggregateRegistry& registry, AggregateProgram& program, Diagnostics& diagnostics)
      : registry_(registry), program_(program), diagnostics_(diagnostics) {}
  // Adds output column `name`. False after an error.
  bool add_field(const std::string& name, const ConfigNode& node);
  // Decides the order of the slots; after the last field.
  void finish();

 private:
  using Refusal = std::optional<ExpressionError>;
  std::optional<std::pair<int, Type>> resolve_call(const Ast& call, Refusal* refusal);
  std::optional<std::pair<int, Type>> resolve_key(const Ast& call, Refusal* refusal);
  std::optional<std::pair<int, Type>> resolve_aggregate(const Ast& call, const AggregateFunction& function,
                                                        Refusal* refusal);
  std::optional<std::pair<int, Type>> resolve_name(const std::string& dotted_name);
  std::pair<int, Type> add_bound(bool start);
  std::optional<std::pair<int, Type>> resolve_fold(const Ast& call, const AggregateFunction& function,
                                                   Refusal* refusal);
  std::pair<int, Type> add_call(AggregateCall call);
  // *ast: what was compiled; nullptr if the text does not parse.
  ExpressionPtr compile_field(const ConfigNode& node, const Scope& scope, AstPtr* ast);
  // fold(init, add, merge, result) as the field sees it: `result`, in which acc is fold(init, add, merge, acc), the
  // accumulator.
  AstPtr with_fold_results(const AstPtr& ast) const;
  ExpressionPtr compile_argument(const AstPtr& argument, const Schema& names, Refusal* refusal);
  ExpressionPtr compile_condition(const AstPtr& argument, const AggregateFunction& function, Refusal* refusal);
  ColumnPtr compile_constant(const AstPtr& argument, Refusal* refusal);
  int add_input(const AstPtr& argument, ExpressionPtr expression, int condition);
  void refuse_bare_names(const ConfigNode& node, const Ast& ast);
  std::vector<std::string> input_names() const;

  const AggregateRegistry& registry_;
  AggregateProgram& program_;
  Diagnostics& diagnostics_;
  std::map<std::string, int> bare_names_;  // in the field at hand: names that are columns of the input only
  std::vector<ExpressionError> more_errors_;
};

}  // namespace millrace
