#include "expr/checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "expr/argument_cache.h"
#include "expr/type_rules.h"
#include "expr/walker.h"

namespace millrace::expr {
namespace {

constexpr uint8_t kOneNull = 1;

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// a.b.c of names and fields only.
std::optional<std::string> dotted_name(const Ast& ast) {
  if (ast.kind == Ast::Kind::kName) return ast.name;
  if (ast.kind != Ast::Kind::kField) return std::nullopt;
  auto base = dotted_name(*ast.args[0]);
  if (base) *base += "." + ast.name;
  return base;
}

// "null operand of + (amount or price)". Long operands, and what a macro does inside, are not named.
std::string null_message(const Ast& ast) {
  constexpr size_t kMaxShownBytes = 80;
  std::string what = ast.kind == Ast::Kind::kTernary ? "?:" : ast.kind == Ast::Kind::kIndex ? "[]" : "";
  if (what.empty() && !ast.name.empty()) what = shown_name(ast.name);
  if (ast.kind == Ast::Kind::kField) what.insert(0, ".");
  std::string operands;
  const size_t count = ast.kind == Ast::Kind::kTernary ? 1 : ast.args.size();
  for (size_t i = 0; i < count && !Checker::is_macro(ast.name); i++) {
    if (ast.args[i]->kind == Ast::Kind::kLiteral) continue;
    operands += (operands.empty() ? "" : " or ") + to_text(*ast.args[i]);
  }
  if (operands.empty() || operands.size() > kMaxShownBytes) return "null operand of " + what;
  return "null operand of " + what + " (" + operands + ")";
}

}  // namespace

Checker::Checker(const Ast& root, const Scope& scope, std::vector<ExpressionError>* errors)
    : root_(root), scope_(scope), errors_(errors), program_(std::make_shared<Program>()) {}

std::shared_ptr<Program> Checker::compile() {
  const Id root = check(root_);
  if (!root) return nullptr;
  program_->root = *root;
  program_->nodes[*root].escapes = true;
  std::vector<bool> used(program_->nodes.size());
  used[*root] = true;
  // Arguments stand before their node; what folding has left behind is not read.
  for (size_t i = program_->nodes.size(); i > 0; i--) {
    if (!used[i - 1]) continue;
    const Node& node = program_->nodes[i - 1];
    for (uint32_t arg : node.args) used[arg] = true;
    if (node.condition) used[*node.condition] = true;
    if (node.value) used[*node.value] = true;
    if (node.form == Node::Form::kColumn) program_->column_indexes.push_back(node.column);
  }
  std::vector<int>& columns = program_->column_indexes;
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  return program_;
}

Checker::Id Checker::fail(size_t offset, LintCode code, std::string message, std::string hint) {
  errors_->push_back({code, offset, std::move(message), std::move(hint)});
  return std::nullopt;
}

Checker::Id Checker::no_overload(const Ast& ast, const std::vector<uint32_t>& args) {
  std::string types;
  std::vector<Operand> operands;
  for (size_t i = 0; i < args.size(); i++) {
    types += i == 0 ? " for " : i + 1 == args.size() ? " and " : ", ";
    types += type_of(args[i]).to_string();
    operands.push_back({type_of(args[i]), i < ast.args.size() ? to_text(*ast.args[i]) : ""});
  }
  return fail(ast.offset, LintCode::kExpressionType,
              fmt::format("no overload of {}{}", shown_name(ast.name), types.empty() ? " without arguments" : types),
              overload_hint(ast.name, operands));
}

std::optional<std::vector<uint32_t>> Checker::check_all(const std::vector<AstPtr>& asts) {
  std::vector<uint32_t> ids;
  for (const AstPtr& ast : asts)
    if (const Id id = check(*ast)) ids.push_back(*id);
  if (ids.size() != asts.size()) return std::nullopt;
  return ids;
}

Checker::Id Checker::check(const Ast& ast) {
  switch (ast.kind) {
    case Ast::Kind::kLiteral: return literal(ast);
    case Ast::Kind::kName: return name(ast);
    case Ast::Kind::kField: return field(ast);
    case Ast::Kind::kIndex: return index(ast);
    case Ast::Kind::kCall: return call(ast);
    case Ast::Kind::kList: return list(ast);
    case Ast::Kind::kTernary: return ternary(ast);
    case Ast::Kind::kMap: break;
  }
  return fail(ast.offset, LintCode::kExpressionType, "there are no map literals",
              "write one column per value with `select` or `extend`");
}

Checker::Id Checker::constant_node(const Type& type, Vector value) {
  Node node;
  node.form = Node::Form::kConstant;
  node.type = type;
  node.constant = std::move(value);
  node.constant.constant = true;
  return add(std::move(node));
}

Checker::Id Checker::text_node(const std::string& text) {
  auto* value = program_->memory->array<std::string_view>(1);
  *value = program_->memory->copy(text);
  Vector vector;
  vector.strings = value;
  return constant_node(Type(TypeKind::kString), std::move(vector));
}

Checker::Id Checker::literal(const Ast& ast) {
  Arena& memory = *program_->memory;
  Vector vector;
  switch (ast.type.kind()) {
    case TypeKind::kBool: vector.bools = new (memory.array<uint8_t>(1)) uint8_t{ast.bool_value}; break;
    case TypeKind::kInt: vector.ints = new (memory.array<int64_t>(1)) int64_t{ast.int_value}; break;
    case TypeKind::kDouble: vector.doubles = new (memory.array<double>(1)) double{ast.double_value}; break;
    case TypeKind::kString: return text_node(ast.string_value);
    case TypeKind::kBytes: {
      const Id id = text_node(ast.string_value);
      program_->nodes[*id].type = ast.type;
      return id;
    }
    default: vector.nulls = &kOneNull; break;
  }
  return constant_node(ast.type, std::move(vector));
}

Checker::Id Checker::column_node(int index, const Type& type) {
  if (type.is_unknown()) return std::nullopt;
  // Once per column, so that a macro takes it from outside once.
  const auto known = column_nodes_.find(index);
  if (known != column_nodes_.end() && type_of(known->second) == type) return known->second;
  Node node;
  node.form = Node::Form::kColumn;
  node.type = type;
  node.column = index;
  return column_nodes_[index] = add(std::move(node));
}

Node Checker::node_for(const Ast& ast, Node::Form form, Type type, Kernel kernel, std::vector<uint32_t> args) const {
  Node node;
  node.form = form;
  node.type = std::move(type);
  node.kernel = kernel;
  node.args = std::move(args);
  node.null_message = null_message(ast);
  for (uint32_t arg : node.args) node.arg_types.push_back(type_of(arg));
  return node;
}

Checker::Id Checker::kernel_node(const Ast& ast, Node node, bool cheap) {
  bool constant = node.kernel != kernels::random_int;
  uint32_t cost = cheap ? 1 : kDear;
  uint32_t level = 0;
  for (uint32_t arg : node.args) {
    level = std::max(level, levels_[arg]);
    constant = constant && is_constant(arg);
    cost = std::min(cost + program_->nodes[arg].cost, 10 * kDear);
  }
  node.cost = cost;
  if (constant) return fold(ast, node);
  for (uint32_t& arg : node.args) arg = lift(arg, level);
  return add(std::move(node), level);
}

// Evaluates a node of constants once, on a frame of one row.
Checker::Id Checker::fold(const Ast& ast, const Node& node) {
  Arena scratch(1024);
  ArgumentCache arguments;
  Frame frame{1, program_->memory, scratch, arguments, program_->memory.get()};
  std::vector<Vector> args;
  for (uint32_t arg : node.args) {
    args.push_back(program_->nodes[arg].constant);
    args.back().constant = false;  // one row of one
  }
  Vector value;
  const Live live{nullptr, 1};
  if (node.form == Node::Form::kLoop) {
    Walker walker(*program_);
    walker.start(frame, nullptr);
    walker.run_loop(frame, node, live, args.data(), value);
  } else {
    apply(frame, node, args.data(), args.size(), live, value);
  }
  if (value.error(0))
    return fail(ast.offset, LintCode::kExpressionType, fmt::format("always fails: {}", value.error(0)));
  return constant_node(node.type, view_of(materialize(value, node.type, live, frame)));
}

std::optional<std::pair<int, Type>> Checker::resolve(const std::string& dotted) const {
  if (scope_.schema) {
    const int column = find_column(*scope_.schema, dotted);
    if (column >= 0) return std::pair{column, (*scope_.schema)[static_cast<size_t>(column)].type};
  }
  if (scope_.name_hook) return scope_.name_hook(dotted);
  return std::nullopt;
}

// Is the leftmost name of a chain of fields an item or a column, so that the dots are struct fields?
bool Checker::starts_with_value(const Ast& ast) const {
  const Ast* root = &ast;
  while (root->kind == Ast::Kind::kField) root = root->args[0].get();
  if (root->kind != Ast::Kind::kName) return false;
  return variable(root->name) || (scope_.schema && find_column(*scope_.schema, root->name) >= 0);
}

Checker::Id Checker::name(const Ast& ast) {
  if (const Id item = variable(ast.name)) return item;
  if (const auto found = resolve(ast.name)) return column_node(found->first, found->second);
  std::vector<std::string> candidates = scope_.more_names;
  for (const Loop& loop : loops_) candidates.push_back(loop.name);
  if (scope_.schema)
    for (const Field& field : *scope_.schema) candidates.push_back(field.name);
  return fail(ast.offset, LintCode::kUnknownField, fmt::format("unknown field \"{}\"", ast.name),
              did_you_mean(ast.name, candidates));
}

// The dotted name of a chain of which no part means anything, and where it starts.
std::optional<std::string> Checker::unresolved_root(const Ast& ast, size_t* offset) const {
  if (starts_with_value(ast)) return std::nullopt;
  const Ast* part = &ast;
  for (;; part = part->args[0].get()) {
    const auto dotted = dotted_name(*part);
    if (!dotted || resolve(*dotted)) return std::nullopt;
    *offset = part->offset;
    if (part->kind == Ast::Kind::kName) return dotted_name(ast);
  }
}

Checker::Id Checker::field(const Ast& ast) {
  const auto dotted = dotted_name(ast);
  if (dotted && !starts_with_value(ast)) {
    if (const auto found = resolve(*dotted)) return column_node(found->first, found->second);
    size_t offset = 0;
    if (const auto unknown = unresolved_root(ast, &offset)) {
      Ast whole;
      whole.kind = Ast::Kind::kName;
      whole.name = *unknown;
      whole.offset = offset;
      return name(whole);
    }
  }
  const Id base = check(*ast.args[0]);
  return base ? field_of(*base, ast) : std::nullopt;
}

Checker::Id Checker::field_of(uint32_t base, const Ast& ast) {
  const Type type = type_of(base);
  if (type.kind() == TypeKind::kMap) {
    const Id key = text_node(ast.name);
    return kernel_node(ast, node_for(ast, Node::Form::kStrict, type.element(), kernels::map_item, {base, *key}), false);
  }
  if (type.kind() != TypeKind::kStruct)
    return fail(ast.offset, LintCode::kExpressionType, fmt::format("{} has no fields", type.to_string()));
  const int field = type.field_index(ast.name);
  if (field < 0) {
    std::vector<std::string> candidates;
    for (const Field& candidate : type.fields()) candidates.push_back(candidate.name);
    return fail(ast.offset, LintCode::kUnknownField,
                fmt::format("unknown field \"{}\" of {}", ast.name, type.to_string()),
                did_you_mean(ast.name, candidates));
  }
  const Type& result = type.fields()[static_cast<size_t>(field)].type;
  Node node = node_for(ast, Node::Form::kStrict, result, kernels::struct_field, {base});
  node.number = field;
  return kernel_node(ast, std::move(node), true);
}

Checker::Id Checker::index(const Ast& ast) {
  const auto args = check_all(ast.args);
  if (!args) return std::nullopt;
  const Type base = type_of((*args)[0]);
  const Type& position = type_of((*args)[1]);
  if (base.kind() == TypeKind::kList && position.kind() == TypeKind::kInt)
    return kernel_node(ast, node_for(ast, Node::Form::kStrict, base.element(), kernels::list_item, *args), false);
  if (base.kind() == TypeKind::kMap && position.kind() == TypeKind::kString)
    return kernel_node(ast, node_for(ast, Node::Form::kStrict, base.element(), kernels::map_item, *args), false);
  std::string hint;
  if (base.kind() == TypeKind::kStruct) hint = "write .name for a field";
  return fail(ast.offset, LintCode::kExpressionType,
              fmt::format("no overload of [] for {} and {}", base.to_string(), position.to_string()), hint);
}

Checker::Id Checker::list(const Ast& ast) {
  const auto args = check_all(ast.args);
  if (!args) return std::nullopt;
  Type element;
  for (size_t i = 0; i < args->size(); i++) {
    const Type& type = type_of((*args)[i]);
    const auto unified = unify(element, type);
    if (!unified)
      return fail(ast.args[i]->offset, LintCode::kExpressionType,
                  fmt::format("list of different types: {} and {}", element.to_string(), type.to_string()),
                  mix_hint({element, to_text(*ast.args[0])}, {type, to_text(*ast.args[i])}));
    element = *unified;
  }
  const Node node = node_for(ast, Node::Form::kLenient, Type::list(element), kernels::list_literal, *args);
  return kernel_node(ast, node, false);
}

Checker::Id Checker::ternary(const Ast& ast) {
  const auto args = check_all(ast.args);
  if (!args) return std::nullopt;
  const auto [condition, yes, no] = std::tuple((*args)[0], (*args)[1], (*args)[2]);
  if (kind_of(condition) != TypeKind::kBool)
    return fail(ast.args[0]->offset, LintCode::kExpressionType,
                fmt::format("the condition of ?: is {}, not bool", type_of(condition).to_string()));
  const auto type = unify(type_of(yes), type_of(no));
  if (!type)
    return fail(ast.offset, LintCode::kExpressionType,
                fmt::format("the sides of ?: have different types: {} and {}", type_of(yes).to_string(),
                            type_of(no).to_string()),
                mix_hint({type_of(yes), to_text(*ast.args[1])}, {type_of(no), to_text(*ast.args[2])}));
  if (is_constant(condition)) {
    const Vector& value = program_->nodes[condition].constant;
    if (value.is_null(0)) return fail(ast.offset, LintCode::kExpressionType, "always fails: null operand of ?:");
    const uint32_t side = value.bools[0] ? yes : no;
    if (type_of(side) == *type) return side;
    if (kind_of(side) == TypeKind::kNull && is_constant(side))
      return constant_node(*type, program_->nodes[side].constant);
  }
  Node node = node_for(ast, Node::Form::kTernary, *type, nullptr, *args);
  return kernel_node(ast, std::move(node), false);
}

Checker::Id Checker::logic(const Ast& ast, const std::vector<uint32_t>& args) {
  if (kind_of(args[0]) != TypeKind::kBool || kind_of(args[1]) != TypeKind::kBool) return no_overload(ast, args);
  const Node::Form form = ast.name == "_&&_" ? Node::Form::kAnd : Node::Form::kOr;
  return kernel_node(ast, node_for(ast, form, Type(TypeKind::kBool), nullptr, args), true);
}

Checker::Id Checker::random(const Ast& ast) {
  const uint32_t ordinal = random_calls_++;
  auto args = check_all(ast.args);
  if (!args) return std::nullopt;
  if (args->size() != 2 || kind_of((*args)[0]) != TypeKind::kInt || kind_of((*args)[1]) != TypeKind::kInt)
    return no_overload(ast, *args);
  if (is_constant((*args)[0]) && is_constant((*args)[1]) &&
      program_->nodes[(*args)[0]].constant.ints[0] >= program_->nodes[(*args)[1]].constant.ints[0])
    return fail(ast.offset, LintCode::kExpressionType, "always fails: empty range in random(lo, hi)",
                "lo is included, hi is not");
  args->push_back(*column_node(scope_.random_index_column, Type(TypeKind::kInt)));
  Node node = node_for(ast, Node::Form::kStrict, Type(TypeKind::kInt), kernels::random_int, *args);
  // The seed and the call are kept apart by different odd factors before the kernel mixes them.
  const uint64_t call = fnv1a(fmt::format("{}#{}", to_text(root_), ordinal));
  node.number = static_cast<int64_t>(*scope_.random_seed * 0x9e3779b97f4a7c15 ^ call);
  return kernel_node(ast, std::move(node), false);
}

}  // namespace millrace::expr

namespace millrace {

ExpressionPtr compile_expression(const AstPtr& ast, const Scope& scope, std::vector<ExpressionError>* errors) {
  MR_CHECK(ast);
  std::vector<ExpressionError> found;
  auto program = expr::Checker(*ast, scope, &found).compile();
  if (errors) errors->insert(errors->end(), found.begin(), found.end());
  if (!found.empty()) return nullptr;
  return program;
}

}  // namespace millrace
