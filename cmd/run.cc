// millrace run: loads pipelines, runs each with a PipelineRunner, watches signals, prints progress and a summary on
// stderr.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "cmd/daemon_config.h"
#include "cmd/pipeline_files.h"
#include "cmd/verbs.h"
#include "kafka/library_version.h"
#include "pipeline/builtins.h"
#include "pipeline/plan.h"
#include "pipeline/runner.h"
#include "server/admin_server.h"
#include "state/library_version.h"

namespace millrace {
namespace {

constexpr int64_t kFirstProgressMs = 1000;
constexpr int64_t kMaxProgressMs = 10'000;
constexpr int64_t kRepeatMs = 500;

// SIGTERM and SIGINT, taken by sigwait in a thread of its own; the second one ends the process at once. Two within
// kRepeatMs count as one: timeout(1) and some shells signal the process and its group. SIGHUP asks a daemon to read its
// files again: it must not end one that cannot.
class Signals {
 public:
  // Before any other thread starts, so that all inherit the mask.
  Signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    signal(SIGPIPE, SIG_IGN);
  }
  void watch(std::function<void()> on_stop, std::function<void()> on_hangup) {
    std::thread([set = set_, on_stop = std::move(on_stop), on_hangup = std::move(on_hangup)] {
      std::optional<std::chrono::steady_clock::time_point> first;
      for (int number = 0; sigwait(&set, &number) == 0;) {
        const auto now = std::chrono::steady_clock::now();
        if (number == SIGHUP) {
          on_hangup();
        } else if (!first) {
          first = now;
          on_stop();
        } else if (now - *first > std::chrono::milliseconds(kRepeatMs)) {
          _exit(kExitFailed);
        }
      }
    }).detach();
  }

 private:
  sigset_t set_;
};

double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

class Daemon {
 public:
  explicit Daemon(const RunArguments& arguments) : arguments_(arguments) { register_builtins(registries_); }

  int run() {
    if (!load()) return kExitConfig;
    if (plans_.empty() && exits_) {
      std::cerr << "millrace run: no pipelines: name files or folders, or pipelines: in the daemon file\n";
      return kExitUsage;
    }
    log_ = Logger::to_stderr(config_.log_level, config_.log_format);
    executor_ = make_thread_executor(config_.threads > 0 ? config_.threads : cpu_quota());
    started_ms_ = clock_.monotonic_us() / 1000;
    make_runners();
    // In front of the pipelines: a port that cannot be had must not cost a start.
    if (config_.admin) {
      if (Status status = open_admin(); !status.is_ok()) {
        std::cerr << "millrace run: " << status.to_string() << "\n";
        return kExitFailed;
      }
    }
    signals_.watch([this] { request_stop(); },
                   [this] { log_.warn("SIGHUP: this version reads its files at start only; restart to read them"); });
    for (auto& runner : runners_) runner->start();
    wait();
    if (admin_) admin_->stop();
    print_progress();
    print_summary();
    const bool failed = std::any_of(runners_.begin(), runners_.end(), [](const auto& runner) {
      return runner->status().state == PipelineState::kFailed;
    });
    runners_.clear();
    return failed ? kExitFailed : kExitOk;
  }

 private:
  bool load() {
    Diagnostics diagnostics;
    if (!arguments_.config_file.empty())
      config_ = load_daemon_config(arguments_.config_file, environment_variables(), diagnostics);
    exits_ = !arguments_.paths.empty() || config_.pipelines.empty();
    const std::vector<std::string> files = arguments_.paths.empty()
                                               ? expand_globs(config_.pipelines, arguments_.config_file, diagnostics)
                                               : expand_paths(arguments_.paths, diagnostics);
    std::map<std::string, std::string> names;
    for (const std::string& file : files) {
      auto plan = load_plan(file, environment_variables(), registries_, diagnostics);
      if (!plan) continue;
      const auto [known, is_new] = names.emplace(plan->spec->name, file);
      if (!is_new) {
        diagnostics.error(LintCode::kDuplicateName, Location{file, 0, 0},
                          "pipeline \"" + plan->spec->name + "\" is already in " + known->second);
        continue;
      }
      plans_.push_back(std::move(plan));
    }
    std::cerr << diagnostics.render_text();
    return !diagnostics.has_errors();
  }

  void make_runners() {
    for (const auto& plan : plans_) {
      Incarnation::Settings settings;
      settings.recovery = recovery_settings(*plan, config_.data_dir, arguments_.accept_reset);
      settings.clock = &clock_;
      settings.log = log_.with_pipeline(plan->spec->name);
      settings.executor = executor_.get();
      settings.make_log = [this, log = settings.log](const RecoverySettings& recovery) {
        return make_decision_log(recovery, clock_, log);
      };
      runners_.push_back(std::make_unique<PipelineRunner>(*plan, settings, [this] { one_ended(); }));
    }
  }

  Status open_admin() {
    MR_ASSIGN(admin_, AdminServer::start(
                          {config_.admin_listen, config_.admin_token_file}, [this] { return views(); },
                          {MILLRACE_VERSION, kafka_library_version(), rocksdb_library_version()}, log_));
    return Status::ok();
  }

  // The admin port's thread, while it is open: plans_ and runners_ do not change then.
  std::vector<PipelineView> views() const {
    static constexpr const char* kModes[] = {"none", "local", "changelog"};
    std::vector<PipelineView> views;
    for (size_t i = 0; i < runners_.size(); i++) {
      const PipelineSpec& spec = *plans_[i]->spec;
      PipelineView& view = views.emplace_back();
      view.name = spec.name;
      view.mode = kModes[static_cast<size_t>(spec.mode)];
      if (spec.mode != RecoveryMode::kNone)
        view.guarantee = spec.guarantee == Guarantee::kExactlyOnce ? "exactly_once" : "at_least_once";
      view.restarts = runners_[i]->restarts();
      view.status = runners_[i]->status();
      view.last_error = runners_[i]->last_error();
    }
    return views;
  }

  void one_ended() {
    std::lock_guard lock(mutex_);
    ended_++;
    changed_.notify_all();
  }

  // The signal thread: stops everything; a pipeline that does not end within the grace period is abandoned.
  void request_stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      stop_deadline_ms_ = clock_.monotonic_us() / 1000 + config_.shutdown_grace_ms;
      changed_.notify_all();
    }
    log_.info("stopping");
    for (auto& runner : runners_) runner->stop();
  }

  void wait() {
    int64_t interval_ms = kFirstProgressMs;
    int64_t next_ms = started_ms_ + interval_ms;
    std::unique_lock lock(mutex_);
    while (true) {
      if (ended_ == runners_.size() && (exits_ || stopping_)) return;
      const int64_t now = clock_.monotonic_us() / 1000;
      if (stopping_ && now >= stop_deadline_ms_) {
        std::cerr << "millrace: MR5004: not stopped within the grace period; ending\n";
        _exit(kExitFailed);
      }
      if (now >= next_ms) {
        lock.unlock();
        print_progress();
        lock.lock();
        interval_ms = std::min(interval_ms * 2, kMaxProgressMs);
        next_ms = now + interval_ms;
        continue;
      }
      changed_.wait_for(lock, std::chrono::milliseconds(std::min<int64_t>(next_ms - now, 200)));
    }
  }

  // One line per pipeline: state, records/s since the last line, lag, epoch.
  void print_progress() {
    if (arguments_.quiet) return;
    const int64_t now = clock_.monotonic_us() / 1000;
    for (size_t i = 0; i < runners_.size(); i++) {
      const PipelineStatus status = runners_[i]->status();
      Seen& seen = seen_[i];
      const int64_t span = std::max<int64_t>(now - (seen.at_ms ? seen.at_ms : started_ms_), 1);
      const uint64_t rows = status.records_in - std::min(seen.records, status.records_in);
      seen = {now, status.records_in};
      std::string line = plans_[i]->spec->name + ": " + to_string(status.state) + ", " +
                         std::to_string(status.records_in) + " records, " +
                         std::to_string(rows * 1000 / static_cast<uint64_t>(span)) + " records/s";
      // Of an input that has ended, what has come since is nobody's lag.
      if (status.lag_records >= 0 && status.state != PipelineState::kCompleted)
        line += ", lag " + std::to_string(status.lag_records);
      line += ", epoch " + std::to_string(status.epoch);
      if (!status.sources_connected) line += ", source not connected";
      std::fprintf(stderr, "%s\n", line.c_str());
    }
  }

  void print_summary() {
    if (arguments_.quiet) return;
    const double seconds = static_cast<double>(clock_.monotonic_us() / 1000 - started_ms_) / 1000;
    for (size_t i = 0; i < runners_.size(); i++) print_pipeline_summary(plans_[i]->spec->name, *runners_[i]);
    rusage use{};
    getrusage(RUSAGE_SELF, &use);
    std::fprintf(stderr, "%.1f s, %.1f s CPU, %ld MB peak memory\n", seconds, cpu_seconds(), use.ru_maxrss / 1024);
  }

  static void print_pipeline_summary(const std::string& name, const PipelineRunner& runner) {
    const PipelineStatus status = runner.status();
    const double seconds = static_cast<double>(runner.ran_ms()) / 1000;
    std::fprintf(stderr, "%s: %s, %llu records in %.1f s (%.0f records/s), %llu epochs, %llu restarts\n", name.c_str(),
                 to_string(status.state), static_cast<unsigned long long>(status.records_in), seconds,
                 static_cast<double>(status.records_in) / std::max(seconds, 0.001),
                 static_cast<unsigned long long>(status.decisions), static_cast<unsigned long long>(runner.restarts()));
    if (!status.restored_from.empty() && status.restored_from != "empty")
      std::fprintf(stderr, "  restored from %s: %llu records replayed in %lld ms\n", status.restored_from.c_str(),
                   static_cast<unsigned long long>(status.replayed_records), static_cast<long long>(status.restore_ms));
    if (status.records_behind_epoch > 0)
      std::fprintf(stderr, "  %llu records were read behind the last epoch; the next start reads them again\n",
                   static_cast<unsigned long long>(status.records_behind_epoch));
    for (const auto& [node, counts] : status.counts) {
      std::string line = "  " + node + ": in " + std::to_string(counts.in);
      const auto add = [&line](const char* label, uint64_t n, bool always = false) {
        if (n > 0 || always) line += std::string(", ") + label + " " + std::to_string(n);
      };
      add("out", counts.out, true);
      add("filtered", counts.filtered);
      add("absorbed", counts.absorbed);
      add("fired", counts.fired);
      add("late", counts.late);
      add("of these dropped", counts.dropped_late);
      add("ahead of the clock", counts.future);
      add("dropped (ahead of the clock)", counts.dropped_future);
      add("dropped (decode)", counts.dropped_decode);
      add("dropped (evaluation)", counts.dropped_evaluation);
      add("dropped (too large)", counts.dropped_too_large);
      add("dead letters", counts.dead_letters);
      add("dead letters cut", counts.dead_letters_cut);
      std::fprintf(stderr, "%s\n", line.c_str());
    }
    if (!runner.last_error().is_ok())
      std::fprintf(stderr, "  last error: %s\n", runner.last_error().to_string().c_str());
  }

  struct Seen {
    int64_t at_ms = 0;
    uint64_t records = 0;
  };
  const RunArguments& arguments_;
  Signals signals_;
  Registries registries_;
  DaemonConfig config_;
  SystemClock clock_;
  Logger log_;
  std::vector<std::unique_ptr<Plan>> plans_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::unique_ptr<PipelineRunner>> runners_;
  std::unique_ptr<AdminServer> admin_;
  std::map<size_t, Seen> seen_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t ended_ = 0;
  bool exits_ = true;
  bool stopping_ = false;
  int64_t stop_deadline_ms_ = 0;
  int64_t started_ms_ = 0;
};

}  // namespace

int run_verb(const RunArguments& arguments) { return Daemon(arguments).run(); }

}  // namespace millrace
