// Mutants: deliberate bugs, compiled in only with the CMake option MILLRACE_MUTANTS, by which the test campaigns show
// that they would notice them. MILLRACE_MUTANT=name in the environment chooses one. In every other build mutant() is
// the constant false and leaves no trace in the binary. Any thread.
//
//   commit-twice           a transaction whose outcome is unknown is committed once more
//   swallow-fenced         a fenced producer is made anew and the epoch repeated, instead of stopping
//   apply-before-decision  a delta enters the local store before its epoch is decided
#pragma once

#ifdef MILLRACE_MUTANTS
#include <cstdlib>
#include <string_view>
#endif

namespace millrace {

#ifdef MILLRACE_MUTANTS
inline bool mutant(std::string_view name) {
  static const char* const chosen = std::getenv("MILLRACE_MUTANT");
  return chosen != nullptr && name == chosen;
}
#else
constexpr bool mutant(const char*) { return false; }
#endif

}  // namespace millrace
