#include "operators/list_output.h"

#include <algorithm>
#include <memory>

#include "base/check.h"

namespace millrace {

// The child column, as long as it grows.
struct ListOutput::Items : Column {
  static constexpr uint32_t kFirstCapacity = 64;
  uint32_t capacity = 0;
  uint8_t* own_bools = nullptr;
  int64_t* own_ints = nullptr;
  double* own_doubles = nullptr;
  std::string_view* own_strings = nullptr;

  template <class T>
  void grow(Arena& arena, const T*& values, T*& own, uint32_t to) {
    T* larger = arena.array<T>(to);
    std::copy_n(own, rows, larger);
    values = own = larger;
  }
  void grow(Arena& arena) {
    const uint32_t to = capacity == 0 ? kFirstCapacity : capacity * 2;
    switch (type.kind()) {
      case TypeKind::kBool: grow(arena, bools, own_bools, to); break;
      case TypeKind::kInt:
      case TypeKind::kTimestamp:
      case TypeKind::kDuration: grow(arena, ints, own_ints, to); break;
      case TypeKind::kDouble: grow(arena, doubles, own_doubles, to); break;
      case TypeKind::kString:
      case TypeKind::kBytes: grow(arena, strings, own_strings, to); break;
      default: MR_CHECK(false);
    }
    capacity = to;
  }
};

ListOutput::ListOutput(ColumnBuilder& out) : out_(out) {
  MR_CHECK(out.type().kind() == TypeKind::kList);
  if (out.children.empty()) {
    auto items = std::make_shared<Items>();
    items->type = out.type().element();
    items->owners.push_back(out.arena_ptr());
    items->grow(out.arena());
    out.children.push_back(items);
  }
  // Made above, by this or an earlier ListOutput, and read by nobody before finish().
  items_ = const_cast<Items*>(static_cast<const Items*>(out.children[0].get()));
}

void ListOutput::begin(uint32_t row) {
  row_ = row;
  out_.spans[row] = {items_->rows, 0};
}

uint32_t ListOutput::next() {
  if (items_->rows == items_->capacity) items_->grow(out_.arena());
  out_.spans[row_].count++;
  return items_->rows++;
}

void ListOutput::append(int64_t value) {
  const uint32_t at = next();
  items_->own_ints[at] = value;
}

void ListOutput::append(double value) {
  const uint32_t at = next();
  items_->own_doubles[at] = value;
}

void ListOutput::append(uint8_t value) {
  const uint32_t at = next();
  items_->own_bools[at] = value;
}

void ListOutput::append(std::string_view value) {
  const uint32_t at = next();
  items_->own_strings[at] = out_.arena().copy(value);
}

}  // namespace millrace
