// Macros over lists, and what their bodies take from outside.
//
// Every node has a level: 0 for one value per row of the batch, n for one per item of the n-th macro around it. A node
// stands at the highest level of its arguments, so that what does not depend on an item is computed once per row,
// macros included; arguments of lower levels become parameters of the macro of that level.
#include <fmt/format.h>

#include <algorithm>

#include "expr/checker.h"

namespace millrace::expr {
namespace {

struct Macro {
  std::string_view name;
  Node::Loop loop;
  std::string_view form;
};
constexpr Macro kMacros[] = {
    {"all", Node::Loop::kAll, "xs.all(x, x > 0)"},
    {"exists", Node::Loop::kExists, "xs.exists(x, x > 0)"},
    {"exists_one", Node::Loop::kExistsOne, "xs.exists_one(x, x > 0)"},
    {"filter", Node::Loop::kFilter, "xs.filter(x, x > 0)"},
    {"map", Node::Loop::kMap, "xs.map(x, x + 1) or xs.map(x, x > 0, x + 1)"},
};

const Macro* find_macro(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kMacros), std::end(kMacros), [&](const Macro& macro) { return macro.name == name; });
  return found == std::end(kMacros) ? nullptr : found;
}

}  // namespace

bool Checker::is_macro(std::string_view name) { return find_macro(name) != nullptr; }

uint32_t Checker::add(Node node, uint32_t level) {
  node.id = static_cast<uint32_t>(program_->nodes.size());
  program_->nodes.push_back(std::move(node));
  levels_.push_back(level);
  return program_->nodes.back().id;
}

uint32_t Checker::lift(uint32_t id, uint32_t level) {
  if (is_constant(id) || levels_[id] == level) return id;
  Loop& loop = loops_[level - 1];
  const auto known = std::find(loop.captured.begin(), loop.captured.end(), id);
  const auto at = static_cast<size_t>(known - loop.captured.begin());
  if (known == loop.captured.end()) {
    loop.captured.push_back(id);
    loop.parameters.push_back(parameter(type_of(id), loop.captured.size(), level));
  }
  return loop.parameters[at];
}

uint32_t Checker::parameter(const Type& type, size_t number, uint32_t level) {
  Node node;
  node.form = Node::Form::kParameter;
  node.type = type;
  node.number = static_cast<int64_t>(number);
  return add(std::move(node), level);
}

Checker::Id Checker::variable(std::string_view name) const {
  for (size_t i = loops_.size(); i > 0; i--)
    if (loops_[i - 1].name == name) return loops_[i - 1].item;
  return std::nullopt;
}

Checker::Id Checker::macro(const Ast& ast) {
  const Macro& macro = *find_macro(ast.name);
  const size_t most = macro.loop == Node::Loop::kMap ? 4 : 3;
  if (!ast.member || ast.args.size() < 3 || ast.args.size() > most || ast.args[1]->kind != Ast::Kind::kName) {
    const bool named = ast.member && ast.args.size() >= 3 && ast.args.size() <= most;
    return fail(named ? ast.args[1]->offset : ast.offset, LintCode::kExpressionType,
                named ? fmt::format("the first argument of {} is a name for an item", ast.name)
                      : fmt::format("{} is called on a list, with a name for an item and what to do with it", ast.name),
                fmt::format("write {}", macro.form));
  }
  if (loops_.size() >= kMaxMacroDepth)
    return fail(ast.offset, LintCode::kExpressionType,
                fmt::format("more than {} macros in one another", kMaxMacroDepth),
                "split it with an `extend` operator");
  const Id list = check(*ast.args[0]);
  if (!list) return std::nullopt;
  if (kind_of(*list) != TypeKind::kList)
    return fail(ast.offset, LintCode::kExpressionType,
                fmt::format("{} is for lists, not {}", ast.name, type_of(*list).to_string()));
  if (is_empty_literal(*list)) return macro_of_nothing(macro.loop, *list);
  return loop(ast, macro.loop, *list);
}

// `[]` has no type of items that a body could be checked with.
bool Checker::is_empty_literal(uint32_t id) const {
  if (!is_constant(id) || type_of(id).element().kind() != TypeKind::kNull) return false;
  const Vector& list = program_->nodes[id].constant;
  return !list.is_null(0) && list.column->spans[list.cell(0)].count == 0;
}

Checker::Id Checker::macro_of_nothing(Node::Loop loop, uint32_t list) {
  if (loop == Node::Loop::kFilter || loop == Node::Loop::kMap) return list;
  Vector vector;
  vector.bools = new (program_->memory->array<uint8_t>(1)) uint8_t{loop == Node::Loop::kAll};
  return constant_node(Type(TypeKind::kBool), std::move(vector));
}

Checker::Id Checker::loop(const Ast& ast, Node::Loop kind, uint32_t list) {
  const auto level = static_cast<uint32_t>(loops_.size()) + 1;
  loops_.push_back({ast.args[1]->name, parameter(type_of(list).element(), 0, level), {}, {}});
  const bool maps = kind == Node::Loop::kMap;
  Id condition;
  Id value;
  bool good = true;
  if (!maps || ast.args.size() == 4) {
    condition = check(*ast.args[2]);
    good = condition.has_value();
    if (condition && kind_of(*condition) != TypeKind::kBool) {
      fail(ast.args[2]->offset, LintCode::kExpressionType,
           fmt::format("the condition of {} is {}, not bool", ast.name, type_of(*condition).to_string()));
      good = false;
    }
    if (condition) condition = lift(*condition, level);
  }
  if (maps) {
    value = check(*ast.args.back());
    good = good && value;
    if (value) value = lift(*value, level);
  }
  const Loop done = std::move(loops_.back());
  loops_.pop_back();
  if (!good) return std::nullopt;

  Type type(TypeKind::kBool);
  if (kind == Node::Loop::kFilter) type = type_of(list);
  if (maps) type = Type::list(type_of(*value));
  std::vector<uint32_t> args = {list};
  args.insert(args.end(), done.captured.begin(), done.captured.end());
  Node node = node_for(ast, Node::Form::kLoop, type, nullptr, std::move(args));
  node.loop = kind;
  node.condition = condition;
  node.value = value;
  program_->has_loops = true;
  if (value) program_->nodes[*value].escapes = true;
  return kernel_node(ast, std::move(node), false);
}

}  // namespace millrace::expr
