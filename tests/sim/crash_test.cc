// Seeded crash campaigns on the driver: many lives, random schedules, one exact result.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "pipeline/builtins.h"
#include "pipeline/plan.h"
#include "tests/sim/pipeline_driver.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Campaign {
  uint64_t seed = 1;
  std::string emit = "update";
  size_t orders = 400;
  size_t customers = 25;
};

struct World {
  explicit World(const Campaign& campaign) {
    std::string pattern = (fs::temp_directory_path() / "millrace-sim-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    std::mt19937_64 random(campaign.seed);
    std::ofstream file(folder / "orders.jsonl");
    for (size_t i = 0; i < campaign.orders; i++) {
      const std::string customer = "c" + std::to_string(random() % campaign.customers);
      const int64_t amount = static_cast<int64_t>(random() % 1000);
      const bool paid = random() % 10 != 0;
      file << R"({"customer_id":")" << customer << R"(","amount":)" << amount << R"(,"status":")"
           << (paid ? "paid" : "open") << "\"}\n";
      if (!paid) continue;
      sums[customer] += amount;
      counts[customer]++;
      paid_orders++;
    }
  }
  ~World() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  fs::path folder;
  std::map<std::string, int64_t> sums;
  std::map<std::string, int64_t> counts;
  size_t paid_orders = 0;
};

std::unique_ptr<Plan> make_revenue_plan(const World& world, const Campaign& campaign, const Registries& registries) {
  const std::string text = R"(
version: 1
name: revenue
recovery: {mode: local, commit_interval: 5ms}
shards: 8
sources:
  orders:
    file: ')" + (world.folder / "orders.jsonl").string() +
                           R"('
    schema: {customer_id: string, amount: int, status: string}
operators:
  - id: paid
    filter: status == "paid"
  - id: revenue
    aggregate:
      key_by: [customer_id]
      fields:
        customer_id: key(customer_id)
        revenue: sum(amount)
        orders: count()
      emit: )" + campaign.emit +
                           R"(
sinks:
  out:
    file: ')" + (world.folder / "out.jsonl").string() +
                           "'\n";
  Diagnostics diagnostics;
  auto spec =
      read_spec(ConfigNode::parse("revenue.yaml", text, environment_variables(), diagnostics), registries, diagnostics);
  auto plan = make_plan(std::move(spec), diagnostics);
  const std::string rendered = diagnostics.render_text();
  REQUIRE_MESSAGE(plan != nullptr, rendered);
  return plan;
}

void run_campaign(const Campaign& campaign, const Registries& registries) {
  CAPTURE(campaign.seed);
  CAPTURE(campaign.emit);
  const World world(campaign);
  const auto plan = make_revenue_plan(world, campaign, registries);
  DriverOptions options;
  options.seed = campaign.seed;
  options.max_batch_rows = 1 + static_cast<uint32_t>(campaign.seed % 7);
  options.lanes = 1 + campaign.seed % 3;
  options.crash_every_steps = 30 + campaign.seed * 13 % 200;
  options.max_crashes = 12;
  options.data_dir = (world.folder / "data").string();
  const DriverResult result = PipelineTestDriver(*plan, options).run();
  const std::string status = result.status.to_string();
  REQUIRE_MESSAGE(result.status.is_ok(), status);
  CHECK(result.completed);
  std::map<std::string, int64_t> last, orders;
  size_t rows = 0;
  std::ifstream out(world.folder / "out.jsonl");
  for (std::string line; std::getline(out, line); rows++) {
    const auto row = nlohmann::json::parse(line);
    const std::string customer = row["customer_id"];
    // Counts per customer only grow: nothing is repeated and nothing comes out of order.
    CHECK(row["orders"].get<int64_t>() > orders[customer]);
    orders[customer] = row["orders"];
    last[customer] = row["revenue"];
  }
  CHECK(last == world.sums);
  CHECK(orders == world.counts);
  if (campaign.emit == "each") CHECK(rows == world.paid_orders);
}

TEST_CASE("a running sum is exact whatever crashes it") {
  Registries registries;
  register_builtins(registries);
  const char* seeds = getenv("SIM_SEEDS");
  const uint64_t last = seeds ? std::stoull(seeds) : 12;
  for (uint64_t seed = 1; seed <= last; seed++) {
    run_campaign({seed, "update"}, registries);
    run_campaign({seed, "each"}, registries);
  }
}

}  // namespace
}  // namespace millrace
