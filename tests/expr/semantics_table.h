// The table of semantics: an expression, what its names stand for, and its value.
#pragma once

#include <vector>

namespace millrace::expr_tests {

struct Semantics {
  const char* expression;
  // "i = 5; s = 'ab'": columns of the test schema (semantics_test.cc); a column that is not named is null.
  const char* bindings;
  // The value as text; "error: part of the message"; "lint: part of the message" for what does not compile.
  const char* expected;
};

std::vector<Semantics> arithmetic_semantics();
std::vector<Semantics> logic_semantics();
std::vector<Semantics> number_semantics();
std::vector<Semantics> text_semantics();
std::vector<Semantics> time_semantics();
std::vector<Semantics> nested_semantics();
std::vector<Semantics> macro_semantics();
std::vector<Semantics> substring_semantics();

}  // namespace millrace::expr_tests
