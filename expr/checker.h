// Types a syntax tree against a scope and compiles it into a Program. Internal to expr/.
#pragma once

#include <unordered_map>

#include "expr/overloads.h"
#include "expr/program.h"

namespace millrace::expr {

// One compilation. Every check returns the node of its tree, or nullopt once the error is recorded (a column of unknown
// type: where it came from); siblings of a failed tree are still checked, so that all errors are found.
class Checker {
 public:
  Checker(const Ast& root, const Scope& scope, std::vector<ExpressionError>* errors);
  // nullptr after errors.
  std::shared_ptr<Program> compile();
  static bool is_macro(std::string_view name);

 private:
  using Id = std::optional<uint32_t>;

  Id check(const Ast& ast);
  Id literal(const Ast& ast);
  Id name(const Ast& ast);
  Id field(const Ast& ast);
  Id field_of(uint32_t base, const Ast& ast);
  Id index(const Ast& ast);
  Id call(const Ast& ast);
  Id builtin(const Ast& ast, const std::vector<uint32_t>& args);
  Id overload(const Ast& ast, const std::vector<uint32_t>& args);
  bool read_texts(const Ast& ast, const Overload& overload, Node& node);
  Id unknown_function(const Ast& ast);
  Id wrong_form(const Ast& ast);
  Id equality(const Ast& ast, const std::vector<uint32_t>& args);
  Id membership(const Ast& ast, const std::vector<uint32_t>& args);
  Id constant_membership(const Ast& ast, const std::vector<uint32_t>& args);
  Id logic(const Ast& ast, const std::vector<uint32_t>& args);
  Id has(const Ast& ast);
  Id has_field(const Ast& ast);
  Id random(const Ast& ast);
  Id list(const Ast& ast);
  Id ternary(const Ast& ast);
  Id macro(const Ast& ast);
  Id loop(const Ast& ast, Node::Loop kind, uint32_t list);
  bool is_empty_literal(uint32_t id) const;
  Id macro_of_nothing(Node::Loop loop, uint32_t list);
  std::optional<std::vector<uint32_t>> check_all(const std::vector<AstPtr>& asts);

  // What a dotted name means by itself: a column (index, type).
  std::optional<std::pair<int, Type>> resolve(const std::string& dotted) const;
  bool starts_with_value(const Ast& ast) const;
  // The item of the innermost macro that calls it so.
  Id variable(std::string_view name) const;
  std::optional<std::string> unresolved_root(const Ast& ast, size_t* offset) const;

  Id column_node(int index, const Type& type);
  Id constant_node(const Type& type, Vector value);
  Id text_node(const std::string& text);
  uint32_t add(Node node, uint32_t level = 0);
  // The node itself, or the parameter that stands for it inside the macro of a level.
  uint32_t lift(uint32_t id, uint32_t level);
  uint32_t parameter(const Type& type, size_t number, uint32_t level);
  // Adds the node, or the constant that it amounts to.
  Id kernel_node(const Ast& ast, Node node, bool cheap);
  Id fold(const Ast& ast, const Node& node);
  Node node_for(const Ast& ast, Node::Form form, Type type, Kernel kernel, std::vector<uint32_t> args) const;

  Id fail(size_t offset, LintCode code, std::string message, std::string hint = "");
  Id no_overload(const Ast& ast, const std::vector<uint32_t>& args);
  const Type& type_of(uint32_t id) const { return program_->nodes[id].type; }
  TypeKind kind_of(uint32_t id) const { return type_of(id).kind(); }
  bool is_constant(uint32_t id) const { return program_->nodes[id].form == Node::Form::kConstant; }

  // A macro whose body is being checked.
  struct Loop {
    std::string name;  // of an item
    uint32_t item;
    std::vector<uint32_t> captured;    // nodes of lower levels
    std::vector<uint32_t> parameters;  // that stand for them
  };

  const Ast& root_;
  const Scope& scope_;
  std::vector<ExpressionError>* errors_;
  std::shared_ptr<Program> program_;
  std::vector<uint32_t> levels_;                    // of the nodes
  std::unordered_map<int, uint32_t> column_nodes_;  // by column
  std::vector<Loop> loops_;
  uint32_t random_calls_ = 0;
};

}  // namespace millrace::expr
