// Parts of strings and places in them. Positions count code points, as size() does. What comes out is a view into the
// text that went in: nothing is copied.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "expr/overloads.h"
#include "expr/splitter.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

using std::string_view;

string_view text_at(const Vector& vector, uint32_t row) { return vector.strings[vector.at(row)]; }
int64_t int_at(const Vector& vector, uint32_t row) { return vector.ints[vector.at(row)]; }

void fail_index(Frame& frame, Vector& out, uint32_t row, int64_t index, string_view text) {
  frame.fail(out, row, frame.keep(fmt::format("index {} out of range, size is {}", index, count_code_points(text))));
}

// Byte of a code point; nullopt: there are fewer, and the end is not meant.
std::optional<size_t> byte_of(string_view text, int64_t index) {
  if (index < 0) return std::nullopt;
  return find_code_point(text, static_cast<uint64_t>(index));
}

// substring(start) and substring(start, end).
template <bool kEnd>
void substring(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    const int64_t start = int_at(args[1], row);
    o[row] = text;
    const auto begin = byte_of(text, start);
    if (!begin) return fail_index(frame, out, row, start, text);
    o[row].remove_prefix(*begin);
    if (!kEnd) return;
    const int64_t end = int_at(args[kEnd ? 2 : 1], row);
    const auto bytes = byte_of(o[row], end < 0 ? -1 : end - start);
    if (!bytes) return fail_index(frame, out, row, end, text);
    o[row] = o[row].substr(0, *bytes);
  });
}

void char_at(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    const int64_t index = int_at(args[1], row);
    o[row] = text;
    const auto begin = byte_of(text, index);
    if (!begin) return fail_index(frame, out, row, index, text);
    o[row] = text.substr(*begin, character_bytes(text.substr(*begin)));
  });
}

// indexOf(part) and indexOf(part, from).
template <bool kFrom>
void index_of(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    const int64_t from = kFrom ? int_at(args[kFrom ? 2 : 1], row) : 0;
    o[row] = -1;
    const auto begin = byte_of(text, from);
    if (!begin) return fail_index(frame, out, row, from, text);
    const size_t found = text.find(text_at(args[1], row), *begin);
    if (found != text.npos) o[row] = from + count_code_points(text.substr(*begin, found - *begin));
  });
}

// lastIndexOf(part) and lastIndexOf(part, from): the last place that is not behind `from`.
template <bool kFrom>
void last_index_of(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    size_t from = text.npos;
    o[row] = -1;
    if (kFrom) {
      const int64_t index = int_at(args[kFrom ? 2 : 1], row);
      const auto begin = byte_of(text, index);
      if (!begin) return fail_index(frame, out, row, index, text);
      from = *begin;
    }
    const size_t found = text.rfind(text_at(args[1], row), from);
    if (found != text.npos) o[row] = count_code_points(text.substr(0, found));
  });
}

void trim(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) { o[row] = without_outer_space(text_at(args[0], row)); });
}

// How often a text stands in another, without overlaps.
void count_of(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    const string_view part = text_at(args[1], row);
    o[row] = 0;
    if (part.empty()) return frame.fail(out, row, "count_of needs a text to count");
    if (part.size() == 1) {
      o[row] = std::count(text.begin(), text.end(), part[0]);
      return;
    }
    for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) o[row]++;
  });
}

// Part number i of a split, or null if there are fewer.
void split_part(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  uint8_t* nulls = nullptr;
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    const int64_t index = int_at(args[2], row);
    o[row] = text;
    if (index < 0) return frame.fail(out, row, frame.keep(fmt::format("no part has the number {}", index)));
    Splitter parts(text, text_at(args[1], row));
    std::optional<string_view> part = parts.next();
    for (int64_t i = 0; part && i < index; i++) part = parts.next();
    if (part) {
      o[row] = *part;
      return;
    }
    if (!nulls) nulls = frame.scratch.zeroed<uint8_t>(frame.rows);
    nulls[row] = 1;
  });
  out.nulls = nulls;
}

}  // namespace

void add_substring_functions(std::vector<Overload>& table) {
  constexpr TypeKind s = TypeKind::kString;
  constexpr TypeKind i = TypeKind::kInt;
  table.push_back({"substring", {s, i}, s, substring<false>, true});
  table.push_back({"substring", {s, i, i}, s, substring<true>, true});
  table.push_back({"charAt", {s, i}, s, char_at, true});
  table.push_back({"indexOf", {s, s}, i, index_of<false>, true});
  table.push_back({"indexOf", {s, s, i}, i, index_of<true>, true});
  table.push_back({"lastIndexOf", {s, s}, i, last_index_of<false>, true});
  table.push_back({"lastIndexOf", {s, s, i}, i, last_index_of<true>, true});
  table.push_back({"trim", {s}, s, trim, true});
  table.push_back({"count_of", {s, s}, i, count_of});
  table.push_back({"split_part", {s, s, i}, s, split_part});
}

}  // namespace millrace::expr
