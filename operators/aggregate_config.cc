#include "operators/aggregate_config.h"

#include "operators/key_by.h"

namespace millrace {
namespace {

void read_time(MapReader& map, AggregateConfig& config) {
  Diagnostics& diagnostics = map.diagnostics();
  const std::optional<ConfigNode> window = map.child("window");
  if (window) config.window = read_window(*window, diagnostics);
  // After an error in the window, what needs one would only repeat it.
  const bool broken = window && !config.window;
  if (const std::optional<ConfigNode> node = map.child("allowed_lateness"); node && !broken) {
    read_allowed_lateness(*node, config.window ? &*config.window : nullptr, diagnostics);
  }
  const WindowSpec none;
  const WindowSpec& spec = config.window ? config.window->spec : none;
  config.emit.spec.mode = default_emit_mode(spec);
  if (const std::optional<ConfigNode> node = map.child("emit"); node && !broken) {
    if (const std::optional<EmitConfig> emit = read_emit(*node, spec, diagnostics)) config.emit = *emit;
  }
  const std::optional<ConfigNode> ttl = map.child("ttl");
  if (!ttl) return;
  if (window) {
    diagnostics.error(LintCode::kConflict, ttl->key_location(), "ttl does not go with a window, which ends by itself",
                      "use allowed_lateness");
  } else {
    config.ttl_ms = as_duration_ms(*ttl, diagnostics).value_or(1);
    if (config.ttl_ms == 0 || config.ttl_ms > kMaxWindowSpanMs) {
      diagnostics.error(LintCode::kBadValue, ttl->location(),
                        "ttl must be longer than 0 and at most " + duration_text(kMaxWindowSpanMs));
    }
  }
}

}  // namespace

std::optional<AggregateConfig> read_aggregate_config(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  AggregateConfig config;
  config.body = body;
  MapReader map(body, diagnostics);
  if (const std::optional<ConfigNode> node = map.child("key_by")) {
    if (auto keys = read_key_columns(*node, diagnostics)) config.key_by = std::move(*keys);
  }
  if (const std::optional<ConfigNode> node = map.required_child("fields")) {
    config.fields = *node;
    if (!node->is_mapping() || node->size() == 0) {
      diagnostics.error(LintCode::kWrongType, node->location(), "fields is a map of output columns",
                        "fields: {orders: count()}");
    }
  }
  read_time(map, config);
  map.finish();
  if (diagnostics.error_count() > errors_before) return std::nullopt;
  return config;
}

}  // namespace millrace
