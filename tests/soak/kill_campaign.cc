#include "tests/soak/kill_campaign.h"

#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/soak/daemon_process.h"
#include "tests/soak/topic_client.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class KillCampaign {
 public:
  explicit KillCampaign(const CampaignOptions& options)
      : options_(options), topics_(options.bootstrap), random_(options.orders.seed), folder_(options.folder) {}

  CampaignResult run() {
    fs::create_directories(folder_);
    write_pipeline();
    topics_.create_topic(in(), options_.orders.partitions);
    if (is_local()) topics_.load(in(), options_.orders, 0, options_.orders.orders, 0);
    std::thread loader([this] {
      if (!is_local()) topics_.load(in(), options_.orders, 0, options_.orders.orders, options_.per_second);
      loaded_ = true;
    });
    for (size_t i = 0; i < options_.kills && !completed_; i++) random_life();
    for (const std::string& point : options_.crash_points)
      if (!completed_) crash_point_life(point);
    loader.join();
    run_to_end();
    check_output(options_.orders.orders);
    if (!is_local() && result_.problems.empty()) check_restored_state();
    return result_;
  }

 private:
  bool is_local() const { return options_.mode == "local"; }
  std::string in() const { return options_.name + "-in"; }
  std::string out() const { return options_.name + "-out"; }
  fs::path out_file() const { return folder_ / "out.jsonl"; }
  fs::path data() const { return folder_ / "data"; }

  void write_pipeline() {
    std::ofstream daemon(folder_ / "millrace.yaml");
    daemon << "data_dir: '" << data().string() << "'\n";
    std::ofstream file(folder_ / "pipeline.yaml");
    file << "version: 1\nname: " << options_.name << "\nkafka: {brokers: \"" << options_.bootstrap << "\"}\n"
         << "recovery: {mode: " << options_.mode << ", commit_interval: " << (is_local() ? "20ms" : "50ms") << "}\n"
         << "sources:\n  orders:\n    kafka: {topic: " << in() << (is_local() ? ", end: latest" : "") << "}\n"
         << "    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}\n    event_time: "
            "event_time\n"
         << "operators:\n  - id: paid\n    filter: status == \"paid\"\n  - id: revenue\n    aggregate:\n      key_by: "
            "[customer_id]\n"
         << "      fields:\n        customer_id: key(customer_id)\n        revenue: sum(amount)\n        orders: "
            "count()\n      emit: "
         << options_.emit << "\nsinks:\n  out:\n";
    if (is_local())
      file << "    file: '" << out_file().string() << "'\n";
    else
      file << "    kafka: {topic: " << out() << ", key: customer_id, create: {partitions: 4}}\n";
  }

  std::unique_ptr<DaemonProcess> start(const std::string& crash_point) {
    if (options_.wipe_every > 0 && result_.lives > 0 && result_.lives % options_.wipe_every == 0 && !is_local())
      fs::remove_all(data());
    result_.lives++;
    std::map<std::string, std::string> environment;
    if (!crash_point.empty()) environment["MILLRACE_CRASHPOINT"] = crash_point;
    if (!options_.mutant.empty()) environment["MILLRACE_MUTANT"] = options_.mutant;
    return std::make_unique<DaemonProcess>(options_.binary,
                                           std::vector<std::string>{"run", "-c", (folder_ / "millrace.yaml").string(),
                                                                    (folder_ / "pipeline.yaml").string()},
                                           environment, (folder_ / "daemon.log").string());
  }

  void note_progress() {
    if (is_local()) return;
    const int64_t committed = topics_.committed_offsets(options_.name, in());
    if (committed > committed_) result_.lives_with_progress++;
    if (committed < committed_) result_.problems += "committed offsets went back\n";
    committed_ = committed;
  }

  // A process that ended by itself: fine if its input was used up, a failure otherwise.
  void note_exit(int status) {
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && is_local()) {
      completed_ = true;
      return;
    }
    result_.problems += "a life ended with wait status " + std::to_string(status) + "\n";
  }

  void random_life() {
    const auto daemon = start("");
    const int life_ms =
        options_.min_life_ms +
        static_cast<int>(random_() % static_cast<uint64_t>(options_.max_life_ms - options_.min_life_ms + 1));
    if (const auto status = daemon->wait(life_ms)) return note_exit(*status);
    daemon->signal(SIGKILL);
    daemon->wait(10'000);
    note_progress();
  }

  // One life that ends at a named point. Points that this pipeline does not pass often enough are left after a while.
  void crash_point_life(const std::string& point) {
    const auto daemon = start(point);
    const auto status = daemon->wait(8'000);
    if (status && WIFSIGNALED(*status)) result_.crash_points_hit++;
    if (status) return note_exit(*status);
    daemon->signal(SIGKILL);
    daemon->wait(10'000);
  }

  void run_to_end() {
    if (completed_) return;
    const auto daemon = start("");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    const int64_t end = topics_.end_offsets(in());
    while (std::chrono::steady_clock::now() < deadline) {
      if (const auto status = daemon->wait(200)) return note_exit(*status);
      if (!is_local() && topics_.committed_offsets(options_.name, in()) >= end) break;
    }
    daemon->signal(SIGTERM);
    const auto status = daemon->wait(30'000);
    if (!status)
      result_.problems += "did not stop within 30 s of SIGTERM\n";
    else if (!WIFEXITED(*status) || WEXITSTATUS(*status) != 0)
      result_.problems += "SIGTERM: wait status " + std::to_string(*status) + "\n";
    if (!is_local() && topics_.committed_offsets(options_.name, in()) != end)
      result_.problems += "did not reach the end of the input\n";
  }

  void check_output(uint64_t orders) {
    OutputCheck check(options_.orders, options_.emit == "each");
    const auto add = [&check](std::string_view text) {
      const auto row = nlohmann::json::parse(text);
      check.add_row(row["customer_id"], row["revenue"], row["orders"]);
    };
    if (is_local()) {
      std::ifstream file(out_file());
      for (std::string line; std::getline(file, line);) add(line);
    } else {
      topics_.read_all(out(), [&](const TopicClient::Record& record) { add(record.value); });
    }
    Totals wanted;
    add_totals(options_.orders, 0, orders, wanted);
    result_.problems += check.finish(wanted);
    result_.output_rows = check.rows();
  }

  // With the state directory gone, more orders must continue from exact state.
  void check_restored_state() {
    fs::remove_all(data());
    const uint64_t more = options_.orders.customers * 2;
    topics_.load(in(), options_.orders, options_.orders.orders, options_.orders.orders + more, 0);
    run_to_end();
    check_output(options_.orders.orders + more);
  }

  const CampaignOptions& options_;
  TopicClient topics_;
  std::mt19937_64 random_;
  fs::path folder_;
  CampaignResult result_;
  std::atomic<bool> loaded_{false};
  bool completed_ = false;
  int64_t committed_ = 0;
};

}  // namespace

CampaignResult run_kill_campaign(const CampaignOptions& options) { return KillCampaign(options).run(); }

}  // namespace millrace
