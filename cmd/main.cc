// millrace: the command line. Only reads arguments; each verb has a file of its own.
#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "cmd/verbs.h"

// Read by jemalloc (cmd/CMakeLists.txt) before main. Few arenas, and pages go back to the system within a second:
// memory is bounded (docs/adr/0009).
extern "C" const char* malloc_conf;
const char* malloc_conf = "narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0";

namespace {

// CLI11 reports through exceptions; --help is one of them and ends with 0, anything else is a usage error.
int parse_failure(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error) == 0 ? millrace::kExitOk : millrace::kExitUsage;
  std::string verb;
  for (const CLI::App* chosen : app.get_subcommands()) verb = " " + chosen->get_name();
  std::fprintf(stderr, "millrace%s: %s\nmillrace%s --help says more\n", verb.c_str(), error.what(), verb.c_str());
  return millrace::kExitUsage;
}

int run_main(int argc, char** argv) {
  CLI::App app("Millrace runs stream processing pipelines that are written as YAML files.", "millrace");
  app.require_subcommand(1);
  app.get_formatter()->label("SUBCOMMAND", "VERB");
  app.get_formatter()->label("Subcommands", "Verbs");
  app.set_version_flag("--version", std::string(MILLRACE_VERSION));
  int exit_code = 0;

  millrace::RunArguments run;
  CLI::App* run_app = app.add_subcommand("run", "run pipelines until they end or a signal stops them");
  run_app->add_option("-c,--config", run.config_file, "daemon file (millrace.yaml)");
  run_app->add_option("paths", run.paths, "pipeline files or folders; they replace pipelines: of the daemon file");
  run_app->add_flag("--accept-reset", run.accept_reset,
                    "go on although group offsets or state contradict the progress record");
  run_app->add_flag("-q,--quiet", run.quiet, "no progress line and no summary");
  run_app->callback([&] { exit_code = millrace::run_verb(run); });

  std::vector<std::string> lint_paths;
  std::string lint_format = "text";
  CLI::App* lint_app = app.add_subcommand("lint", "check pipeline files");
  lint_app->add_option("files", lint_paths, "pipeline files or folders")->required();
  lint_app->add_option("--format", lint_format, "text or json")->check(CLI::IsMember({"text", "json"}));
  lint_app->callback([&] { exit_code = millrace::lint_verb(lint_paths, lint_format); });

  std::string plan_file;
  CLI::App* plan_app = app.add_subcommand("plan", "show how a pipeline will run and what it guarantees");
  plan_app->add_option("file", plan_file, "pipeline file")->required();
  plan_app->callback([&] { exit_code = millrace::plan_verb(plan_file); });

  millrace::TryArguments trial;
  CLI::App* try_app = app.add_subcommand("try", "run a pipeline on fixtures: no broker, rows to stdout");
  try_app->add_option("file", trial.file, "pipeline file")->required();
  try_app->add_option("--input", trial.inputs, "SOURCE=fixture.jsonl, once per source");
  try_app->callback([&] { exit_code = millrace::try_verb(trial); });

  millrace::TestArguments tests;
  CLI::App* test_app = app.add_subcommand("test", "run unit tests of pipelines (NAME.test.yaml)");
  test_app->add_option("files", tests.paths, "test files, pipelines that have one beside them, or folders")->required();
  test_app->add_option("--filter", tests.filter, "only tests whose \"FILE: NAME\" contains this text");
  test_app->add_flag("--update", tests.update, "rewrite expected rows to what came");
  test_app->callback([&] { exit_code = millrace::test_verb(tests); });

  std::string expression;
  std::string json = "{}";
  CLI::App* expr_app = app.add_subcommand("expr", "evaluate an expression on one JSON record");
  expr_app->add_option("expression", expression, "expression")->required();
  expr_app->add_option("--json", json, "the record");
  expr_app->callback([&] { exit_code = millrace::expr_verb(expression, json); });

  bool version_json = false;
  CLI::App* version_app = app.add_subcommand("version", "print the versions of millrace and its libraries");
  version_app->add_flag("--json", version_json, "as JSON");
  version_app->callback([&] { exit_code = millrace::version_verb(version_json); });

  const auto named = [&](const CLI::App* verb) { return verb->get_name() == argv[1]; };
  const bool asks_for_help = argc > 1 && std::string_view(argv[1]) == "help";
  if (argc == 1 || asks_for_help) {
    std::fputs(app.help().c_str(), asks_for_help ? stdout : stderr);
    return asks_for_help ? millrace::kExitOk : millrace::kExitUsage;
  }
  if (argv[1][0] != '-' && app.get_subcommands(named).empty()) {
    std::fprintf(stderr, "millrace: unknown verb \"%s\"; millrace --help lists them\n", argv[1]);
    return millrace::kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return parse_failure(app, error);
  }
  return exit_code;
}

// Files that are opened later must not take the numbers of streams that are closed. Writing to a closed standard output
// still fails; without a standard error there is no one to tell.
void fill_standard_streams() {
  for (const int fd : {0, 1, 2}) {
    if (::fcntl(fd, F_GETFD) != -1) continue;
    const int opened = ::open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY);
    if (opened != fd) std::abort();
  }
}

}  // namespace

int main(int argc, char** argv) {
  fill_standard_streams();
  try {
    return run_main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "millrace: %s (MR9001: this is a bug in millrace)\n", error.what());
    return millrace::kExitFailed;
  }
}
