// Windows in words: for `plan`, and as part of the descriptor of state.
#include <fmt/format.h>

#include "operators/window.h"

namespace millrace {
namespace {

using Kind = WindowSpec::Kind;

std::string hopping_text(const WindowSpec& window) {
  std::string text = window.kind == Kind::kTumbling ? "tumbling " : "hopping ";
  text += duration_text(window.size_ms);
  if (window.kind == Kind::kHopping) text += " every " + duration_text(window.every_ms);
  if (window.offset_ms > 0) text += " offset " + duration_text(window.offset_ms);
  return text + (window.processing_time ? " in processing time" : "");
}

std::string session_text(const WindowSpec& window) {
  std::string text = "session, gap ";
  text += window.gap ? "by expression" : duration_text(window.gap_ms);
  if (window.max_gap_ms > 0) text += " up to " + duration_text(window.max_gap_ms);
  if (window.max_duration_ms > 0) text += ", at most " + duration_text(window.max_duration_ms);
  return text;
}

}  // namespace

std::string duration_text(int64_t ms) {
  struct Unit {
    int64_t ms;
    const char* name;
  };
  constexpr Unit kUnits[] = {{86'400'000, "d"}, {3'600'000, "h"}, {60'000, "m"}, {1000, "s"}};
  for (const Unit& unit : kUnits) {
    if (ms > 0 && ms % unit.ms == 0) return fmt::format("{}{}", ms / unit.ms, unit.name);
  }
  return fmt::format("{}ms", ms);
}

std::string describe(const WindowSpec& window) {
  std::string text;
  switch (window.kind) {
    case Kind::kNone: return "";
    case Kind::kTumbling:
    case Kind::kHopping: text = hopping_text(window); break;
    case Kind::kSliding: text = "sliding " + duration_text(window.size_ms); break;
    case Kind::kSession: text = session_text(window); break;
    case Kind::kCount: text = fmt::format("windows of {} rows", window.count); break;
    case Kind::kCustom: text = "windows by expression"; break;
    case Kind::kGlobal: text = "one global window"; break;
  }
  if (window.allowed_lateness_ms > 0) text += ", lateness " + duration_text(window.allowed_lateness_ms);
  return text;
}

std::string descriptor(const WindowSpec& window) {
  const std::string time = window.processing_time ? ",processing" : "";
  switch (window.kind) {
    case Kind::kNone: return "";
    case Kind::kTumbling: return fmt::format("tumbling({},{}{})", window.size_ms, window.offset_ms, time);
    case Kind::kHopping:
      return fmt::format("hopping({},{},{}{})", window.size_ms, window.every_ms, window.offset_ms, time);
    case Kind::kSliding: return fmt::format("sliding({})", window.size_ms);
    // Gaps are kept with the sessions: what they are may change.
    case Kind::kSession: return "session()";
    case Kind::kCount: return fmt::format("count({})", window.count);
    case Kind::kCustom: return "custom()";
    case Kind::kGlobal: return "global()";
  }
  return "";
}

std::string describe(const EmitSpec& emit) {
  constexpr const char* kModes[] = {"update", "each", "close", "final"};
  std::string text = std::string("emit ") + kModes[static_cast<size_t>(emit.mode)];
  if (emit.min_interval_ms > 0) text += " at most every " + duration_text(emit.min_interval_ms);
  if (emit.early_every_ms > 0) text += ", early every " + duration_text(emit.early_every_ms);
  if (emit.early_count > 0) text += fmt::format(", early every {} rows", emit.early_count);
  if (emit.early_when) text += ", early by expression";
  if (!emit.late_updates) text += ", late rows silently";
  if (emit.discarding) text += ", discarding";
  return text;
}

}  // namespace millrace
