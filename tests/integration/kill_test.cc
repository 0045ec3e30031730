// Short kill campaigns in front of every change; the long ones are scripts/soak.
#include <unistd.h>

#include <filesystem>

#include "tests/integration/daemon_fixture.h"
#include "tests/soak/kill_campaign.h"

namespace millrace {
namespace {

CampaignResult campaign(const DaemonBroker& kafka, const std::string& mode, const std::string& emit,
                        size_t wipe_every) {
  CampaignOptions options;
  options.binary = MILLRACE_BINARY;
  options.bootstrap = kafka.broker->bootstrap();
  options.name = "kill-" + mode + "-" + emit;
  options.folder =
      (std::filesystem::temp_directory_path() / (options.name + "-" + std::to_string(::getpid()))).string();
  options.mode = mode;
  options.emit = emit;
  options.orders.orders = 20'000;
  options.per_second = 4000;
  options.kills = 5;
  // The first records are decided after 400 to 700 ms, on a busy machine; local mode is through after a second.
  options.min_life_ms = mode == "local" ? 100 : 500;
  options.max_life_ms = mode == "local" ? 500 : 1200;
  options.wipe_every = wipe_every;
  CampaignResult result = run_kill_campaign(options);
  MESSAGE(options.name << ": " << result.lives << " lives, " << result.lives_with_progress << " with progress, "
                       << result.output_rows << " rows; at most " << result.most_tail_records
                       << " records replayed with the store there, " << result.most_full_records << " with it gone");
  WARN(result.lives_with_progress * 2 > result.lives);
  if (result.problems.empty()) std::filesystem::remove_all(options.folder);
  return result;
}

}  // namespace

TEST_CASE("kill -9, mode changelog, emit update") {
  NEED_BROKER();
  CHECK(campaign(*kafka, "changelog", "update", 0).problems == "");
}

TEST_CASE("kill -9, mode changelog, emit each, the directory deleted now and then") {
  NEED_BROKER();
  CHECK(campaign(*kafka, "changelog", "each", 3).problems == "");
}

TEST_CASE("kill -9, mode local, emit update") {
  NEED_BROKER();
  CHECK(campaign(*kafka, "local", "update", 0).problems == "");
}

}  // namespace millrace
