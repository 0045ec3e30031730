// Patterns such as "yyyy-MM-dd HH:mm:ss.SSS" that write a time, in the letters of Java and Flink; docs/expressions.md
// lists them. Immutable once made; any thread. Internal to expr/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::expr {

class TimeFormat {
 public:
  // nullptr with *error: an unknown letter, a wrong number of them, an open quote, longer than kMaxPatternBytes.
  static std::shared_ptr<const TimeFormat> make(std::string_view pattern, std::string* error);

  // Writes the time that clocks show offset_micros east of UTC; returns the length. `out` has kMaxBytes.
  // Precondition: micros is in the range of timestamps.
  size_t write(int64_t micros, int64_t offset_micros, char* out) const;

  static constexpr size_t kMaxPatternBytes = 128;
  // A letter becomes at most five bytes (the year 10000).
  static constexpr size_t kMaxBytes = 5 * kMaxPatternBytes;
  static constexpr size_t kMaxCached = 64;

 private:
  struct Part {
    char letter = 0;  // 0: text
    int count = 0;
    std::string text;
  };
  struct Moment;
  static char* write_part(const Part& part, const Moment& moment, char* out);

  std::vector<Part> parts_;
};

}  // namespace millrace::expr
