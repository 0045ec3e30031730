#include "base/log.h"

#include <spdlog/async_logger.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>

namespace millrace {
namespace {

constexpr size_t kQueuedLines = 8192;
constexpr std::string_view kLevelNames[] = {"trace", "debug", "info", "warn", "error"};

// Only the writer thread calls it.
class FunctionSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit FunctionSink(std::function<void(std::string_view)> write) : write_(std::move(write)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    write_({message.payload.data(), message.payload.size()});
  }
  void flush_() override {}

 private:
  std::function<void(std::string_view)> write_;
};

std::string utc_now() {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  std::time_t seconds = ms / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, ms % 1000);
}

// One line stays one line, whatever a message quotes.
std::string escaped(std::string_view text) {
  std::string line;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      line += "\\n";
    } else if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  return line;
}

std::string render(LogFormat format, LogLevel level, const std::string& pipeline, std::string_view message) {
  if (format == LogFormat::kJson) {
    nlohmann::ordered_json line;
    line["time"] = utc_now();
    line["level"] = log_level_name(level);
    if (!pipeline.empty()) line["pipeline"] = pipeline;
    line["message"] = message;
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
  std::string line = fmt::format("{} {:<5} ", utc_now(), log_level_name(level));
  if (!pipeline.empty()) line += fmt::format("[{}] ", pipeline);
  return line + escaped(message);
}

}  // namespace

struct Logger::Backend {
  explicit Backend(spdlog::sink_ptr sink)
      : pool(std::make_shared<spdlog::details::thread_pool>(kQueuedLines, 1)),
        logger(std::make_shared<spdlog::async_logger>("millrace", std::move(sink), pool,
                                                      spdlog::async_overflow_policy::overrun_oldest)) {
    logger->set_level(spdlog::level::trace);
    logger->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v", spdlog::pattern_time_type::utc));
  }
  // Writes what is queued and joins the writer before what it uses goes.
  ~Backend() { pool.reset(); }
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;
};

std::optional<LogLevel> parse_log_level(std::string_view name) {
  for (size_t i = 0; i < std::size(kLevelNames); i++) {
    if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

std::string_view log_level_name(LogLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

Logger Logger::to_stderr(LogLevel level, LogFormat format) {
  Logger log;
  log.backend_ = std::make_shared<Backend>(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log.level_ = level;
  log.format_ = format;
  return log;
}

Logger Logger::to_function(LogLevel level, LogFormat format, std::function<void(std::string_view)> write) {
  Logger log;
  log.backend_ = std::make_shared<Backend>(std::make_shared<FunctionSink>(std::move(write)));
  log.level_ = level;
  log.format_ = format;
  return log;
}

Logger Logger::with_pipeline(std::string pipeline) const {
  Logger log = *this;
  log.pipeline_ = std::move(pipeline);
  return log;
}

void Logger::write(LogLevel level, std::string_view message) const {
  if (!is_enabled(level)) return;
  backend_->logger->log(spdlog::level::info, spdlog::string_view_t(render(format_, level, pipeline_, message)));
}

}  // namespace millrace
