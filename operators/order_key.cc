#include "operators/order_key.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.h"

namespace millrace {
namespace {

constexpr uint64_t kSign = uint64_t{1} << 63;

void append_big_endian(uint64_t bits, std::string& out) {
  char bytes[8];
  bits = __builtin_bswap64(bits);
  std::memcpy(bytes, &bits, sizeof bytes);
  out.append(bytes, sizeof bytes);
}

// Bits that compare as the doubles do: of negative ones all are flipped, of others the sign.
uint64_t ordered_bits(double value) {
  if (std::isnan(value)) return UINT64_MAX;
  const auto bits = std::bit_cast<uint64_t>(value);
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

// A zero byte becomes 00 ff, the end 00 00: shorter text is smaller, and what follows it is not compared with text.
void append_text(std::string_view text, std::string& out) {
  for (size_t begin = 0;;) {
    const size_t zero = text.find('\0', begin);
    if (zero == std::string_view::npos) {
      out.append(text.substr(begin));
      break;
    }
    out.append(text.substr(begin, zero + 1 - begin));
    out.push_back('\xff');
    begin = zero + 1;
  }
  out.append(2, '\0');
}

}  // namespace

static_assert(std::endian::native == std::endian::little);

bool is_order_type(const Type& type) {
  switch (type.kind()) {
    case TypeKind::kBool:
    case TypeKind::kInt:
    case TypeKind::kDouble:
    case TypeKind::kString:
    case TypeKind::kBytes:
    case TypeKind::kTimestamp:
    case TypeKind::kDuration: return true;
    default: return false;
  }
}

void append_order_key(const Column& column, uint32_t row, bool descending, std::string& out) {
  if (column.is_null(row)) return out.push_back(1);
  out.push_back(0);
  const size_t begin = out.size();
  if (column.ints != nullptr) {
    append_big_endian(static_cast<uint64_t>(column.ints[row]) ^ kSign, out);
  } else if (column.doubles != nullptr) {
    append_big_endian(ordered_bits(column.doubles[row]), out);
  } else if (column.strings != nullptr) {
    append_text(column.strings[row], out);
  } else {
    MR_CHECK(column.bools != nullptr);
    out.push_back(static_cast<char>(column.bools[row]));
  }
  if (!descending) return;
  for (size_t i = begin; i < out.size(); i++) out[i] = static_cast<char>(~out[i]);
}

}  // namespace millrace
