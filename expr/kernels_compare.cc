// Equality and order. Equality accepts null: equal to null only.
#include <cmath>
#include <cstring>

#include "expr/map_rows.h"
#include "expr/overloads.h"

namespace millrace::expr {
namespace {

// -1, 0, 1, or 2 when d is NaN; exact, as if both stood on one number line.
int compare_int_double(int64_t i, double d) {
  if (std::isnan(d)) return 2;
  if (d >= 0x1p63) return -1;
  if (d < -0x1p63) return 1;
  const auto whole = static_cast<int64_t>(d);
  if (i != whole) return i < whole ? -1 : 1;
  const double fraction = d - static_cast<double>(whole);
  return fraction > 0 ? -1 : fraction < 0 ? 1 : 0;
}

template <class T>
bool less(T a, T b) {
  return a < b;
}
bool less(int64_t a, double b) { return compare_int_double(a, b) == -1; }
bool less(double a, int64_t b) { return compare_int_double(b, a) == 1; }
template <class T>
bool less_equal(T a, T b) {
  return a <= b;
}
bool less_equal(int64_t a, double b) { return compare_int_double(a, b) <= 0; }
bool less_equal(double a, int64_t b) {
  const int c = compare_int_double(b, a);
  return c == 0 || c == 1;
}
template <class T>
bool equal(T a, T b) {
  return a == b;
}
bool equal(int64_t a, double b) { return compare_int_double(a, b) == 0; }
bool equal(double a, int64_t b) { return compare_int_double(b, a) == 0; }

template <class A, class B>
void less_kernel(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<A, B>(live, frame.output<uint8_t>(out), args[0], args[1], [](A a, B b) { return uint8_t{less(a, b)}; });
}
template <class A, class B>
void less_equal_kernel(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<A, B>(live, frame.output<uint8_t>(out), args[0], args[1], [](A a, B b) { return uint8_t{less_equal(a, b)}; });
}
template <class A, class B>
void greater_kernel(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<A, B>(live, frame.output<uint8_t>(out), args[0], args[1], [](A a, B b) { return uint8_t{less(b, a)}; });
}
template <class A, class B>
void greater_equal_kernel(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  map_two<A, B>(live, frame.output<uint8_t>(out), args[0], args[1], [](A a, B b) { return uint8_t{less_equal(b, a)}; });
}

template <class T>
T load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// text == constant for each row, by length and then by two overlapping words instead of a call of memcmp.
template <class Word, bool kNegate>
void equal_words(const Live& live, uint8_t* o, const std::string_view* texts, std::string_view constant) {
  const size_t size = constant.size();
  const Word head = load<Word>(constant.data());
  const Word tail = load<Word>(constant.data() + size - sizeof(Word));
  map_one(live, o, texts, [=](const std::string_view& text) {
    const bool same =
        text.size() == size && load<Word>(text.data()) == head && load<Word>(text.data() + size - sizeof(Word)) == tail;
    return uint8_t{same != kNegate};
  });
}

template <bool kNegate>
void equal_constant(const Live& live, uint8_t* o, const std::string_view* texts, std::string_view constant) {
  const size_t size = constant.size();
  if (size == 0)
    return map_one(live, o, texts, [](const std::string_view& t) { return uint8_t{t.empty() != kNegate}; });
  if (size == 1) return equal_words<uint8_t, kNegate>(live, o, texts, constant);
  if (size < 4) return equal_words<uint16_t, kNegate>(live, o, texts, constant);
  if (size < 8) return equal_words<uint32_t, kNegate>(live, o, texts, constant);
  if (size <= 16) return equal_words<uint64_t, kNegate>(live, o, texts, constant);
  map_one(live, o, texts, [=](const std::string_view& t) { return uint8_t{(t == constant) != kNegate}; });
}

template <class A, class B, bool kNegate>
void equal_or_null(uint8_t* o, const Vector& left, const Vector& right, const Live& live) {
  const A* a = values<A>(left);
  const B* b = values<B>(right);
  live.each([&](uint32_t row) {
    const bool left_null = left.is_null(row);
    const bool right_null = right.is_null(row);
    const bool same = left_null || right_null ? left_null && right_null : equal(a[left.at(row)], b[right.at(row)]);
    o[row] = uint8_t{same != kNegate};
  });
}

template <class A, class B, bool kNegate>
void compare(uint8_t* o, const Vector& left, const Vector& right, const Live& live) {
  if constexpr (std::is_same_v<A, std::string_view>) {
    if (right.constant && !left.constant) return equal_constant<kNegate>(live, o, left.strings, right.strings[0]);
    if (left.constant && !right.constant) return equal_constant<kNegate>(live, o, right.strings, left.strings[0]);
  }
  map_two<A, B>(live, o, left, right, [](A a, B b) { return uint8_t{equal(a, b) != kNegate}; });
}

template <class A, class B, bool kNegate>
void equal_kernel(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const Vector& left = args[0];
  const Vector& right = args[1];
  if (right.nulls || (left.nulls && (!right.constant || !values<A>(left))))
    return equal_or_null<A, B, kNegate>(o, left, right, live);
  compare<A, B, kNegate>(o, left, right, live);
  // Null rows have a value, if a meaningless one: comparing it with a constant and setting them right is quicker.
  if (left.nulls) live.each([&](uint32_t row) { o[row] = left.is_null(row) ? uint8_t{kNegate} : o[row]; });
}

void not_kernel(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  live.each([&](uint32_t row) { o[row] = args[0].bools[args[0].at(row)] ^ 1; });
}

template <class A, class B>
void add_pair(std::vector<Overload>& table, TypeKind a, TypeKind b) {
  const auto add = [&](std::string_view name, Kernel kernel, bool lenient) {
    table.push_back({name, {a, b}, TypeKind::kBool, kernel, false, true, lenient});
  };
  add("_<_", less_kernel<A, B>, false);
  add("_<=_", less_equal_kernel<A, B>, false);
  add("_>_", greater_kernel<A, B>, false);
  add("_>=_", greater_equal_kernel<A, B>, false);
  add("_==_", equal_kernel<A, B, false>, true);
  add("_!=_", equal_kernel<A, B, true>, true);
}

}  // namespace

void add_comparisons(std::vector<Overload>& table) {
  add_pair<uint8_t, uint8_t>(table, TypeKind::kBool, TypeKind::kBool);
  add_pair<int64_t, int64_t>(table, TypeKind::kInt, TypeKind::kInt);
  add_pair<double, double>(table, TypeKind::kDouble, TypeKind::kDouble);
  add_pair<int64_t, double>(table, TypeKind::kInt, TypeKind::kDouble);
  add_pair<double, int64_t>(table, TypeKind::kDouble, TypeKind::kInt);
  add_pair<std::string_view, std::string_view>(table, TypeKind::kString, TypeKind::kString);
  add_pair<std::string_view, std::string_view>(table, TypeKind::kBytes, TypeKind::kBytes);
  add_pair<int64_t, int64_t>(table, TypeKind::kTimestamp, TypeKind::kTimestamp);
  add_pair<int64_t, int64_t>(table, TypeKind::kDuration, TypeKind::kDuration);
  table.push_back({"!_", {TypeKind::kBool}, TypeKind::kBool, not_kernel, false, true, false});
}

bool equal_cells(Cell a, Cell b) {
  const bool a_null = !a.column || a.column->type.kind() == TypeKind::kNull || a.column->is_null(a.row);
  const bool b_null = !b.column || b.column->type.kind() == TypeKind::kNull || b.column->is_null(b.row);
  if (a_null || b_null) return a_null && b_null;
  const TypeKind kind = a.column->type.kind();
  const TypeKind other = b.column->type.kind();
  if (kind != other) {
    if (kind == TypeKind::kInt && other == TypeKind::kDouble)
      return equal(a.column->ints[a.row], b.column->doubles[b.row]);
    if (kind == TypeKind::kDouble && other == TypeKind::kInt)
      return equal(b.column->ints[b.row], a.column->doubles[a.row]);
    return false;
  }
  switch (kind) {
    case TypeKind::kNull: return true;
    case TypeKind::kBool: return a.column->bools[a.row] == b.column->bools[b.row];
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return a.column->ints[a.row] == b.column->ints[b.row];
    case TypeKind::kDouble: return a.column->doubles[a.row] == b.column->doubles[b.row];
    case TypeKind::kString:
    case TypeKind::kBytes: return a.column->strings[a.row] == b.column->strings[b.row];
    case TypeKind::kList:
    case TypeKind::kMap: {
      const Span left = a.column->spans[a.row];
      const Span right = b.column->spans[b.row];
      if (left.count != right.count) return false;
      for (size_t child = 0; child < a.column->children.size(); child++)
        for (uint32_t i = 0; i < left.count; i++)
          if (!equal_cells({a.column->children[child].get(), left.begin + i},
                           {b.column->children[child].get(), right.begin + i}))
            return false;
      return true;
    }
    case TypeKind::kStruct:
      for (size_t i = 0; i < a.column->children.size(); i++)
        if (!equal_cells({a.column->children[i].get(), a.row}, {b.column->children[i].get(), b.row})) return false;
      return true;
  }
  return false;
}

void equal_to_constant(const Live& live, uint8_t* out, const std::string_view* texts, std::string_view constant) {
  equal_constant<false>(live, out, texts, constant);
}

namespace kernels {

void equal_any(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const bool negate = node.number != 0;
  live.each([&](uint32_t row) {
    const bool left_null = args[0].is_null(row);
    const bool right_null = args[1].is_null(row);
    bool same = left_null && right_null;
    if (!left_null && !right_null)
      same = equal_cells({args[0].column.get(), args[0].cell(row)}, {args[1].column.get(), args[1].cell(row)});
    o[row] = uint8_t{same != negate};
  });
}

void is_null(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const bool negate = node.number != 0;
  live.each([&](uint32_t row) { o[row] = uint8_t{args[0].is_null(row) != negate}; });
}

}  // namespace kernels
}  // namespace millrace::expr
