// RecordWriter and RecordReader: the little-endian binary form that the records of this folder share, sealed with a
// checksum. The reader never trusts a length: after the first value that does not fit, failed() is true and every
// further read returns zero or empty. One thread each.
//
// Layout: magic (4 bytes) · version (u16) · body · XXH64 of everything before it (8 bytes).
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace {

class RecordWriter {
 public:
  RecordWriter(std::string_view magic, uint16_t version);
  void u8(uint8_t value) { raw(&value, sizeof value); }
  void u16(uint16_t value) { raw(&value, sizeof value); }
  void u32(uint32_t value) { raw(&value, sizeof value); }
  void u64(uint64_t value) { raw(&value, sizeof value); }
  void i64(int64_t value) { raw(&value, sizeof value); }
  void text(std::string_view value);
  // Adds the checksum; the writer is empty afterwards.
  std::string seal();

 private:
  void raw(const void* bytes, size_t n) { out_.append(static_cast<const char*>(bytes), n); }
  std::string out_;
};

class RecordReader {
 public:
  // Checks magic, version and checksum of the whole; what is wrong is in error().
  RecordReader(std::string_view bytes, std::string_view magic, uint16_t version);
  bool failed() const { return !error_.empty(); }
  const std::string& error() const { return error_; }
  bool at_end() const { return rest_.empty(); }

  uint8_t u8() { return raw<uint8_t>(); }
  uint16_t u16() { return raw<uint16_t>(); }
  uint32_t u32() { return raw<uint32_t>(); }
  uint64_t u64() { return raw<uint64_t>(); }
  int64_t i64() { return raw<int64_t>(); }
  std::string_view text();  // a view into the bytes
  // A number of elements that follow, each of at least min_bytes: more than can follow is a failure, so that no caller
  // reserves memory for a forged count.
  uint32_t count(size_t min_bytes);

 private:
  template <class T>
  T raw() {
    T value{};
    if (rest_.size() < sizeof value) {
      fail("cut short");
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  void fail(std::string why);
  std::string_view rest_;
  std::string error_;
};

}  // namespace millrace
