// ProcessCompiler: reads and types the steps of a `process` operator into a program. Lives for one plan().
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/config_node.h"
#include "operators/process_program.h"

namespace millrace {

class ProcessCompiler {
 public:
  // program.input, keys, fields and timers are set; handlers and output are filled.
  ProcessCompiler(ProcessProgram& program, Diagnostics& diagnostics) : program_(program), diagnostics_(diagnostics) {}
  // `node` is the value of on_record: a list of steps. Every error is reported; call finish() in any case.
  void add_record_steps(const ConfigNode& node);
  // The same of one timer. Order: after the steps on a record.
  void add_timer_steps(size_t timer, const ConfigNode& node);
  // After the last handler.
  void finish();

 private:
  using Refusal = std::optional<ExpressionError>;
  using Resolved = std::optional<std::pair<int, Type>>;

  void begin_handler(ProcessHandler& handler);
  std::vector<ProcessStep> read_steps(const ConfigNode& node, size_t depth);
  void read_step(const ConfigNode& node, size_t depth, std::vector<ProcessStep>& steps);
  void read_action(const std::string& action, const ConfigNode& node, std::vector<ProcessStep>& steps);
  void read_set(const ConfigNode& node, ProcessStep& step);
  void read_set_timer(const ConfigNode& node, ProcessStep& step);
  void read_clear(const ConfigNode& node, ProcessStep& step);
  void read_clear_timer(const ConfigNode& node, ProcessStep& step);
  void read_emit(const ConfigNode& node, ProcessStep& step);
  void unify_column(const ConfigNode& node, const ExpressionPtr& expression, Field& column);
  bool is_split_rest(const ConfigNode& map, size_t index, size_t errors_before) const;
  int find_field(const std::string& name, const Location& at);
  int find_timer(const std::string& name, const Location& at);
  // An expression of the handler at hand; nullptr after an error.
  ExpressionPtr compile(const ConfigNode& node);
  enum class Null { kAllowed, kRefused };
  ExpressionPtr compile(const ConfigNode& node, const Type& wanted, const std::string& what, Null null);
  Resolved resolve_name(const std::string& dotted_name);
  Resolved resolve_call(const Ast& call, Refusal* refusal);
  bool refuse_record_columns(const ConfigNode& node, const Ast& ast);
  std::vector<std::string> names() const;
  void find_repeats();

  ProcessProgram& program_;
  Diagnostics& diagnostics_;
  ProcessHandler* handler_ = nullptr;
  bool on_timer_ = false;
  size_t steps_ = 0;  // of the handler at hand
  const Schema no_columns_;
  std::vector<std::string> record_columns_;  // that the expression at hand names although a timer has no record
  bool has_output_ = false;
  bool output_failed_ = false;  // the first emit had errors: its columns are not known
  Location first_emit_;
};

}  // namespace millrace
