// Clock: where time comes from. Injected everywhere, so that tests decide what time it is. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace millrace {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since the epoch; may jump.
  virtual int64_t wall_ms() const = 0;
  // Microseconds since some moment; never goes back.
  virtual int64_t monotonic_us() const = 0;
};

class SystemClock : public Clock {
 public:
  int64_t wall_ms() const override;
  int64_t monotonic_us() const override;
};

// Stands still until it is told otherwise.
class ManualClock : public Clock {
 public:
  explicit ManualClock(int64_t wall_ms = 0) : wall_ms_(wall_ms) {}
  int64_t wall_ms() const override { return wall_ms_; }
  int64_t monotonic_us() const override { return monotonic_us_; }
  // Both clocks move on. Precondition: ms >= 0.
  void advance_ms(int64_t ms);
  // The wall clock alone jumps, as an administrator makes it.
  void set_wall_ms(int64_t wall_ms) { wall_ms_ = wall_ms; }

 private:
  std::atomic<int64_t> wall_ms_;
  std::atomic<int64_t> monotonic_us_ = 0;
};

}  // namespace millrace
