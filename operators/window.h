// WindowSpec and EmitSpec: what `window:`, `allowed_lateness:` and `emit:` of an operator say, checked. Values;
// immutable after planning, any thread. Times and sizes are milliseconds.
//
// Reading takes two steps, since expressions need the input's schema: read_window and read_emit check the YAML;
// compile_window and compile_emit type the expressions in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/config_node.h"
#include "base/type.h"
#include "expr/expression.h"

namespace millrace {

// [start, end).
struct WindowBounds {
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  friend bool operator==(const WindowBounds&, const WindowBounds&) = default;
};

// Event times and window bounds beyond this (about 284,000 years) are refused row by row: within it, sums with sizes
// and latenesses do not overflow, and a bound is a timestamp in microseconds.
inline constexpr int64_t kMaxWindowTimeMs = int64_t{9'000'000'000'000'000};
// Sizes, gaps, latenesses and offsets are at most this (400,000 days).
inline constexpr int64_t kMaxWindowSpanMs = int64_t{400'000} * 86'400'000;
// The end of a window that never ends.
inline constexpr int64_t kGlobalEndMs = INT64_MAX - 1;
// Windows that one row may belong to.
inline constexpr int64_t kMaxWindowsPerRow = 1000;

struct WindowSpec {
  enum class Kind { kNone, kTumbling, kHopping, kSliding, kSession, kCount, kCustom, kGlobal };
  Kind kind = Kind::kNone;
  bool processing_time = false;  // tumbling, hopping
  int64_t size_ms = 0;           // tumbling, hopping, sliding
  int64_t every_ms = 0;          // hopping; tumbling: the size
  int64_t offset_ms = 0;         // tumbling, hopping: 0 <= offset < every
  int64_t gap_ms = 0;            // session; 0: `gap`
  int64_t max_gap_ms = 0;        // session; 0: none
  int64_t max_duration_ms = 0;   // session; 0: none
  int64_t count = 0;             // count: rows of a window
  int64_t allowed_lateness_ms = 0;
  ExpressionPtr gap;     // session: a duration over the input's columns; nullptr: gap_ms
  ExpressionPtr assign;  // custom: [[start, end], …] over the input's columns

  bool any() const { return kind != Kind::kNone; }
  // Windows have a start and an end in time, shown as window.start and window.end.
  bool has_bounds() const { return any() && kind != Kind::kCount && kind != Kind::kGlobal; }
  // The watermark decides when windows end.
  bool uses_event_time() const { return any() && !processing_time && kind != Kind::kCount; }
};

enum class EmitMode { kUpdate, kEach, kClose, kFinal };

struct EmitSpec {
  EmitMode mode = EmitMode::kUpdate;
  int64_t min_interval_ms = 0;  // update: at most one row per key (and window) and interval; 0: none
  int64_t early_every_ms = 0;   // close: 0: none
  int64_t early_count = 0;      // close: 0: none
  ExpressionPtr early_when;     // close: bool over the input's columns; nullptr: none
  bool late_updates = true;     // close: rows within the lateness show their window again
  bool discarding = false;      // an accumulator starts anew after each row that shows it

  bool early() const { return early_every_ms > 0 || early_count > 0 || early_when != nullptr; }
};

struct WindowConfig {
  WindowSpec spec;  // without expressions
  std::optional<ConfigNode> gap, assign;
  Location at;  // of the key of the kind (tumbling, session …)
};

struct EmitConfig {
  EmitSpec spec;  // without expressions
  std::optional<ConfigNode> when;
};

// The value of `window:`. nullopt after an error.
std::optional<WindowConfig> read_window(const ConfigNode& node, Diagnostics& diagnostics);
// The value of `allowed_lateness:`, into the window it belongs to (nullptr: there is none, an error). False after an
// error.
bool read_allowed_lateness(const ConfigNode& node, WindowConfig* window, Diagnostics& diagnostics);
// The value of `emit:`, a mode or a map, for an operator with this window (kNone: without). nullopt after an error.
std::optional<EmitConfig> read_emit(const ConfigNode& node, const WindowSpec& window, Diagnostics& diagnostics);
// The default: close with a window, else update.
EmitMode default_emit_mode(const WindowSpec& window);

// Type the expressions over the input's columns. False after an error.
bool compile_window(const WindowConfig& config, const Schema& input, WindowSpec& spec, Diagnostics& diagnostics);
bool compile_emit(const EmitConfig& config, const Schema& input, EmitSpec& spec, Diagnostics& diagnostics);

// Words for `plan`: "tumbling 5m", "hopping 1h every 1m in processing time, lateness 1m".
std::string describe(const WindowSpec& window);
// What decides how state is laid out and what it means: kind and sizes, without the lateness.
std::string descriptor(const WindowSpec& window);
// "emit close, early every 30s".
std::string describe(const EmitSpec& emit);
// 90000 -> "90s".
std::string duration_text(int64_t ms);

}  // namespace millrace
