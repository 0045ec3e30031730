// What `window:`, `allowed_lateness:` and `emit:` say, with every error at its place.
#include <fmt/format.h>

#include "operators/window.h"

namespace millrace {
namespace {

using Kind = WindowSpec::Kind;

constexpr const char* kKinds = "tumbling, hopping, sliding, session, count, custom or global";
constexpr int64_t kMaxCount = 1'000'000'000;

// A duration of at least min_ms; nullopt after an error.
std::optional<int64_t> read_span(const ConfigNode& node, int64_t min_ms, Diagnostics& diagnostics) {
  const std::optional<int64_t> ms = as_duration_ms(node, diagnostics);
  if (!ms) return std::nullopt;
  if (*ms < min_ms) {
    diagnostics.error(LintCode::kBadValue, node.location(), "the duration must be longer than 0");
    return std::nullopt;
  }
  if (*ms > kMaxWindowSpanMs) {
    diagnostics.error(LintCode::kBadValue, node.location(),
                      "the duration must be at most " + duration_text(kMaxWindowSpanMs));
    return std::nullopt;
  }
  return ms;
}

// A key that must be there, or may be (0).
int64_t required_span(MapReader& map, std::string_view key) {
  const std::optional<ConfigNode> node = map.required_child(key);
  return node ? read_span(*node, 1, map.diagnostics()).value_or(1) : 1;
}

int64_t optional_span(MapReader& map, std::string_view key, int64_t min_ms) {
  const std::optional<ConfigNode> node = map.child(key);
  return node ? read_span(*node, min_ms, map.diagnostics()).value_or(0) : 0;
}

void read_time(MapReader& map, WindowSpec& spec) {
  spec.processing_time = map.choice("time", {"event", "processing"}, "event") == "processing";
}

void read_tumbling(MapReader& map, WindowConfig& config) {
  WindowSpec& spec = config.spec;
  spec.size_ms = spec.every_ms = required_span(map, "size");
  spec.offset_ms = optional_span(map, "offset", 0) % spec.every_ms;
  read_time(map, spec);
}

void read_hopping(MapReader& map, WindowConfig& config) {
  WindowSpec& spec = config.spec;
  const size_t errors_before = map.diagnostics().error_count();
  spec.size_ms = required_span(map, "size");
  spec.every_ms = required_span(map, "every");
  spec.offset_ms = optional_span(map, "offset", 0) % spec.every_ms;
  read_time(map, spec);
  const std::optional<ConfigNode> every = map.child("every");
  if (map.diagnostics().error_count() > errors_before || !every) return;
  if (spec.every_ms > spec.size_ms) {
    map.diagnostics().error(LintCode::kBadValue, every->location(),
                            "every is longer than size: rows between two windows would belong to none");
  } else if ((spec.size_ms - 1) / spec.every_ms >= kMaxWindowsPerRow) {
    map.diagnostics().error(LintCode::kBadValue, every->location(),
                            fmt::format("a row would belong to more than {} windows", kMaxWindowsPerRow));
  }
}

void read_sliding(MapReader& map, WindowConfig& config) { config.spec.size_ms = required_span(map, "size"); }

void read_session(MapReader& map, WindowConfig& config) {
  WindowSpec& spec = config.spec;
  Diagnostics& diagnostics = map.diagnostics();
  if (const std::optional<ConfigNode> gap = map.required_child("gap")) {
    // What looks like a duration is one; all else is an expression.
    const bool fixed = gap->is_scalar() && !gap->text().empty() && gap->text()[0] >= '0' && gap->text()[0] <= '9' &&
                       gap->text().find_first_not_of("0123456789mshd") == std::string::npos;
    if (fixed) {
      spec.gap_ms = read_span(*gap, 1, diagnostics).value_or(1);
    } else if (gap->is_scalar()) {
      config.gap = *gap;
    } else {
      diagnostics.error(LintCode::kWrongType, gap->location(), "gap is a duration or an expression");
    }
  }
  spec.max_gap_ms = optional_span(map, "max_gap", 1);
  spec.max_duration_ms = optional_span(map, "max_duration", 1);
  const std::optional<ConfigNode> max_gap = map.child("max_gap");
  if (spec.gap_ms > 0 && max_gap) {
    diagnostics.error(LintCode::kConflict, max_gap->key_location(), "max_gap bounds a gap that is an expression");
  }
  const std::optional<ConfigNode> max_duration = map.child("max_duration");
  if (max_duration && spec.max_duration_ms > 0 && spec.gap_ms > spec.max_duration_ms) {
    diagnostics.error(LintCode::kBadValue, max_duration->location(), "max_duration is shorter than gap");
  }
}

void read_count(MapReader& map, WindowConfig& config) {
  const std::optional<ConfigNode> size = map.required_child("size");
  if (size) config.spec.count = as_int(*size, 1, kMaxCount, map.diagnostics()).value_or(1);
}

void read_custom(MapReader& map, WindowConfig& config) {
  config.assign = map.required_child("assign");
  if (!config.assign || config.assign->is_scalar()) return;
  map.diagnostics().error(LintCode::kExpressionUnquoted, config.assign->location(), "assign is an expression: quote it",
                          "assign: '[[date, date + duration(\"1h\")]]'");
}

void read_global(MapReader&, WindowConfig&) {}

struct KindReader {
  const char* name;
  Kind kind;
  void (*read)(MapReader& map, WindowConfig& config);
};
constexpr KindReader kReaders[] = {
    {"tumbling", Kind::kTumbling, read_tumbling}, {"hopping", Kind::kHopping, read_hopping},
    {"sliding", Kind::kSliding, read_sliding},    {"session", Kind::kSession, read_session},
    {"count", Kind::kCount, read_count},          {"custom", Kind::kCustom, read_custom},
    {"global", Kind::kGlobal, read_global},
};

const char* kind_name(Kind kind) {
  for (const KindReader& reader : kReaders) {
    if (reader.kind == kind) return reader.name;
  }
  return "";
}

std::optional<EmitMode> read_mode(const ConfigNode& node, Diagnostics& diagnostics) {
  const std::optional<std::string> mode = as_string(node, diagnostics);
  if (!mode) return std::nullopt;
  if (*mode == "update") return EmitMode::kUpdate;
  if (*mode == "each") return EmitMode::kEach;
  if (*mode == "close") return EmitMode::kClose;
  if (*mode == "final") return EmitMode::kFinal;
  const std::string meant = did_you_mean(*mode, {"update", "each", "close", "final"});
  diagnostics.error(LintCode::kBadValue, node.location(), "unknown emit mode \"" + *mode + "\"",
                    meant.empty() ? "update, each, close or final" : meant);
  return std::nullopt;
}

void read_early(const ConfigNode& node, EmitConfig& config, Diagnostics& diagnostics) {
  MapReader map(node, diagnostics);
  config.spec.early_every_ms = optional_span(map, "every", 1);
  if (const std::optional<ConfigNode> count = map.child("count")) {
    config.spec.early_count = as_int(*count, 1, kMaxCount, diagnostics).value_or(1);
  }
  config.when = map.child("when");
  const bool any = map.has("every") || map.has("count") || map.has("when");
  map.finish();
  if (any || !(node.is_null() || (node.is_mapping() && node.size() == 0))) return;
  diagnostics.error(LintCode::kMissingKey, node.key_location(), "early needs every, count or when");
}

// What needs a certain mode.
struct ModeRule {
  const char* key;
  bool (*allowed)(EmitMode mode);
  const char* message;
  const char* hint;
};
constexpr ModeRule kModeRules[] = {
    {"min_interval", [](EmitMode mode) { return mode == EmitMode::kUpdate; },
     "min_interval belongs to emit mode update", "mode: update"},
    {"early", [](EmitMode mode) { return mode == EmitMode::kClose; },
     "early shows a window before it closes: it belongs to emit mode close", "mode: close"},
    {"late", [](EmitMode mode) { return mode == EmitMode::kClose; },
     "late says what follows after a window was shown: it belongs to emit mode close", "mode: close"},
    {"accumulation", [](EmitMode mode) { return mode == EmitMode::kClose || mode == EmitMode::kUpdate; },
     "accumulation says what follows after a window was shown: it belongs to emit modes close and update",
     "mode: close"},
};

void read_emit_map(const ConfigNode& node, const WindowSpec& window, EmitConfig& config, Diagnostics& diagnostics) {
  MapReader map(node, diagnostics);
  EmitSpec& spec = config.spec;
  if (const std::optional<ConfigNode> mode = map.child("mode")) {
    spec.mode = read_mode(*mode, diagnostics).value_or(spec.mode);
  }
  spec.min_interval_ms = optional_span(map, "min_interval", 1);
  if (const std::optional<ConfigNode> early = map.child("early")) read_early(*early, config, diagnostics);
  spec.late_updates = map.choice("late", {"update", "none"}, "update") == "update";
  spec.discarding = map.choice("accumulation", {"accumulating", "discarding"}, "accumulating") == "discarding";
  map.finish();
  for (const ModeRule& rule : kModeRules) {
    const std::optional<ConfigNode> child = map.child(rule.key);
    if (!child || rule.allowed(spec.mode)) continue;
    diagnostics.error(LintCode::kConflict, child->key_location(), rule.message, window.any() ? rule.hint : "");
  }
  const std::optional<ConfigNode> accumulation = map.child("accumulation");
  if (accumulation && !window.any()) {
    diagnostics.error(LintCode::kConflict, accumulation->key_location(), "accumulation needs a window");
  }
}

}  // namespace

std::optional<WindowConfig> read_window(const ConfigNode& node, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  WindowConfig config;
  MapReader map(node, diagnostics);
  for (const KindReader& reader : kReaders) {
    const std::optional<ConfigNode> body = map.child(reader.name);
    if (!body) continue;
    if (config.spec.any()) {
      diagnostics.error(LintCode::kConflict, body->key_location(), "an operator has one window",
                        fmt::format("keep {} or {}", kind_name(config.spec.kind), reader.name));
      continue;
    }
    config.spec.kind = reader.kind;
    config.at = body->key_location();
    MapReader inner(*body, diagnostics);
    reader.read(inner, config);
    inner.finish();
  }
  map.finish();
  if (diagnostics.error_count() > errors_before) return std::nullopt;
  if (!config.spec.any()) {
    diagnostics.error(LintCode::kMissingKey, node.key_location(), "window needs a kind", kKinds);
    return std::nullopt;
  }
  return config;
}

bool read_allowed_lateness(const ConfigNode& node, WindowConfig* window, Diagnostics& diagnostics) {
  const std::optional<int64_t> ms = read_span(node, 0, diagnostics);
  if (!ms) return false;
  std::string refusal;
  if (window == nullptr) {
    refusal = "allowed_lateness needs a window";
  } else if (window->spec.processing_time) {
    refusal = "allowed_lateness does not go with a window in processing time: nothing is late there";
  } else if (window->spec.kind == Kind::kCount || window->spec.kind == Kind::kGlobal) {
    refusal = fmt::format("allowed_lateness does not go with a {} window: nothing is late there",
                          kind_name(window->spec.kind));
  } else {
    window->spec.allowed_lateness_ms = *ms;
    return true;
  }
  diagnostics.error(LintCode::kConflict, node.key_location(), refusal);
  return false;
}

EmitMode default_emit_mode(const WindowSpec& window) { return window.any() ? EmitMode::kClose : EmitMode::kUpdate; }

std::optional<EmitConfig> read_emit(const ConfigNode& node, const WindowSpec& window, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  EmitConfig config;
  config.spec.mode = default_emit_mode(window);
  ConfigNode mode = node;
  if (node.is_mapping() || node.is_null()) {
    read_emit_map(node, window, config, diagnostics);
    mode = node.is_null() ? node : node.find("mode").value_or(node);
  } else if (const std::optional<EmitMode> scalar = read_mode(node, diagnostics)) {
    config.spec.mode = *scalar;
  }
  if (diagnostics.error_count() > errors_before) return std::nullopt;
  if (!window.any() && (config.spec.mode == EmitMode::kClose || config.spec.mode == EmitMode::kFinal)) {
    diagnostics.error(LintCode::kConflict, mode.location(), fmt::format("emit: {} needs a window", mode.text()),
                      "use update or each, or add a window");
    return std::nullopt;
  }
  return config;
}

bool compile_window(const WindowConfig& config, const Schema& input, WindowSpec& spec, Diagnostics& diagnostics) {
  Scope scope;
  scope.schema = &input;
  spec = config.spec;
  if (config.gap) {
    spec.gap = compile_node(*config.gap, scope, diagnostics, Type(TypeKind::kDuration));
    if (!spec.gap) return false;
  }
  if (config.assign) {
    const Type windows = Type::list(Type::list(Type(TypeKind::kTimestamp)));
    spec.assign = compile_node(*config.assign, scope, diagnostics, windows);
    if (!spec.assign) return false;
  }
  return true;
}

bool compile_emit(const EmitConfig& config, const Schema& input, EmitSpec& spec, Diagnostics& diagnostics) {
  Scope scope;
  scope.schema = &input;
  spec = config.spec;
  if (!config.when) return true;
  spec.early_when = compile_node(*config.when, scope, diagnostics, Type(TypeKind::kBool));
  return spec.early_when != nullptr;
}

}  // namespace millrace
