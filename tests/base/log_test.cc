#include "base/log.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

namespace millrace {
namespace {

TEST_CASE("text lines") {
  std::vector<std::string> lines;
  {
    Logger log = Logger::to_function(LogLevel::kInfo, LogFormat::kText, [&](auto line) { lines.emplace_back(line); });
    log.debug("not shown {}", 1);
    CHECK(!log.is_enabled(LogLevel::kDebug));
    log.info("commit {}", 7);
    log.with_pipeline("orders").error("two\nlines \x1b[31m");
  }
  REQUIRE(lines.size() == 2);
  std::string shape = lines[0];
  for (char& c : shape) c = c >= '0' && c <= '9' ? '0' : c;
  CHECK(shape == "0000-00-00T00:00:00.000Z info  commit 0");
  CHECK(lines[1].substr(25) == "error [orders] two\\nlines \\x1b[31m");
}

TEST_CASE("json lines parse, whatever the message") {
  std::vector<std::string> lines;
  {
    Logger log = Logger::to_function(LogLevel::kTrace, LogFormat::kJson, [&](auto line) { lines.emplace_back(line); });
    log.trace("{}", "quote \" newline \n bad \xff end {}");
    log.with_pipeline("p").warn("x");
  }
  REQUIRE(lines.size() == 2);
  auto first = nlohmann::json::parse(lines[0]);
  CHECK(first["level"] == "trace");
  CHECK(first["message"] == "quote \" newline \n bad \xef\xbf\xbd end {}");
  CHECK(!first.contains("pipeline"));
  CHECK(first["time"].get<std::string>().size() == 24);
  CHECK(nlohmann::json::parse(lines[1])["pipeline"] == "p");
}

TEST_CASE("many threads, no line lost or mixed while the queue has room") {
  std::vector<std::string> lines;
  {
    Logger log = Logger::to_function(LogLevel::kInfo, LogFormat::kText, [&](auto line) { lines.emplace_back(line); });
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++) {
      threads.emplace_back([log, t] {
        for (int i = 0; i < 500; i++) log.info("{}", std::string(20, static_cast<char>('a' + t)));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(lines.size() == 2000);
  for (const std::string& line : lines) CHECK(line.substr(31) == std::string(20, line[31]));
}

TEST_CASE("a logger of nothing, levels") {
  Logger().info("nobody {}", 1);
  CHECK(parse_log_level("warn") == LogLevel::kWarn);
  CHECK(!parse_log_level("loud"));
}

}  // namespace
}  // namespace millrace
