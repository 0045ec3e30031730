// Unquoted expressions that YAML has split, as in `fields: {paid: sum(amount, status == "paid")}` or
// `key_by: [f(a, b)]`, or cut off at ` #`. Internal to the ConfigNode sources. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/config_source.h"

namespace millrace {

struct SplitExpression {
  size_t end;         // in the file, of its last piece
  bool comment;       // cut off by what YAML reads as a comment; else split inside a flow collection
  std::string whole;  // on one line
};

// Whether the plain scalar at [begin, end) of the source, whose text is given, is the first piece of such an
// expression: its brackets or quotes are not closed, but are further on, where it would end if YAML knew of them.
// Without that the mistake is the user's own.
std::optional<SplitExpression> find_split(const ConfigSource& source, size_t begin, size_t end, std::string_view text,
                                          bool in_flow);
std::string single_quoted(std::string_view text);

}  // namespace millrace
