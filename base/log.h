// Logger: leveled log lines on stderr, text or JSON. The only user of spdlog is log.cc. A Logger is a handle, copied
// freely and injected; any thread may log. Lines go through a bounded queue to a writer thread: a caller never waits
// for a slow terminal, when the queue is full the oldest lines are lost. The last handle to go writes out what is
// queued. Each line has UTC time with milliseconds, level, pipeline (if set) and the message, with control characters
// escaped. Keeping secrets out of messages is the caller's matter.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace millrace {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

// "trace" … "error"; nullopt for anything else.
std::optional<LogLevel> parse_log_level(std::string_view name);
std::string_view log_level_name(LogLevel level);

class Logger {
 public:
  // Discards everything.
  Logger() = default;
  static Logger to_stderr(LogLevel level, LogFormat format);
  // Calls write with each line (no newline) on the writer thread; for tests.
  static Logger to_function(LogLevel level, LogFormat format, std::function<void(std::string_view line)> write);
  // A handle whose lines name a pipeline.
  Logger with_pipeline(std::string pipeline) const;

  bool is_enabled(LogLevel level) const { return backend_ != nullptr && level >= level_; }
  void write(LogLevel level, std::string_view message) const;

  template <class... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) const {
    if (is_enabled(LogLevel::kTrace)) write(LogLevel::kTrace, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) const {
    if (is_enabled(LogLevel::kDebug)) write(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) const {
    if (is_enabled(LogLevel::kInfo)) write(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) const {
    if (is_enabled(LogLevel::kWarn)) write(LogLevel::kWarn, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) const {
    if (is_enabled(LogLevel::kError)) write(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  struct Backend;
  std::shared_ptr<Backend> backend_;
  LogLevel level_ = LogLevel::kInfo;
  LogFormat format_ = LogFormat::kText;
  std::string pipeline_;
};

}  // namespace millrace
