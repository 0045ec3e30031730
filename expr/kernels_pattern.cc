// Regular expressions.
#include "expr/argument_cache.h"
#include "expr/overloads.h"

namespace millrace::expr {
namespace {

using std::string_view;

void matches(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  TextArgument<Pattern> patterns(frame, node.pattern, frame.arguments.patterns, args[1]);
  live.each([&](uint32_t row) {
    const Pattern* pattern = patterns.of(row, out);
    o[row] = pattern && pattern->matches(args[0].strings[args[0].at(row)]);
  });
}

// Views into the text: nothing is copied.
void extract(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  uint8_t* nulls = nullptr;
  TextArgument<Pattern> patterns(frame, node.pattern, frame.arguments.patterns, args[1]);
  live.each([&](uint32_t row) {
    o[row] = {};
    const Pattern* pattern = patterns.of(row, out);
    if (!pattern) return;
    if (const auto found = pattern->extract(args[0].strings[args[0].at(row)])) {
      o[row] = *found;
      return;
    }
    if (!nulls) nulls = frame.scratch.zeroed<uint8_t>(frame.rows);
    nulls[row] = 1;
  });
  out.nulls = nulls;
}

constexpr OverloadType kPatternText(TypeKind::kString, OverloadType::Text::kPattern);

}  // namespace

void add_pattern_functions(std::vector<Overload>& table) {
  constexpr TypeKind s = TypeKind::kString;
  for (const bool member : {false, true})
    table.push_back({"matches", {s, kPatternText}, TypeKind::kBool, matches, member});
  table.push_back({"extract", {s, kPatternText}, s, extract});
}

}  // namespace millrace::expr
