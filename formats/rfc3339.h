// Timestamps of RFC 3339. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

// The timestamps there are: years 0001 to 9999, as in CEL. In microseconds since the epoch.
inline constexpr int64_t kMinTimestampUs = -62135596800 * 1000000;
inline constexpr int64_t kMaxTimestampUs = 253402300800 * 1000000 - 1;

// "2024-02-29T23:59:59.123456Z", also with an offset (+02:00), `t`, `z` or a space instead of `T`; 1 to 9 fractional
// digits, cut to microseconds; a leap second (:60) counts as the second after :59. False: not such a text, or out of
// range.
bool parse_rfc3339(std::string_view text, int64_t* epoch_us);

}  // namespace millrace
