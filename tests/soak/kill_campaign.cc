#include "tests/soak/kill_campaign.h"

#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <thread>

#include "tests/soak/daemon_process.h"
#include "tests/soak/topic_client.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr int kAttempts = 6;  // lives for one crash point

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

class KillCampaign {
 public:
  explicit KillCampaign(const CampaignOptions& options)
      : options_(options),
        topics_(options.bootstrap),
        random_(options.orders.seed),
        folder_(options.folder),
        max_life_ms_(options.max_life_ms) {
    for (const std::string& point : options.crash_points) points_.push_back({point, 1});
  }

  ~KillCampaign() {
    lives_left_ = false;
    if (loader_.joinable()) loader_.join();
  }

  CampaignResult run() {
    fs::create_directories(folder_);
    write_files();
    topics_.create_topic(in(), options_.orders.partitions);
    if (is_local()) {
      run_local();
    } else {
      run_changelog();
    }
    return result_;
  }

 private:
  bool is_local() const { return options_.mode == "local"; }
  std::string in() const { return options_.name + "-in"; }
  std::string out() const { return options_.name + "-out"; }
  fs::path out_file() const { return folder_ / "out.jsonl"; }
  fs::path data() const { return folder_ / "data"; }
  fs::path log_file() const { return folder_ / "daemon.log"; }
  void problem(const std::string& text) { result_.problems += text + "\n"; }

  void run_changelog() {
    start_loading();
    life_with_progress();  // topics are made and the broker warms up
    // On a busy machine lives are longer, so that about half of them decide something.
    max_life_ms_ = std::max(options_.max_life_ms, 2 * life_with_progress());
    for (size_t i = 0; i < options_.kills; i++) random_life();
    while (!points_.empty()) crash_point_life();
    finish_loading();
    run_to_end();
    check_output();
    if (result_.problems.empty()) check_restored_state();
    result_.rounds = 1;
  }

  // Orders flow, behind those that are loaded, until finish_loading().
  void start_loading() {
    loader_ = std::thread([this] {
      const uint64_t end = std::max(loaded_ + 1, options_.orders.orders);
      try {
        loaded_ = topics_.load(in(), options_.orders, loaded_, end, options_.per_second,
                               [this] { return lives_left_.load(); });
      } catch (const std::exception& error) {
        loader_problem_ = error.what();
      }
    });
  }

  void finish_loading() {
    lives_left_ = false;
    loader_.join();
    if (!loader_problem_.empty()) problem("loading: " + loader_problem_);
  }

  // A bounded input is soon used up: round after round, each from nothing, until every kill has been made. Crash points
  // need longer lives: more orders flow, behind those of the last round, until each has been passed; a bounded run ends
  // it.
  void run_local() {
    loaded_ = topics_.load(in(), options_.orders, 0, options_.orders.orders, 0);
    size_t kills = 0;
    do {
      result_.rounds++;
      fs::remove_all(data());
      fs::remove(out_file());
      completed_ = false;
      local_epoch_ = 0;
      while (!completed_ && kills < options_.kills) {
        random_life();
        kills++;
      }
      run_to_end();
      check_output();
    } while (result_.problems.empty() && kills < options_.kills);
    if (points_.empty() || !result_.problems.empty()) return;
    start_loading();
    flowing_ = true;
    while (!points_.empty()) crash_point_life();
    flowing_ = completed_ = false;
    finish_loading();
    run_to_end();
    check_output();
  }

  void write_files() {
    for (const char* suffix : {"", "-2"}) {
      std::ofstream daemon(folder_ / ("millrace" + std::string(suffix) + ".yaml"));
      daemon << "data_dir: '" << data().string() << suffix << "'\n";
    }
    write_pipeline("pipeline.yaml", is_local());
    write_pipeline("flowing.yaml", false);
  }

  void write_pipeline(const std::string& name, bool bounded) {
    std::ofstream file(folder_ / name);
    file << "version: 1\nname: " << options_.name << "\nkafka: {brokers: \"${BROKERS}\"}\n"
         << "recovery: {mode: " << options_.mode << ", commit_interval: " << (is_local() ? "20ms" : "50ms")
         << "}\n"
         // Small, so that there is always something to ingest; local: not at once, so that the log often holds five
         // epochs when a life ends (restore-record:5).
         << "state: {memtable: " << (!is_local() ? "64KiB" : bounded ? "512KiB" : "256KiB") << "}\n"
         << "sources:\n  orders:\n    kafka: {topic: " << in() << (bounded ? ", end: latest" : "") << "}\n"
         << "    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}\n"
         << "    event_time: event_time\n"
         << "operators:\n  - id: paid\n    filter: status == \"paid\"\n"
         << "  - id: revenue\n    aggregate:\n      key_by: [customer_id]\n      fields:\n"
         << "        customer_id: key(customer_id)\n        revenue: sum(amount)\n        orders: count()\n"
         << "      emit: " << options_.emit << "\nsinks:\n  out:\n";
    if (is_local()) {
      file << "    file: '" << out_file().string() << "'\n";
    } else {
      file << "    kafka: {topic: " << out() << ", key: customer_id, create: {partitions: 4}}\n";
    }
  }

  std::unique_ptr<DaemonProcess> start_process(const std::string& crash_point, const std::string& suffix,
                                               const std::string& brokers) {
    std::map<std::string, std::string> environment = {{"BROKERS", brokers}};
    if (!crash_point.empty()) environment["MILLRACE_CRASHPOINT"] = crash_point;
    if (!options_.mutant.empty()) environment["MILLRACE_MUTANT"] = options_.mutant;
    const std::vector<std::string> arguments = {"run", "-c", (folder_ / ("millrace" + suffix + ".yaml")).string(),
                                                (folder_ / (flowing_ ? "flowing.yaml" : "pipeline.yaml")).string()};
    return std::make_unique<DaemonProcess>(options_.binary, arguments, environment, log_file().string());
  }

  std::unique_ptr<DaemonProcess> start(const std::string& crash_point = "", const std::string& brokers = "") {
    const bool full_load = crash_point.starts_with("bulk-load");
    const bool wipe = options_.wipe_every > 0 && result_.lives > 0 && result_.lives % options_.wipe_every == 0;
    if ((wipe || full_load) && !is_local()) {
      fs::remove_all(data());
      store_held_ = false;
    }
    result_.lives++;
    std::error_code error;
    log_begin_ = fs::exists(log_file(), error) ? fs::file_size(log_file()) : 0;
    return start_process(crash_point, "", brokers.empty() ? options_.bootstrap : brokers);
  }

  // What the log says since it was last read: how the state was restored.
  void note_restored() {
    std::ifstream file(log_file());
    file.seekg(static_cast<std::streamoff>(log_begin_));
    std::stringstream text;
    text << file.rdbuf();
    log_begin_ += text.str().size();
    for (std::string line; std::getline(text, line);) {
      if (line.find("mode changelog: epoch ") != std::string::npos) note_changelog_start(line);
      if (line.find("mode local: state found at epoch ") != std::string::npos) note_local_start(line);
    }
  }

  static uint64_t number_behind(const std::string& line, const std::string& words) {
    const size_t at = line.find(words);
    return at == std::string::npos ? 0 : static_cast<uint64_t>(std::atoll(line.c_str() + at + words.size()));
  }

  void note_changelog_start(const std::string& line) {
    static const std::string words = "state restored from ";
    const size_t at = line.find(words);
    if (at == std::string::npos) return;
    const std::string from = line.substr(at + words.size(), line.find(':', at) - at - words.size());
    const uint64_t records = number_behind(line, words + from + ": ");
    if (from == "full") {
      result_.full_starts++;
      result_.most_full_records = std::max(result_.most_full_records, records);
      if (store_held_ && !two_stores_) problem("the local store was there, and yet everything was restored: " + line);
    } else if (from != "empty") {
      result_.tail_starts++;
      result_.most_tail_records = std::max(result_.most_tail_records, records);
    }
    store_held_ = store_held_ || from != "empty";
  }

  void note_local_start(const std::string& line) {
    result_.tail_starts++;
    result_.most_tail_records = std::max(result_.most_tail_records, number_behind(line, ", "));
    // What an earlier life of this round has decided.
    const uint64_t epoch = number_behind(line, "state found at epoch ");
    if (epoch > local_epoch_) result_.lives_with_progress++;
    local_epoch_ = epoch;
  }

  void note_progress(bool crash_point = false) {
    note_restored();
    if (is_local()) return;
    const int64_t committed = topics_.committed_offsets(options_.name, in());
    if (committed > committed_ && !crash_point) result_.lives_with_progress++;
    if (committed < committed_) problem("committed offsets went back");
    committed_ = committed;
  }

  // A process that ended by itself: fine if its input was used up, a failure otherwise.
  void note_exit(int status) {
    note_restored();
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && is_local()) {
      completed_ = true;
      result_.lives_with_progress++;
      return;
    }
    problem("a life ended with wait status " + std::to_string(status) + "; see " + log_file().string());
  }

  bool every(size_t n) const { return n > 0 && !is_local() && (result_.lives + 1) % n == 0; }
  int random_ms(int low, int high) { return low + static_cast<int>(random_() % static_cast<uint64_t>(high - low + 1)); }

  // Killed as soon as something is decided; returns the milliseconds that took.
  int life_with_progress() {
    const int64_t before = topics_.committed_offsets(options_.name, in());
    const auto began = std::chrono::steady_clock::now();
    const auto daemon = start();
    for (int i = 0; i < 600 && topics_.committed_offsets(options_.name, in()) <= before; i++) {
      if (const auto status = daemon->wait(50)) {
        note_exit(*status);
        return 0;
      }
    }
    const auto took = std::chrono::steady_clock::now() - began;
    daemon->signal(SIGKILL);
    daemon->wait(10'000);
    note_progress();
    return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count());
  }

  void random_life() {
    if (every(options_.rival_every)) return rival_life();
    if (every(options_.late_commit_every)) return late_commit_life();
    const auto daemon = start();
    if (const auto status = daemon->wait(random_ms(options_.min_life_ms, max_life_ms_))) {
      return note_exit(*status);
    }
    daemon->signal(SIGKILL);
    daemon->wait(10'000);
    note_progress();
  }

  // Two processes: one has to give way, and says so; then the other is killed.
  void rival_life() {
    const auto first = start();
    sleep_ms(random_ms(300, 900));
    const auto second = start_process("", "-2", options_.bootstrap);
    sleep_ms(random_ms(1500, 2500));
    size_t alive = 0;
    for (DaemonProcess* daemon : {first.get(), second.get()}) {
      const auto status = daemon->wait(0);
      alive += status ? 0 : 1;
      if (status && !(WIFEXITED(*status) && WEXITSTATUS(*status) == 1))
        problem("a rival ended with wait status " + std::to_string(*status));
      daemon->signal(SIGKILL);
      daemon->wait(10'000);
    }
    if (alive == 0) problem("both rivals ended");
    two_stores_ = true;
    note_progress();
    two_stores_ = false;
  }

  // Commits that arrive when the client has long repeated them.
  void late_commit_life() {
    const auto daemon = start("", options_.proxied_bootstrap);
    for (int i = 0; i < 4; i++) {
      if (const auto status = daemon->wait(random_ms(400, 700))) return note_exit(*status);
      options_.late_commit();
    }
    if (const auto status = daemon->wait(500)) return note_exit(*status);
    daemon->signal(SIGKILL);
    daemon->wait(10'000);
    note_progress();
  }

  // One life that ends at a named point. A point that is not passed (nothing to restore, the input ended) gets another
  // life behind the others.
  void crash_point_life() {
    const CrashPoint point = points_.front();
    points_.pop_front();
    result_.crash_point_lives++;
    const auto daemon = start(point.name);
    const auto status = daemon->wait(options_.crash_point_wait_ms);
    if (status && WIFSIGNALED(*status)) {
      result_.crash_points_hit++;
    } else if (point.attempt < kAttempts) {
      points_.push_back({point.name, point.attempt + 1});
    } else {
      result_.crash_points_missed.push_back(point.name);
    }
    if (status) note_exit(*status);
    if (status) return note_progress(true);
    daemon->signal(SIGKILL);
    daemon->wait(10'000);
    note_progress(true);
  }

  void run_to_end() {
    if (completed_) return;
    const auto daemon = start();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(3);
    const int64_t end = topics_.end_offsets(in());
    while (std::chrono::steady_clock::now() < deadline) {
      if (const auto status = daemon->wait(200)) return note_exit(*status);
      if (!is_local() && topics_.committed_offsets(options_.name, in()) >= end) break;
    }
    daemon->signal(SIGTERM);
    const auto status = daemon->wait(45'000);
    note_progress();
    if (!status) {
      problem("did not stop within 45 s of SIGTERM");
    } else if (!WIFEXITED(*status) || WEXITSTATUS(*status) != 0) {
      problem("SIGTERM: wait status " + std::to_string(*status));
    }
    if (is_local()) problem("the bounded input did not end within 3 minutes");
    if (!is_local() && topics_.committed_offsets(options_.name, in()) != end) problem("the end was not reached");
  }

  void check_output() {
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
    add_totals(options_.orders, 0, loaded_, wanted);
    result_.problems += check.finish(wanted);
    result_.output_rows = check.rows();
    result_.orders = loaded_;
  }

  // With the state directory gone, more orders must continue from exact state.
  void check_restored_state() {
    fs::remove_all(data());
    store_held_ = false;
    const uint64_t more = options_.orders.customers * 2;
    loaded_ = topics_.load(in(), options_.orders, loaded_, loaded_ + more, 0);
    run_to_end();
    check_output();
  }

  struct CrashPoint {
    std::string name;
    int attempt;
  };

  const CampaignOptions& options_;
  std::deque<CrashPoint> points_;  // still to be passed
  TopicClient topics_;
  std::mt19937_64 random_;
  fs::path folder_;
  int max_life_ms_;
  CampaignResult result_;
  std::thread loader_;
  std::string loader_problem_;
  std::atomic<bool> lives_left_{true};  // orders flow until the last kill has been made
  uint64_t loaded_ = 0;                 // orders in the topic, when the loader has ended
  bool flowing_ = false;                // local: the input has no end
  bool completed_ = false;   // local: the round's input was used up
  bool store_held_ = false;  // the local store holds a progress record: from now on only tails are replayed
  bool two_stores_ = false;  // the log has lines of both rivals
  uintmax_t log_begin_ = 0;
  int64_t committed_ = 0;
  uint64_t local_epoch_ = 0;
};

}  // namespace

CampaignResult run_kill_campaign(const CampaignOptions& options) { return KillCampaign(options).run(); }

}  // namespace millrace
