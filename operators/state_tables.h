// Keys of an operator that keeps several tables in its state: the first byte of a user key names the table; times in
// keys are ordered bytes. A durable format: values never change their meaning. (A plain aggregate has one table and no
// such byte, unless sets may leave its accumulators.)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

enum class StateTable : char {
  kProgress = 1,     // one record per shard (time_progress.h)
  kWindows = 2,      // window end · (custom: start ·) key -> accumulator (window_table.h)
  kEventTimers = 3,  // time · key (timer_queue.h)
  kClockTimers = 4,
  kKeyWindows = 5,  // key -> its windows (sessions, sliding and count windows)
  kKeys = 6,        // key -> what deduplicate or top_n keeps of it
  kBlocks = 7,      // key -> accumulator: aggregates without windows that have a table of members
  kMembers = 8,     // times · key · group · value -> calls that have counted it (member_table.h)
  kForgetTimers = 9,  // time · key (timer_queue.h): when the last closed session of a key is forgotten
};

// A time as 8 bytes whose order is that of the times.
inline constexpr size_t kTimeKeyBytes = 8;
inline void write_time_key(int64_t time_ms, char* out) {
  uint64_t bits = __builtin_bswap64(static_cast<uint64_t>(time_ms) ^ (uint64_t{1} << 63));
  __builtin_memcpy(out, &bits, kTimeKeyBytes);
}
inline void append_time_key(int64_t time_ms, std::string& out) {
  char bytes[kTimeKeyBytes];
  write_time_key(time_ms, bytes);
  out.append(bytes, kTimeKeyBytes);
}
// Precondition: key.size() >= at + kTimeKeyBytes.
inline int64_t read_time_key(std::string_view key, size_t at) {
  uint64_t bits = 0;
  __builtin_memcpy(&bits, key.data() + at, kTimeKeyBytes);
  return static_cast<int64_t>(__builtin_bswap64(bits) ^ (uint64_t{1} << 63));
}
// The least key behind all of a table.
inline std::string table_end(StateTable table) {
  return std::string(1, static_cast<char>(static_cast<char>(table) + 1));
}

}  // namespace millrace
