#include "expr/overloads.h"

#include <algorithm>

namespace millrace::expr {

const std::vector<Overload>& all_overloads() {
  static const std::vector<Overload> kTable = [] {
    std::vector<Overload> table;
    add_arithmetic(table);
    add_comparisons(table);
    add_text_functions(table);
    add_substring_functions(table);
    add_split_functions(table);
    add_pattern_functions(table);
    add_conversions(table);
    add_number_functions(table);
    add_time_functions(table);
    return table;
  }();
  return kTable;
}

}  // namespace millrace::expr

namespace millrace {

std::vector<std::string> known_functions() {
  std::vector<std::string> names = {"all", "exists", "exists_one", "filter", "has", "map"};
  for (const expr::Overload& overload : expr::all_overloads())
    if (overload.name.front() != '_' && overload.name.back() != '_') names.emplace_back(overload.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace millrace
