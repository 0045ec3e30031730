// The value of one node whose arguments are computed: nulls and errors screened, then the kernel, && and ||, or ?:.
#include <algorithm>

#include "expr/map_rows.h"
#include "expr/program.h"

namespace millrace::expr {

void Frame::fail(Vector& out, uint32_t row, const char* message) {
  if (!out.errors) out.errors = scratch.zeroed<const char*>(rows);
  if (!out.errors[row]) out.errors[row] = message;
}

const char* Frame::keep(std::string_view message) {
  char* copy = scratch.array<char>(message.size() + 1);
  std::copy(message.begin(), message.end(), copy);
  copy[message.size()] = '\0';
  return copy;
}

bool Frame::charge(const Node& node, Vector& out, uint32_t row, uint64_t amount, uint64_t limit, const char* message) {
  const uint64_t before = records ? spending->of(node.id, records[row]) : 0;
  if (amount > limit - before) {
    fail(out, row, message);
    return false;
  }
  if (records) spending->of(node.id, records[row]) += amount;
  return true;
}

bool Frame::charge_items(const Node& node, Vector& out, uint32_t row, uint64_t items) {
  static_assert(kMaxListItems == 10'000);
  return charge(node, out, row, items, kMaxListItems, "a list of more than 10000 items");
}

bool Frame::charge_text(const Node& node, Vector& out, uint32_t row, uint64_t bytes) {
  static_assert(kMaxTextBytes == 16 << 20);
  return charge(node, out, row, bytes, kMaxTextBytes, "a text of more than 16 MiB");
}

Live screen(Frame& frame, const Node& node, const Vector* args, size_t count, const Live& live, Vector& out) {
  const bool strict = node.form != Node::Form::kLenient;
  bool suspect = false;
  for (size_t i = 0; i < count; i++) suspect = suspect || args[i].errors || (strict && args[i].nulls);
  if (!suspect) return live;
  uint32_t* good = frame.scratch.array<uint32_t>(live.count);
  uint32_t kept = 0;
  live.each([&](uint32_t row) {
    const char* message = nullptr;
    for (size_t i = 0; i < count && !message; i++) message = args[i].error(row);
    for (size_t i = 0; strict && i < count && !message; i++)
      if (args[i].is_null(row)) message = node.null_message.c_str();
    if (message) {
      frame.fail(out, row, message);
    } else {
      good[kept++] = row;
    }
  });
  return kept == live.count ? live : Live{good, kept};
}

namespace {

// a && b, a || b of operands computed for all live rows: the absorbing value wins over an error on either side.
void combine(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const bool is_and = node.form == Node::Form::kAnd;
  const Vector& left = args[0];
  const Vector& right = args[1];
  if (!left.errors && !right.errors && !left.nulls && !right.nulls) {
    if (is_and) {
      map_two<uint8_t, uint8_t>(live, o, left, right, [](uint8_t a, uint8_t b) { return static_cast<uint8_t>(a & b); });
    } else {
      map_two<uint8_t, uint8_t>(live, o, left, right, [](uint8_t a, uint8_t b) { return static_cast<uint8_t>(a | b); });
    }
    return;
  }
  const Logic absorbing = is_and ? kNo : kYes;
  live.each([&](uint32_t row) {
    const Logic a = logic_of(left, row);
    const Logic b = logic_of(right, row);
    o[row] = absorbing == kYes;
    if (a == absorbing || b == absorbing) return;
    o[row] ^= 1;
    if (a != kNeither && b != kNeither) return;
    const char* message = left.error(row) ? left.error(row) : a == kNeither ? nullptr : right.error(row);
    frame.fail(out, row, message ? message : node.null_message.c_str());
  });
}

template <class T>
void choose(Frame& frame, const Vector& condition, const Vector& yes, const Vector& no, const Live& live, Vector& out) {
  T* o = frame.output<T>(out);
  const T* a = values<T>(yes);
  const T* b = values<T>(no);
  live.each([&](uint32_t row) {
    const Vector& side = condition.bools[condition.at(row)] ? yes : no;
    const T* from = &side == &yes ? a : b;
    o[row] = from ? from[side.at(row)] : T{};  // nullptr: the literal null
  });
}

// condition ? yes : no, both sides computed where they are chosen; values, nulls and errors come along.
void merge(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  const Vector& condition = args[0];
  const auto side_of = [&](uint32_t row) -> const Vector& {
    return condition.bools[condition.at(row)] ? args[1] : args[2];
  };
  if (args[1].errors || args[2].errors) {
    live.each([&](uint32_t row) {
      if (const char* message = side_of(row).error(row)) frame.fail(out, row, message);
    });
  }
  if (args[1].nulls || args[2].nulls) {
    uint8_t* nulls = frame.scratch.zeroed<uint8_t>(frame.rows);
    live.each([&](uint32_t row) { nulls[row] = side_of(row).is_null(row); });
    out.nulls = nulls;
  }
  switch (node.type.kind()) {
    case TypeKind::kNull: return;
    case TypeKind::kBool: return choose<uint8_t>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kInt:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return choose<int64_t>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kDouble: return choose<double>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kString:
    case TypeKind::kBytes: return choose<std::string_view>(frame, condition, args[1], args[2], live, out);
    case TypeKind::kList:
    case TypeKind::kStruct:
    case TypeKind::kMap: break;
  }
  std::vector<Cell> cells(frame.rows);
  live.each([&](uint32_t row) {
    const Vector& side = side_of(row);
    if (!side.column || side.is_null(row) || side.error(row)) return;
    const Cell cell{side.column.get(), side.cell(row)};
    if (!frame.records || frame.charge_items(node, out, row, items_within(cell))) cells[row] = cell;
  });
  out.column = gather_column(node.type, cells.data(), frame.rows, frame.result);
}

}  // namespace

void apply(Frame& frame, const Node& node, const Vector* args, size_t count, const Live& live, Vector& out) {
  switch (node.form) {
    case Node::Form::kStrict:
    case Node::Form::kLenient: {
      const Live good = screen(frame, node, args, count, live, out);
      node.kernel(frame, node, args, good, out);
      return;
    }
    case Node::Form::kAnd:
    case Node::Form::kOr: return combine(frame, node, args, live, out);
    case Node::Form::kTernary: return merge(frame, node, args, screen(frame, node, args, 1, live, out), out);
    case Node::Form::kConstant:
    case Node::Form::kColumn:
    case Node::Form::kParameter:
    case Node::Form::kLoop: break;  // the walker's
  }
  MR_CHECK(false);
}

}  // namespace millrace::expr
