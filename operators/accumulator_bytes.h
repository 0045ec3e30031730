// The bytes of accumulators: varints (LEB128), zigzag for signed values, 8-byte little-endian doubles, length-prefixed
// strings. AccumulatorWriter appends to a string; AccumulatorReader is strict: truncated or overlong input, or bytes
// left over, make it fail, and every read after a failure returns zeros.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace {

class AccumulatorWriter {
 public:
  explicit AccumulatorWriter(std::string& out) : out_(out) {}
  void byte(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void varint(uint64_t value) {
    char bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) bytes[n++] = static_cast<char>(value | 0x80);
    bytes[n++] = static_cast<char>(value);
    out_.append(bytes, n);
  }
  void zigzag(int64_t value) { varint(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63)); }
  void fixed(double value) {
    char bytes[8];
    uint64_t bits = std::bit_cast<uint64_t>(value);
    for (char& byte : bytes) {
      byte = static_cast<char>(bits);
      bits >>= 8;
    }
    out_.append(bytes, sizeof bytes);
  }
  void string(std::string_view value) {
    varint(value.size());
    out_.append(value);
  }

 private:
  std::string& out_;
};

class AccumulatorReader {
 public:
  explicit AccumulatorReader(std::string_view bytes) : bytes_(bytes) {}
  uint8_t byte() {
    if (bytes_.empty()) return fail();
    const auto value = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint64_t part = byte();
      if (!ok_) return 0;
      if (shift == 63 && part > 1) return fail();
      value |= (part & 0x7f) << shift;
      if (part < 0x80) return part == 0 && shift > 0 ? fail() : value;
    }
    return fail();
  }
  int64_t zigzag() {
    const uint64_t value = varint();
    return static_cast<int64_t>(value >> 1 ^ (~(value & 1) + 1));
  }
  double fixed() {
    if (bytes_.size() < 8) return fail();
    uint64_t bits = 0;
    for (size_t i = 8; i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(bytes_[i]);
    bytes_.remove_prefix(8);
    return std::bit_cast<double>(bits);
  }
  // A view into the input.
  std::string_view string() {
    const uint64_t size = varint();
    if (size > bytes_.size()) {
      fail();
      return {};
    }
    const std::string_view value = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return value;
  }
  bool boolean() {
    const uint8_t value = byte();
    return value > 1 ? fail() != 0 : value != 0;
  }
  bool ok() const { return ok_; }
  // Bytes that have not been read; 0 after a failure.
  size_t left() const { return bytes_.size(); }
  bool finished() const { return ok_ && bytes_.empty(); }

 private:
  uint8_t fail() {
    ok_ = false;
    bytes_ = {};
    return 0;
  }
  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace millrace
