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
// What to write instead of mixing two types, or "".
std::string mix_hint(const Type& a, const Type& b);
// The same for a function or operator that does not take these types.
std::string overload_hint(std::string_view function, const std::vector<Type>& types);

}  // namespace millrace::expr
