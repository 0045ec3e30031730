// Which types go together. Pure functions; any thread. Internal to expr/.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/type.h"

namespace millrace::expr {

// The type that both have, null and the empty list taken as any; nullopt: none.
std::optional<Type> unify(const Type& a, const Type& b);
// May values of both be compared by == ?
bool comparable(const Type& a, const Type& b);
// A function or operator as users write it: "+" for "_+_", "in" for "@in".
std::string shown_name(std::string_view function);
// A part of an expression: its type, and its text for hints.
struct Operand {
  Type type;
  std::string text;
};
// What to write instead of mixing two types, or "".
std::string mix_hint(const Operand& a, const Operand& b);
// The same for a function or operator that does not take these types.
std::string overload_hint(std::string_view function, const std::vector<Operand>& operands);

}  // namespace millrace::expr
