// Calls and operators.
#include <fmt/format.h>

#include <algorithm>

#include "expr/checker.h"
#include "expr/pattern.h"
#include "expr/time_format.h"
#include "expr/time_zone.h"
#include "expr/type_rules.h"

namespace millrace::expr {
namespace {

bool is_operator(std::string_view name) { return name.front() == '_' || name.back() == '_' || name.front() == '@'; }

// A list longer than this is looked up in a hash set.
constexpr size_t kFewItems = 8;

}  // namespace

Checker::Id Checker::call(const Ast& ast) {
  if (ast.name == "has" && !ast.member) return has(ast);
  if (ast.name == "random" && !ast.member && scope_.random_seed && scope_.random_index_column >= 0) return random(ast);
  if (is_macro(ast.name)) return macro(ast);
  const std::vector<Overload>& table = all_overloads();
  const auto named = [&](const Overload& overload) { return overload.name == ast.name; };
  const auto formed = [&](const Overload& overload) { return named(overload) && overload.member == ast.member; };
  const bool special = is_operator(ast.name) && !ast.member;
  if (!special && std::none_of(table.begin(), table.end(), named)) return unknown_function(ast);
  if (!special && std::none_of(table.begin(), table.end(), formed)) return wrong_form(ast);
  const auto args = check_all(ast.args);
  if (!args) return std::nullopt;
  return builtin(ast, *args);
}

Checker::Id Checker::wrong_form(const Ast& ast) {
  check_all(ast.args);
  const std::string form = ast.member ? fmt::format("{}(x)", ast.name) : fmt::format("x.{}(…)", ast.name);
  return fail(ast.offset, LintCode::kExpressionType,
              fmt::format("{} is {}", ast.name, ast.member ? "not called on a value" : "called on a value"),
              fmt::format("write {}", form));
}

Checker::Id Checker::unknown_function(const Ast& ast) {
  if (scope_.call_hook) {
    std::optional<ExpressionError> error;
    if (const auto found = scope_.call_hook(ast, &error)) return column_node(found->first, found->second);
    if (error) {
      errors_->push_back(std::move(*error));
      return std::nullopt;
    }
  }
  std::vector<std::string> candidates = known_functions();
  candidates.insert(candidates.end(), scope_.more_names.begin(), scope_.more_names.end());
  return fail(ast.offset, LintCode::kExpressionType, fmt::format("unknown function \"{}\"", ast.name),
              function_hint(ast.name, candidates));
}

Checker::Id Checker::builtin(const Ast& ast, const std::vector<uint32_t>& args) {
  if (ast.name == "_&&_" || ast.name == "_||_") return logic(ast, args);
  if (ast.name == "_==_" || ast.name == "_!=_") return equality(ast, args);
  if (ast.name == "@in") return membership(ast, args);
  const TypeKind first = args.empty() ? TypeKind::kNull : kind_of(args[0]);
  if (ast.name == "size" && args.size() == 1 && (first == TypeKind::kList || first == TypeKind::kMap)) {
    Node node = node_for(ast, Node::Form::kStrict, Type(TypeKind::kInt), kernels::list_size, args);
    return kernel_node(ast, std::move(node), true);
  }
  if (ast.name == "_+_" && first == TypeKind::kList && kind_of(args[1]) == TypeKind::kList) {
    const auto type = unify(type_of(args[0]), type_of(args[1]));
    if (!type) return no_overload(ast, args);
    return kernel_node(ast, node_for(ast, Node::Form::kStrict, *type, kernels::list_concat, args), false);
  }
  if ((ast.name == "least" || ast.name == "greatest") && args.size() > 2) {
    Id so_far = args[0];
    for (size_t i = 1; i < args.size() && so_far; i++) so_far = overload(ast, {*so_far, args[i]});
    return so_far;
  }
  return overload(ast, args);
}

Checker::Id Checker::overload(const Ast& ast, const std::vector<uint32_t>& args) {
  for (const Overload& candidate : all_overloads()) {
    if (candidate.name != ast.name || candidate.member != ast.member || candidate.args.size() != args.size()) continue;
    bool fits = true;
    for (size_t i = 0; i < args.size(); i++) fits = fits && candidate.args[i].takes(type_of(args[i]));
    if (!fits) continue;
    // int(int) and the like; a conversion, unlike -x, yields its argument's type from a function of that type's name.
    if (args.size() == 1 && type_of(args[0]).to_string() == ast.name) return args[0];
    const Node::Form form = candidate.lenient ? Node::Form::kLenient : Node::Form::kStrict;
    Node node = node_for(ast, form, candidate.result.type(), candidate.kernel, args);
    if (!read_texts(ast, candidate, node)) return std::nullopt;
    return kernel_node(ast, std::move(node), candidate.cheap);
  }
  return no_overload(ast, args);
}

// Reads the constant texts that the overload uses otherwise than as text; false after errors.
bool Checker::read_texts(const Ast& ast, const Overload& overload, Node& node) {
  bool good = true;
  for (size_t i = 0; i < node.args.size(); i++) {
    const OverloadType::Text text = overload.args[i].text;
    if (text == OverloadType::Text::kPlain || !is_constant(node.args[i])) continue;
    const Vector& value = program_->nodes[node.args[i]].constant;
    if (value.is_null(0)) continue;
    std::string error;
    std::string hint;
    bool read = false;
    if (text == OverloadType::Text::kPattern) {
      node.pattern = Pattern::make(value.strings[0], &error);
      read = node.pattern != nullptr;
      hint = "RE2 syntax; write r\"\\d\" for a backslash";
    } else if (text == OverloadType::Text::kZone) {
      node.zone = TimeZone::make(value.strings[0], &error);
      read = node.zone != nullptr;
      hint = fmt::format("an offset such as +02:00, or a name in {} such as Europe/Berlin", kZoneDirectory);
    } else {
      node.time_format = TimeFormat::make(value.strings[0], &error);
      read = node.time_format != nullptr;
      hint = "yyyy MM dd HH mm ss SSS; text that stays stands in single quotes";
    }
    if (!read) fail(ast.args[i]->offset, LintCode::kExpressionType, error, hint);
    good = good && read;
  }
  return good;
}

Checker::Id Checker::equality(const Ast& ast, const std::vector<uint32_t>& args) {
  const TypeKind left = kind_of(args[0]);
  const TypeKind right = kind_of(args[1]);
  const int64_t negate = ast.name == "_!=_" ? 1 : 0;
  if (left == TypeKind::kNull || right == TypeKind::kNull) {
    // What is null by its type may still fail.
    const bool left_first = right == TypeKind::kNull;
    Node node = node_for(ast, Node::Form::kLenient, Type(TypeKind::kBool), kernels::is_null,
                         {args[left_first ? 0 : 1], args[left_first ? 1 : 0]});
    node.number = negate;
    return kernel_node(ast, std::move(node), true);
  }
  if (!is_nested(left) || !is_nested(right)) return overload(ast, args);
  if (!comparable(type_of(args[0]), type_of(args[1]))) return no_overload(ast, args);
  Node node = node_for(ast, Node::Form::kLenient, Type(TypeKind::kBool), kernels::equal_any, args);
  node.number = negate;
  return kernel_node(ast, std::move(node), false);
}

Checker::Id Checker::membership(const Ast& ast, const std::vector<uint32_t>& args) {
  const Type& item = type_of(args[0]);
  const Type& list = type_of(args[1]);
  const Type boolean(TypeKind::kBool);
  if (list.kind() == TypeKind::kMap && item.kind() == TypeKind::kString)
    return kernel_node(ast, node_for(ast, Node::Form::kStrict, boolean, kernels::in_map, args), false);
  if (list.kind() != TypeKind::kList || item.kind() == TypeKind::kNull || !comparable(item, list.element()))
    return no_overload(ast, args);
  if (const Id found = constant_membership(ast, args)) return found;
  return kernel_node(ast, node_for(ast, Node::Form::kStrict, boolean, kernels::in_list, args), false);
}

// `x in ["a", "b"]` with items of x's own type, or nullopt where the general kernel is needed.
Checker::Id Checker::constant_membership(const Ast& ast, const std::vector<uint32_t>& args) {
  const TypeKind kind = kind_of(args[0]);
  if (is_constant(args[0]) || !is_constant(args[1]) || type_of(args[1]).element().kind() != kind) return std::nullopt;
  const Vector& list = program_->nodes[args[1]].constant;
  if (list.is_null(0)) return std::nullopt;
  const Span span = list.column->spans[list.cell(0)];
  const Column& items = *list.column->children[0];
  auto set = std::make_shared<ConstantSet>();
  if ((!items.ints && !items.strings) || span.count == 0) return std::nullopt;
  for (uint32_t i = span.begin; i < span.begin + span.count; i++) {
    if (items.is_null(i)) continue;  // equal to no value
    if (items.ints) {
      set->ints.insert(items.ints[i]);
    } else if (span.count <= kFewItems) {
      set->few_strings.push_back(items.strings[i]);
    } else {
      set->strings.insert(items.strings[i]);
    }
  }
  Node node = node_for(ast, Node::Form::kStrict, Type(TypeKind::kBool), kernels::in_set, {args[0]});
  node.set = std::move(set);
  return kernel_node(ast, std::move(node), span.count <= kFewItems);
}

Checker::Id Checker::has(const Ast& ast) {
  if (ast.args.size() != 1)
    return fail(ast.offset, LintCode::kExpressionType, fmt::format("has() takes one field, not {}", ast.args.size()));
  const Ast& field = *ast.args[0];
  if (field.kind != Ast::Kind::kName && field.kind != Ast::Kind::kField)
    return fail(field.offset, LintCode::kExpressionType, "has() takes a field", "write has(a) or has(a.b)");
  const auto dotted = [&]() -> bool {
    const Ast* part = &field;
    std::string text = part->name;
    while (part->kind == Ast::Kind::kField) {
      part = part->args[0].get();
      if (part->kind != Ast::Kind::kField && part->kind != Ast::Kind::kName) return false;
      text = part->name + "." + text;
    }
    return !starts_with_value(field) && resolve(text).has_value();
  };
  if (field.kind == Ast::Kind::kField && !dotted()) return has_field(field);
  const Id value = check(field);
  if (!value) return std::nullopt;
  Node node = node_for(ast, Node::Form::kLenient, Type(TypeKind::kBool), kernels::is_null, {*value});
  node.number = 1;
  return kernel_node(ast, std::move(node), true);
}

// has(base.field): the base may be null, which then has no fields.
Checker::Id Checker::has_field(const Ast& ast) {
  size_t offset = 0;
  if (unresolved_root(ast, &offset)) return field(ast);  // for its error
  const Id base = check(*ast.args[0]);
  if (!base) return std::nullopt;
  const Type type = type_of(*base);
  const Type boolean(TypeKind::kBool);
  if (type.kind() == TypeKind::kMap) {
    const Id key = text_node(ast.name);
    return kernel_node(ast, node_for(ast, Node::Form::kLenient, boolean, kernels::has_map_key, {*base, *key}), false);
  }
  if (type.kind() != TypeKind::kStruct || type.field_index(ast.name) < 0) return field_of(*base, ast);  // for its error
  Node node = node_for(ast, Node::Form::kLenient, boolean, kernels::has_struct_field, {*base});
  node.number = type.field_index(ast.name);
  return kernel_node(ast, std::move(node), true);
}

}  // namespace millrace::expr
