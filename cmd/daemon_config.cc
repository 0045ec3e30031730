#include "cmd/daemon_config.h"

namespace millrace {
namespace {

// Keys of later versions are accepted from the start, so that one file serves old and new binaries; their values are
// not read yet.
void accept(MapReader& map, const char* key) { map.child(key); }

void read_admin(const ConfigNode& node, DaemonConfig& config, Diagnostics& diagnostics) {
  MapReader map(node, diagnostics);
  config.admin = true;
  config.admin_listen = map.string_or("listen", config.admin_listen);
  config.admin_token_file = map.string_or("token_file", "");
  map.finish();
}

void read_log(const ConfigNode& node, DaemonConfig& config, Diagnostics& diagnostics) {
  MapReader map(node, diagnostics);
  const std::string level = map.choice("level", {"trace", "debug", "info", "warn", "error"}, "info");
  config.log_level = parse_log_level(level).value_or(LogLevel::kInfo);
  config.log_format = map.choice("format", {"text", "json"}, "text") == "json" ? LogFormat::kJson : LogFormat::kText;
  map.finish();
}

}  // namespace

DaemonConfig load_daemon_config(const std::string& file, const VariableLookup& variables, Diagnostics& diagnostics) {
  DaemonConfig config;
  const ConfigNode document = ConfigNode::load(file, variables, diagnostics);
  if (document.is_null()) return config;
  MapReader map(document, diagnostics);
  config.data_dir = map.string_or("data_dir", config.data_dir);
  if (auto pipelines = map.child("pipelines"))
    config.pipelines = as_string_list(*pipelines, diagnostics).value_or(std::vector<std::string>{});
  config.threads = static_cast<size_t>(map.int_or("threads", 0, 0, 1024));
  if (auto memory = map.child("memory")) {
    MapReader limits(*memory, diagnostics);
    config.memory_limit_bytes = static_cast<size_t>(limits.size_bytes_or("limit", 0));
    limits.finish();
  }
  if (auto admin = map.child("admin")) read_admin(*admin, config, diagnostics);
  if (auto shutdown = map.child("shutdown")) {
    MapReader grace(*shutdown, diagnostics);
    config.shutdown_grace_ms = grace.duration_ms_or("grace", config.shutdown_grace_ms);
    grace.finish();
  }
  if (auto log = map.child("log")) read_log(*log, config, diagnostics);
  accept(map, "version");
  accept(map, "reload");
  accept(map, "secrets");
  map.finish();
  return config;
}

}  // namespace millrace
