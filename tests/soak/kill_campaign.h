// KillCampaign: one pipeline on a real broker, killed again and again while orders flow; afterwards every output and
// the state must be exact.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/soak/orders_world.h"

namespace millrace {

struct CampaignOptions {
  std::string binary;
  std::string bootstrap;
  std::string folder;              // for data, logs and pipeline files
  std::string name;                // of the pipeline; unique on the broker
  std::string mode = "changelog";  // changelog (Kafka to Kafka) | local (Kafka to file)
  std::string emit = "update";
  OrdersOptions orders;          // changelog: at least that many; they flow until the last kill
  uint64_t per_second = 20'000;  // how fast orders flow while the pipeline is killed (local: at crash points)
  size_t kills = 5;              // at random moments
  int min_life_ms = 150, max_life_ms = 1500;  // changelog: longer where a start takes longer
  std::vector<std::string> crash_points;  // "name:n", a life each, up to six
  int crash_point_wait_ms = 8000;         // a point that is not passed by then is tried again later
  size_t wipe_every = 0;                  // 0: never; n: the state directory is deleted before every n-th life
  // Every n-th life has a rival on another data directory for its second half. changelog only; 0: never.
  size_t rival_every = 0;
  // Every n-th life talks to the broker through this address, and late_commit makes its next commit arrive late, after
  // the client has lost the connection. changelog only; 0: never.
  size_t late_commit_every = 0;
  std::string proxied_bootstrap;
  std::function<void()> late_commit;
  std::string mutant;  // set: a mutation of the code is switched on, and the campaign is expected to find it
};

struct CampaignResult {
  std::string problems;  // "" = exact
  size_t lives = 0;
  size_t crash_point_lives = 0;    // many of them end before anything is decided
  size_t lives_with_progress = 0;  // of the others (local: of all)
  size_t crash_points_hit = 0;
  std::vector<std::string> crash_points_missed;
  size_t rounds = 0;    // local: bounded runs from nothing
  uint64_t orders = 0;  // that flowed in all
  uint64_t output_rows = 0;
  // Changelog or epoch log records replayed at the starts: with the store there, and with it gone.
  size_t tail_starts = 0, full_starts = 0;
  uint64_t most_tail_records = 0, most_full_records = 0;
};

CampaignResult run_kill_campaign(const CampaignOptions& options);

}  // namespace millrace
