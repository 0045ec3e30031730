#include "base/clock.h"

#include <chrono>

#include "base/check.h"

namespace millrace {

int64_t SystemClock::wall_ms() const {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

int64_t SystemClock::monotonic_us() const {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

void ManualClock::advance_ms(int64_t ms) {
  MR_CHECK(ms >= 0);
  wall_ms_ += ms;
  monotonic_us_ += ms * 1000;
}

}  // namespace millrace
