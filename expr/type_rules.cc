#include "expr/type_rules.h"

namespace millrace::expr {
namespace {

bool is_numeric(TypeKind kind) { return kind == TypeKind::kInt || kind == TypeKind::kDouble; }

bool has(const std::vector<Type>& types, TypeKind kind) {
  for (const Type& type : types)
    if (type.kind() == kind) return true;
  return false;
}

bool is_order(std::string_view f) {
  return f == "_<_" || f == "_<=_" || f == "_>_" || f == "_>=_" || f == "_==_" || f == "_!=_";
}

}  // namespace

std::optional<Type> unify(const Type& a, const Type& b) {
  if (a.kind() == TypeKind::kNull) return b;
  if (b.kind() == TypeKind::kNull || a == b) return a;
  if (a.kind() == TypeKind::kList && b.kind() == TypeKind::kList)
    if (const auto element = unify(a.element(), b.element())) return Type::list(*element);
  return std::nullopt;
}

bool comparable(const Type& a, const Type& b) {
  if (a.kind() == TypeKind::kNull || b.kind() == TypeKind::kNull) return true;
  if (is_numeric(a.kind()) && is_numeric(b.kind())) return true;
  if (a.kind() != b.kind() || a.kind() == TypeKind::kMap) return false;
  if (a.kind() == TypeKind::kList) return comparable(a.element(), b.element());
  return a.kind() != TypeKind::kStruct || a == b;
}

std::string mix_hint(const Type& a, const Type& b) {
  const std::vector<Type> types = {a, b};
  if (has(types, TypeKind::kInt) && has(types, TypeKind::kDouble)) return "double(x)";
  if (has(types, TypeKind::kString) && has(types, TypeKind::kBytes)) return "string(x) reads bytes as UTF-8";
  if (has(types, TypeKind::kString) && !has(types, TypeKind::kList) && !has(types, TypeKind::kStruct) &&
      !has(types, TypeKind::kMap) && !has(types, TypeKind::kNull) && a.kind() != b.kind())
    return "string(x)";
  return "";
}

std::string overload_hint(std::string_view function, const std::vector<Type>& types) {
  if (has(types, TypeKind::kNull)) return "only ==, != and has() accept null";
  const bool time = has(types, TypeKind::kTimestamp);
  const bool number = has(types, TypeKind::kInt) || has(types, TypeKind::kDouble);
  if (function == "int" && has(types, TypeKind::kDuration)) return "millis(x)";
  if (types.size() != 2) return "";
  if (is_order(function) && time && number) return "millis(x) is a timestamp as int";
  if (is_order(function) && has(types, TypeKind::kDuration) && number) return "millis(x) is a duration as int";
  if (is_order(function) && time && has(types, TypeKind::kString)) return "timestamp(x)";
  if (is_order(function) && has(types, TypeKind::kDuration) && has(types, TypeKind::kString)) return "duration(x)";
  if ((function == "_+_" || function == "_-_") && (time || has(types, TypeKind::kDuration)) && number)
    return "add a duration: duration(\"5m\")";
  if (is_order(function) && has(types, TypeKind::kString) && number)
    return types[0].kind() == TypeKind::kString ? "convert one side: int(x), double(x) or string(y)"
                                                : "convert one side: string(x), int(y) or double(y)";
  if (function == "_%_" && has(types, TypeKind::kDouble)) return "% is for int only: int(x)";
  if (function == "_&&_" || function == "_||_") return "";
  if (is_order(function) || function == "_+_" || function == "_-_" || function == "_*_" || function == "_/_")
    return mix_hint(types[0], types[1]);
  return "";
}

}  // namespace millrace::expr
