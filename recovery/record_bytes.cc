#include "recovery/record_bytes.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <bit>

#include "base/check.h"

namespace millrace {

static_assert(std::endian::native == std::endian::little, "the records are written as they lie in memory");

namespace {
constexpr size_t kMagicBytes = 4;
constexpr size_t kSealBytes = sizeof(uint64_t);
}  // namespace

RecordWriter::RecordWriter(std::string_view magic, uint16_t version) {
  MR_CHECK(magic.size() == kMagicBytes);
  out_.append(magic);
  u16(version);
}

void RecordWriter::text(std::string_view value) {
  u32(static_cast<uint32_t>(value.size()));
  out_.append(value);
}

std::string RecordWriter::seal() {
  u64(XXH64(out_.data(), out_.size(), 0));
  return std::move(out_);
}

RecordReader::RecordReader(std::string_view bytes, std::string_view magic, uint16_t version) : rest_(bytes) {
  if (bytes.size() < kMagicBytes + sizeof(uint16_t) + kSealBytes) {
    fail("cut short");
    return;
  }
  if (bytes.substr(0, kMagicBytes) != magic) {
    fail("not a record of this kind");
    return;
  }
  rest_.remove_suffix(kSealBytes);
  uint64_t seal = 0;
  std::memcpy(&seal, bytes.data() + rest_.size(), sizeof seal);
  if (seal != XXH64(rest_.data(), rest_.size(), 0)) {
    fail("checksum mismatch");
    return;
  }
  rest_.remove_prefix(kMagicBytes);
  uint16_t found = u16();
  if (found != version) fail(fmt::format("version {}; this program reads version {}", found, version));
}

std::string_view RecordReader::text() {
  uint32_t size = u32();
  if (size > rest_.size()) {
    fail("cut short");
    return {};
  }
  std::string_view value = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return value;
}

uint32_t RecordReader::count(size_t min_bytes) {
  uint32_t n = u32();
  if (n > rest_.size() / min_bytes) {
    fail("cut short");
    return 0;
  }
  return n;
}

void RecordReader::fail(std::string why) {
  if (error_.empty()) error_ = std::move(why);
  rest_ = {};
}

}  // namespace millrace
