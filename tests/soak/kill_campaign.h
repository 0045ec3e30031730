// KillCampaign: one pipeline on a real broker, killed again and again while orders flow; afterwards every output and
// the state must be exact.
#pragma once

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
  OrdersOptions orders;
  uint64_t per_second = 20'000;  // changelog: how fast orders flow while the pipeline is killed
  size_t kills = 5;              // at random moments
  int min_life_ms = 150, max_life_ms = 1500;
  std::vector<std::string> crash_points;  // "name:n", one life each
  size_t wipe_every = 0;                  // 0: never; n: the state directory is deleted before every n-th life
  std::string mutant;  // set: a mutation of the code is switched on, and the campaign is expected to find it
};

struct CampaignResult {
  std::string problems;  // "" = exact
  size_t lives = 0;
  size_t lives_with_progress = 0;
  size_t crash_points_hit = 0;
  uint64_t output_rows = 0;
};

CampaignResult run_kill_campaign(const CampaignOptions& options);

}  // namespace millrace
