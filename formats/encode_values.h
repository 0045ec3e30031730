// Texts and byte orders that several encoders share. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/batch.h"

namespace millrace {

// Milliseconds of a time in microseconds, rounded towards the past, so that order is kept before 1970 too.
inline int64_t whole_millis(int64_t micros) {
  const int64_t millis = micros / 1000;
  return micros % 1000 < 0 ? millis - 1 : millis;
}

void append_decimal(int64_t value, std::string& out);

// A value that is not null as text: strings as they are, doubles as JSON writes them (and NaN, Infinity, -Infinity),
// timestamps as epoch milliseconds. Precondition: string, bool, int, double, timestamp or duration.
void append_plain_text(const Column& column, uint32_t row, std::string& out);

// Eight bytes, most significant first: Java's Long, and Double by its bits.
inline void append_big_endian(uint64_t value, std::string& out) {
  char bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = static_cast<char>(value >> (56 - 8 * i) & 0xFF);
  out.append(bytes, 8);
}
inline uint64_t read_big_endian(const char* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace millrace
