// kill_campaign: one kill campaign from the command line (scripts/soak). Exit code 0: everything exact, 1: problems,
// 2: it could not be run.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/crash_point.h"
#include "tests/integration/broker.h"
#include "tests/integration/tcp_proxy.h"
#include "tests/soak/kill_campaign.h"

namespace millrace {
namespace {

constexpr int kOccurrences = 5;
constexpr int kLateMs[] = {60, 120, 200, 300};  // in turn: past the repetition and into the next transactions

// Passed once in a life, so that its occurrences are lives.
const std::set<std::string> kOncePerLife = {"bulk-load-finish", "bulk-load-run", "recover-begin", "recover-restored"};
const std::set<std::string> kOnlyChangelog = {"after-commit", "bulk-load-finish", "bulk-load-run",
                                              "changelog-produced"};
const std::set<std::string> kOnlyLocal = {"local-decided", "log-appended", "log-dropped"};

std::vector<std::string> crash_points(const std::string& which, const std::string& mode) {
  std::vector<std::string> points;
  if (which == "none") return points;
  if (which != "all") {
    std::stringstream list(which);
    for (std::string point; std::getline(list, point, ',');) points.push_back(point);
    return points;
  }
  const std::set<std::string>& others = mode == "local" ? kOnlyChangelog : kOnlyLocal;
  for (const std::string& name : crash_point_names()) {
    if (others.count(name) != 0) continue;
    for (int n = 1; n <= kOccurrences; n++)
      points.push_back(name + ":" + (kOncePerLife.count(name) != 0 ? "1" : std::to_string(n)));
  }
  return points;
}

struct Arguments {
  CampaignOptions campaign;
  std::string points = "none";
  bool proxied = false;
};

Arguments parse(CLI::App& app, int argc, char** argv) {
  Arguments arguments;
  CampaignOptions& options = arguments.campaign;
  options.orders.orders = 100'000;
  options.name = "soak-" + std::to_string(::getpid());
  app.add_option("--binary", options.binary, "the millrace to kill")->required();
  app.add_option("--bootstrap", options.bootstrap, "a broker; without it one is started");
  app.add_option("--folder", options.folder, "for data and logs; without it one that is removed if all is well");
  app.add_option("--orders", options.orders.orders, "how many orders flow, at least");
  app.add_option("--customers", options.orders.customers, "how many customers they are of");
  app.add_option("--per-second", options.per_second, "how fast, where they flow");
  app.add_option("--kills", options.kills, "lives that end at a random moment");
  app.add_option("--min-life", options.min_life_ms, "milliseconds");
  app.add_option("--max-life", options.max_life_ms, "milliseconds");
  app.add_option("--mode", options.mode)->check(CLI::IsMember({"changelog", "local"}));
  app.add_option("--emit", options.emit)->check(CLI::IsMember({"update", "each"}));
  app.add_option("--crash-points", arguments.points, "all | none | name:n,name:n");
  app.add_option("--wipe-every", options.wipe_every, "the state directory is deleted before every n-th life");
  app.add_option("--rival-every", options.rival_every, "every n-th life meets a second process");
  app.add_option("--late-commit-every", options.late_commit_every, "commits of every n-th life arrive late");
  app.add_option("--seed", options.orders.seed);
  app.add_option("--mutant", options.mutant, "a deliberate bug (base/mutant.h) that has to be found");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  if (options.mode == "local") {
    // A whole run takes a second or two.
    if (app.count("--min-life") == 0) options.min_life_ms = 60;
    if (app.count("--max-life") == 0) options.max_life_ms = 600;
  }
  options.crash_points = crash_points(arguments.points, options.mode);
  return arguments;
}

void print(const CampaignOptions& options, const CampaignResult& result) {
  std::printf("%s, emit %s, seed %llu: %llu orders, %zu lives (%zu with progress), %zu rounds, %llu rows\n",
              options.mode.c_str(), options.emit.c_str(), static_cast<unsigned long long>(options.orders.seed),
              static_cast<unsigned long long>(result.orders), result.lives, result.lives_with_progress, result.rounds,
              static_cast<unsigned long long>(result.output_rows));
  std::printf("  crash points hit: %zu of %zu\n", result.crash_points_hit, options.crash_points.size());
  for (const std::string& point : result.crash_points_missed) std::printf("    not passed: %s\n", point.c_str());
  std::printf("  starts with the store there: %zu, at most %llu records replayed; with it gone: %zu, at most %llu\n",
              result.tail_starts, static_cast<unsigned long long>(result.most_tail_records), result.full_starts,
              static_cast<unsigned long long>(result.most_full_records));
  std::printf("%s", result.problems.empty() ? "  exact\n" : ("PROBLEMS\n" + result.problems).c_str());
}

int run(int argc, char** argv) {
  CLI::App app("Kills a pipeline again and again and checks that nothing was lost or repeated.", "kill_campaign");
  Arguments arguments = parse(app, argc, argv);
  CampaignOptions& options = arguments.campaign;
  TcpProxy proxy;
  std::unique_ptr<KafkaBroker> broker;
  if (options.bootstrap.empty()) {
    KafkaBrokerOptions settings;
    settings.advertised_proxy_port = proxy.port();
    settings.settings = {{"transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"},
                         {"broker.session.timeout.ms", "30000"}};
    std::string why_not;
    broker = KafkaBroker::start(settings, &why_not);
    if (!broker) {
      std::fprintf(stderr, "kill_campaign: no broker: %s\n", why_not.c_str());
      return 2;
    }
    proxy.forward_to(broker->proxied_port());
    options.bootstrap = broker->bootstrap();
    options.proxied_bootstrap = "127.0.0.1:" + std::to_string(proxy.port());
    options.late_commit = [&proxy, n = size_t{0}]() mutable {
      proxy.hold_back(kKafkaEndTxn, kLateMs[n++ % std::size(kLateMs)]);
    };
  } else if (options.late_commit_every > 0) {
    std::fprintf(stderr, "kill_campaign: --late-commit-every needs a broker of its own\n");
    return 2;
  }
  const bool own_folder = options.folder.empty();
  if (own_folder) options.folder = (std::filesystem::temp_directory_path() / options.name).string();
  CampaignResult result = run_kill_campaign(options);
  if (options.kills >= 20 && result.lives_with_progress * 2 < result.lives - result.crash_point_lives)
    result.problems += "progress in less than half of the lives\n";
  if (arguments.points == "all" && !result.crash_points_missed.empty())
    result.problems += "not every crash point was passed\n";
  print(options, result);
  if (own_folder && result.problems.empty()) std::filesystem::remove_all(options.folder);
  return result.problems.empty() ? 0 : 1;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    return millrace::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kill_campaign: %s\n", error.what());
    return 2;
  }
}
