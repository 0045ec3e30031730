// What other languages call our functions.
#include <algorithm>
#include <array>

#include "base/diagnostics.h"
#include "expr/expression.h"

namespace millrace {
namespace {

struct Foreign {
  std::string_view names;  // lower case without '_', between blanks
  std::string_view hint;
};

constexpr std::array<Foreign, 14> kForeign = {{
    {" upper ucase uppercase toupper touppercase ", "write x.upperAscii()"},
    {" lower lcase lowercase tolower tolowercase ", "write x.lowerAscii()"},
    {" len length charlength strlen arraylength cardinality ", "write size(x)"},
    {" substr mid left right ", "write x.substring(begin, end)"},
    {" concat concatws ", "write a + b"},
    {" coalesce ifnull nvl ", "write has(x) ? x : y"},
    {" if iff iif case ", "write condition ? a : b"},
    {" isnull ", "write x == null"},
    {" isnotnull notnull ", "write x != null"},
    {" like regexp regexpmatch regexplike rlike match ", "write x.matches(r\"pattern\")"},
    {" tostring str text tochar varchar ", "write string(x)"},
    {" toint toint64 integer long bigint parseint tonumber ", "write int(x)"},
    {" todouble tofloat float number parsefloat ", "write double(x)"},
    {" datetrunc timetrunc truncdate ", "write truncate(x, duration(\"1h\"))"},
}};
constexpr std::string_view kAggregates =
    " sum avg average mean count countif first last min max collect countdistinct approxdistinct quantile median fold ";

std::string plain(std::string_view name) {
  std::string text;
  for (const char c : name)
    if (c != '_') text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

}  // namespace

std::string function_hint(const std::string& name, const std::vector<std::string>& candidates) {
  if (name == "random") return "random(lo, hi) is for the fields of a generator";
  const std::string word = " " + plain(name) + " ";
  for (const auto& [names, hint] : kForeign)
    if (names.find(word) != std::string_view::npos) return std::string(hint);
  const bool aggregates = std::find(candidates.begin(), candidates.end(), "avg") != candidates.end();
  if (!aggregates && kAggregates.find(word) != std::string_view::npos)
    return "aggregates stand in the fields of an aggregate";
  if (aggregates && (word == " average " || word == " mean ")) return "write avg(x)";
  if (aggregates && word == " median ") return "write quantile(x, 0.5)";
  return did_you_mean(name, candidates);
}

}  // namespace millrace
