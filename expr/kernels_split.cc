// Strings and lists of strings, strings put together anew, and ranges.
#include <algorithm>
#include <cstring>

#include "expr/overloads.h"
#include "expr/splitter.h"

namespace millrace::expr {
namespace {

using std::string_view;

string_view text_at(const Vector& vector, uint32_t row) { return vector.strings[vector.at(row)]; }
int64_t int_at(const Vector& vector, uint32_t row) { return vector.ints[vector.at(row)]; }

// Lists whose items stand one after the other in `items`, which is copied where the result lives.
template <class T>
void set_lists(Frame& frame, const Node& node, const Span* spans, const std::vector<T>& items, const T* Column::*values,
               Vector& out) {
  auto child = std::make_shared<Column>();
  child->type = node.type.element();
  child->rows = static_cast<uint32_t>(items.size());
  T* array = frame.result->array<T>(items.size());
  std::copy(items.begin(), items.end(), array);
  (*child).*values = array;
  child->owners.push_back(frame.result);
  auto column = std::make_shared<Column>();
  column->type = node.type;
  column->rows = frame.rows;
  column->spans = spans;
  column->children.push_back(std::move(child));
  column->owners.push_back(frame.result);
  out.column = std::move(column);
}

// The list of a row ends with the last item.
template <class T>
void close_list(Frame& frame, const Node& node, uint32_t row, size_t begin, Span* spans, std::vector<T>& items,
                Vector& out) {
  if (frame.charge_items(node, out, row, items.size() - begin)) {
    spans[row] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(items.size() - begin)};
  } else {
    items.resize(begin);
  }
}

// split(separator) and split(separator, limit): the last of `limit` parts is the rest.
template <bool kLimited>
void split(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  Span* spans = frame.result->zeroed<Span>(frame.rows);
  std::vector<string_view> items;
  items.reserve(size_t{4} * live.count);
  live.each([&](uint32_t row) {
    const int64_t limit = kLimited ? int_at(args[kLimited ? 2 : 1], row) : -1;
    const size_t begin = items.size();
    Splitter parts(text_at(args[0], row), text_at(args[1], row));
    // One more than may be, so that too long a list is noticed without being made.
    for (int64_t n = 1; (limit < 0 || n <= limit) && n <= int64_t{kMaxListItems} + 1; n++) {
      const auto part = n == limit ? parts.remainder() : parts.next();
      if (!part) break;
      items.push_back(*part);
    }
    close_list(frame, node, row, begin, spans, items, out);
  });
  set_lists(frame, node, spans, items, &Column::strings, out);
}

// range(end) and range(begin, end): the ints from 0 or begin up to, but without, end.
template <bool kBegin>
void range(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  Span* spans = frame.result->zeroed<Span>(frame.rows);
  std::vector<int64_t> items;
  live.each([&](uint32_t row) {
    const int64_t first = kBegin ? int_at(args[0], row) : 0;
    const int64_t end = int_at(args[kBegin ? 1 : 0], row);
    const size_t begin = items.size();
    for (int64_t i = first; i < end && items.size() - begin <= kMaxListItems; i++) items.push_back(i);
    close_list(frame, node, row, begin, spans, items, out);
  });
  set_lists(frame, node, spans, items, &Column::ints, out);
}

// join() and join(separator).
template <bool kSeparated>
void join(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  const Column& items = *args[0].column->children[0];
  live.each([&](uint32_t row) {
    const Span span = args[0].column->spans[args[0].cell(row)];
    const string_view separator = kSeparated ? text_at(args[kSeparated ? 1 : 0], row) : string_view();
    o[row] = string_view("");
    if (span.count == 0) return;
    uint64_t size = uint64_t{separator.size()} * (span.count - 1);
    for (uint32_t i = span.begin; i < span.begin + span.count; i++) {
      if (!items.strings || items.is_null(i)) return frame.fail(out, row, "null item in join");
      size += items.strings[i].size();
    }
    if (!frame.charge_text(node, out, row, size)) return;
    char* const text = frame.result->array<char>(size + 1);
    char* at = text;
    for (uint32_t i = span.begin; i < span.begin + span.count; i++) {
      if (i > span.begin) at = std::copy(separator.begin(), separator.end(), at);
      at = std::copy(items.strings[i].begin(), items.strings[i].end(), at);
    }
    o[row] = {text, size};
  });
}

// The places of `old` in a text, from the left, without overlaps; an empty one stands before each code point and at the
// end.
class Places {
 public:
  Places(string_view text, string_view old) : text_(text), old_(old) {}

  // Byte of the next place; npos: none.
  size_t next() {
    if (at_ > text_.size()) return text_.npos;
    const size_t found = text_.find(old_, at_);
    if (found == text_.npos) return found;
    at_ = found + (old_.empty() ? std::max<size_t>(character_bytes(text_.substr(found)), 1) : old_.size());
    return found;
  }

 private:
  string_view text_;
  string_view old_;
  size_t at_ = 0;
};

// replace(old, new) and replace(old, new, limit): at most `limit` places, from the left.
template <bool kLimited>
void replace(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  string_view* o = frame.output<string_view>(out);
  live.each([&](uint32_t row) {
    const string_view text = text_at(args[0], row);
    const string_view old = text_at(args[1], row);
    const string_view by = text_at(args[2], row);
    const int64_t given = kLimited ? int_at(args[kLimited ? 3 : 2], row) : -1;
    const uint64_t limit = given < 0 ? UINT64_MAX : static_cast<uint64_t>(given);
    uint64_t count = 0;
    Places counted(text, old);
    while (count < limit && counted.next() != text.npos) count++;
    o[row] = text;
    if (count == 0) return;
    const uint64_t size = text.size() - count * old.size() + count * by.size();
    if (!frame.charge_text(node, out, row, size)) return;
    char* const made = frame.result->array<char>(size + 1);
    char* at = made;
    size_t copied = 0;
    Places places(text, old);
    for (uint64_t i = 0; i < count; i++) {
      const size_t place = places.next();
      at = std::copy(text.begin() + copied, text.begin() + place, at);
      at = std::copy(by.begin(), by.end(), at);
      copied = place + old.size();
    }
    std::copy(text.begin() + copied, text.end(), at);
    o[row] = {made, size};
  });
}

}  // namespace

void add_split_functions(std::vector<Overload>& table) {
  constexpr TypeKind s = TypeKind::kString;
  constexpr TypeKind i = TypeKind::kInt;
  const OverloadType texts = OverloadType::list_of(s);
  table.push_back({"split", {s, s}, texts, split<false>, true});
  table.push_back({"split", {s, s, i}, texts, split<true>, true});
  table.push_back({"join", {texts}, s, join<false>, true});
  table.push_back({"join", {texts, s}, s, join<true>, true});
  table.push_back({"replace", {s, s, s}, s, replace<false>, true});
  table.push_back({"replace", {s, s, s, i}, s, replace<true>, true});
  table.push_back({"range", {i}, OverloadType::list_of(i), range<false>});
  table.push_back({"range", {i, i}, OverloadType::list_of(i), range<true>});
}

}  // namespace millrace::expr
