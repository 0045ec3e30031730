// Types a syntax tree against a scope and compiles it into a Program. Internal to expr/.
#pragma once

#include <initializer_list>

#include "expr/overloads.h"
#include "expr/program.h"

namespace millrace::expr {

// One compilation. Every check returns the node of its tree, or nullopt once the error is recorded; siblings of a
// failed tree are still checked, so that all errors are found.
class Checker {
 public:
  Checker(const Ast& root, const Scope& scope, std::vector<ExpressionError>* errors);
  // nullptr after errors.
  std::shared_ptr<Program> compile();

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
  std::optional<std::vector<uint32_t>> check_all(const std::vector<AstPtr>& asts);

  // What a dotted name means by itself: a column (index, type).
  std::optional<std::pair<int, Type>> resolve(const std::string& dotted) const;
  bool starts_with_column(const Ast& ast) const;
  std::optional<std::string> unresolved_root(const Ast& ast, size_t* offset) const;

  Id column_node(int index, const Type& type);
  Id constant_node(const Type& type, Vector value);
  Id text_node(const std::string& text);
  // Adds the node, or the constant that it amounts to.
  Id kernel_node(const Ast& ast, Node node, bool cheap);
  Id fold(const Ast& ast, const Node& node);
  Node node_for(const Ast& ast, Node::Form form, Type type, Kernel kernel, std::vector<uint32_t> args) const;

  Id fail(size_t offset, LintCode code, std::string message, std::string hint = "");
  Id no_overload(const Ast& ast, const std::vector<uint32_t>& args);
  const Type& type_of(uint32_t id) const { return program_->nodes[id].type; }
  TypeKind kind_of(uint32_t id) const { return type_of(id).kind(); }
  bool is_constant(uint32_t id) const { return program_->nodes[id].form == Node::Form::kConstant; }

  const Ast& root_;
  const Scope& scope_;
  std::vector<ExpressionError>* errors_;
  std::shared_ptr<Program> program_;
  uint32_t random_calls_ = 0;
};

}  // namespace millrace::expr
