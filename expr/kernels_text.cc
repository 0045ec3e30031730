// Strings and bytes.
#include <algorithm>
#include <cstring>

#include "expr/map_rows.h"
#include "expr/overloads.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

using std::string_view;

void size_of_string(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) { o[row] = count_code_points(args[0].strings[args[0].at(row)]); });
}

void size_of_bytes(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) { o[row] = static_cast<int64_t>(args[0].strings[args[0].at(row)].size()); });
}

void contains(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<string_view, string_view>(
      live, frame.output<uint8_t>(out), args[0], args[1], [](string_view a, string_view b) {
        return uint8_t{b.empty() || memmem(a.data(), a.size(), b.data(), b.size()) != nullptr};
      });
}

void starts_with(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<string_view, string_view>(live, frame.output<uint8_t>(out), args[0], args[1],
                                    [](string_view a, string_view b) { return uint8_t{a.starts_with(b)}; });
}

void ends_with(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<string_view, string_view>(live, frame.output<uint8_t>(out), args[0], args[1],
                                    [](string_view a, string_view b) { return uint8_t{a.ends_with(b)}; });
}

// Only ASCII letters change, so UTF-8 stays valid. Texts that need no change are not copied.
template <char kFirst, char kLast>
void change_case(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    const string_view text = args[0].strings[args[0].at(row)];
    const auto changes = [](char c) { return c >= kFirst && c <= kLast; };
    o[row] = text;
    if (std::none_of(text.begin(), text.end(), changes)) return;
    char* copy = frame.result->array<char>(text.size() + 1);  // + 1: never a null pointer
    for (size_t i = 0; i < text.size(); i++) copy[i] = changes(text[i]) ? static_cast<char>(text[i] ^ 0x20) : text[i];
    o[row] = {copy, text.size()};
  });
}

void concat(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    const string_view a = args[0].strings[args[0].at(row)];
    const string_view b = args[1].strings[args[1].at(row)];
    o[row] = a;
    if (!frame.charge_text(node, out, row, a.size() + b.size())) return;
    char* joined = frame.result->array<char>(a.size() + b.size() + 1);
    std::copy(a.begin(), a.end(), joined);
    std::copy(b.begin(), b.end(), joined + a.size());
    o[row] = {joined, a.size() + b.size()};
  });
}

}  // namespace

void add_text_functions(std::vector<Overload>& table) {
  constexpr TypeKind s = TypeKind::kString;
  constexpr TypeKind b = TypeKind::kBytes;
  for (const bool member : {false, true}) {
    table.push_back({"size", {s}, TypeKind::kInt, size_of_string, member});
    table.push_back({"size", {b}, TypeKind::kInt, size_of_bytes, member, true});
  }
  table.push_back({"contains", {s, s}, TypeKind::kBool, contains, true});
  table.push_back({"startsWith", {s, s}, TypeKind::kBool, starts_with, true, true});
  table.push_back({"endsWith", {s, s}, TypeKind::kBool, ends_with, true, true});
  table.push_back({"lowerAscii", {s}, s, change_case<'A', 'Z'>, true});
  table.push_back({"upperAscii", {s}, s, change_case<'a', 'z'>, true});
  table.push_back({"_+_", {s, s}, s, concat});
  table.push_back({"_+_", {b, b}, b, concat});
}

}  // namespace millrace::expr
