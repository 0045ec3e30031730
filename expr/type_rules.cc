#include "expr/type_rules.h"

#include <algorithm>

namespace millrace::expr {
namespace {

bool is_numeric(TypeKind kind) { return kind == TypeKind::kInt || kind == TypeKind::kDouble; }

constexpr size_t kMaxShownBytes = 40;

bool has(const std::vector<Operand>& operands, TypeKind kind) {
  const auto is = [kind](const Operand& one) { return one.type.kind() == kind; };
  return std::any_of(operands.begin(), operands.end(), is);
}

// The first operand of a kind. Precondition: there is one.
const Operand& of(const std::vector<Operand>& operands, TypeKind kind) {
  const auto is = [kind](const Operand& one) { return one.type.kind() == kind; };
  return *std::find_if(operands.begin(), operands.end(), is);
}

// "double(amount)", of a number "1.0"; "double(…)" when the operand is long.
std::string converted(const std::string& function, const Operand& operand) {
  const bool digits = operand.text.find_first_not_of("0123456789") == std::string::npos;
  if (function == "double" && digits && !operand.text.empty()) return "write " + operand.text + ".0";
  return function + "(" + (operand.text.size() <= kMaxShownBytes ? operand.text : "…") + ")";
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

std::string shown_name(std::string_view function) {
  if (function == "@in") return "in";
  std::string shown(function);
  if (shown.front() == '_' || shown.back() == '_') std::erase(shown, '_');
  return shown;
}

std::string mix_hint(const Operand& a, const Operand& b) {
  const std::vector<Operand> both = {a, b};
  if (has(both, TypeKind::kInt) && has(both, TypeKind::kDouble)) return converted("double", of(both, TypeKind::kInt));
  if (has(both, TypeKind::kString) && has(both, TypeKind::kBytes))
    return converted("string", of(both, TypeKind::kBytes)) + " reads bytes as UTF-8";
  if (has(both, TypeKind::kString) && !has(both, TypeKind::kList) && !has(both, TypeKind::kStruct) &&
      !has(both, TypeKind::kMap) && !has(both, TypeKind::kNull) && a.type.kind() != b.type.kind())
    return converted("string", a.type.kind() == TypeKind::kString ? b : a);
  return "";
}

std::string overload_hint(std::string_view function, const std::vector<Operand>& operands) {
  if (has(operands, TypeKind::kNull)) return "only ==, != and has() accept null";
  const bool time = has(operands, TypeKind::kTimestamp);
  const bool duration = has(operands, TypeKind::kDuration);
  const bool text = has(operands, TypeKind::kString);
  const bool number = has(operands, TypeKind::kInt) || has(operands, TypeKind::kDouble);
  if (function == "int" && duration) return converted("millis", operands[0]);
  if (operands.size() != 2) return "";
  const bool order = is_order(function);
  if (order && time && number)
    return converted("millis", of(operands, TypeKind::kTimestamp)) + " is a timestamp as int";
  if (order && duration && number)
    return converted("millis", of(operands, TypeKind::kDuration)) + " is a duration as int";
  if (order && time && text) return converted("timestamp", of(operands, TypeKind::kString));
  if (order && duration && text) return converted("duration", of(operands, TypeKind::kString));
  if ((function == "_+_" || function == "_-_") && (time || duration) && number)
    return "add a duration: duration(\"5m\")";
  if (order && text && number) {
    const Operand& from = of(operands, TypeKind::kString);
    const Operand& other = operands[0].type.kind() == TypeKind::kString ? operands[1] : operands[0];
    const char* type = other.type.kind() == TypeKind::kInt ? "int" : "double";
    return "convert one side: " + converted(type, from) + " or " + converted("string", other);
  }
  if (function == "_%_" && has(operands, TypeKind::kDouble))
    return "% is for int only: " + converted("int", of(operands, TypeKind::kDouble));
  if (function == "_&&_" || function == "_||_") return "";
  const bool arithmetic = function == "_-_" || function == "_*_" || function == "_/_";
  if (arithmetic && text && number)
    return converted(has(operands, TypeKind::kInt) ? "int" : "double", of(operands, TypeKind::kString));
  if (order || function == "_+_" || function == "_-_" || function == "_*_" || function == "_/_")
    return mix_hint(operands[0], operands[1]);
  return "";
}

}  // namespace millrace::expr
