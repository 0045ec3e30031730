// DaemonConfig: the file of `millrace run -c`. Every key is optional; unknown keys are errors as everywhere.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/log.h"

namespace millrace {

struct DaemonConfig {
  std::string data_dir = "./millrace-data";
  std::vector<std::string> pipelines;  // globs
  size_t threads = 0;                  // 0: the CPU quota
  size_t memory_limit_bytes = 0;       // 0: none
  bool admin = false;                  // the key is there: open the port
  std::string admin_listen = "127.0.0.1:7490";
  std::string admin_token_file;
  int64_t shutdown_grace_ms = 30'000;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
};

// Reads the file; errors go to diagnostics.
DaemonConfig load_daemon_config(const std::string& file, const VariableLookup& variables, Diagnostics& diagnostics);

}  // namespace millrace
