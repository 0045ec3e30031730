// Scalars of a configuration file: which byte of the file each byte of a scalar came from, and ${VAR} substitution.
// Internal to the ConfigNode sources. Pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/config_node.h"
#include "base/config_source.h"

namespace millrace {

enum class ScalarStyle : unsigned char { kPlain, kSingleQuoted, kDoubleQuoted, kLiteral, kFolded };

ScalarStyle scalar_style(char first);

// The offset in the file of byte `target` of the scalar (as YAML reads it) that starts at `begin`, its quote or block
// indicator included. A target behind the end gives a place at or behind the end.
size_t scalar_offset(const ConfigSource& source, ScalarStyle style, size_t begin, size_t target);

// A stretch of a substituted text: bytes from text_begin on came from original_begin on, or, if substituted, all of
// them from the `${` at original_begin.
struct TextPiece {
  size_t text_begin;
  size_t original_begin;
  bool substituted;
};
// The offset in the original of a byte of the substituted text.
size_t original_offset(const std::vector<TextPiece>& pieces, size_t text_offset);

struct Substitution {
  std::string text;
  std::vector<TextPiece> pieces;  // empty: nothing was substituted, text is the original
  struct Problem {
    size_t offset;  // of the `${` in the original
    std::string message;
    std::string hint;
  };
  std::vector<Problem> problems;
  bool too_long = false;  // more than max_bytes; text is cut
};
Substitution substitute(const std::string& original, const VariableLookup& variables, size_t max_bytes);

}  // namespace millrace
