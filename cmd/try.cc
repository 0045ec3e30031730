// millrace try: the pipeline as it is written, but sources read fixtures, sinks write JSON rows to stdout and state
// lives in memory. Ends when the fixtures do.
#include <condition_variable>
#include <iostream>
#include <map>
#include <mutex>

#include "base/clock.h"
#include "cmd/verbs.h"
#include "formats/format.h"
#include "pipeline/builtins.h"
#include "pipeline/plan.h"
#include "pipeline/runner.h"

namespace millrace {
namespace {

ConfigNode scalar(const std::string& text, Diagnostics& diagnostics) {
  // Quoted, so that no character of a path means anything to YAML.
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? "''" : std::string(1, c);
  return ConfigNode::parse(
      "--input", quoted + "'", [](const std::string&) { return std::nullopt; }, diagnostics);
}

// SOURCE=FILE pairs; false and a message for anything else.
bool read_inputs(const std::vector<std::string>& arguments, std::map<std::string, std::string>& inputs) {
  for (const std::string& argument : arguments) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == argument.size()) {
      std::cerr << "millrace try: --input takes SOURCE=FILE, found \"" << argument << "\"\n";
      return false;
    }
    inputs[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  return true;
}

// Puts fixtures in the place of sources. False after a message.
bool replace_sources(PipelineSpec& spec, std::map<std::string, std::string> inputs, const Registries& registries,
                     Diagnostics& diagnostics) {
  for (SourceSpec& source : spec.sources) {
    const auto input = inputs.find(source.name);
    if (input == inputs.end()) {
      if (source.kind == "generator" || source.kind == "file") continue;
      std::cerr << "millrace try: source \"" << source.name << "\" needs --input " << source.name << "=FILE\n";
      return false;
    }
    const bool lines = holds_rows(source.format) || source.format == "string" || source.format == "text";
    if (!lines) source.format = "json";
    source.kind = "file";
    source.plan = (*registries.sources.find("file"))(scalar(input->second, diagnostics), diagnostics);
    SourcePlanContext context{spec.name, source.name, source.format, source.schema, {}};
    if (source.plan && !source.plan->plan(context, diagnostics)) source.plan.reset();
    inputs.erase(input);
  }
  for (const auto& [name, path] : inputs) std::cerr << "millrace try: no source is called \"" << name << "\"\n";
  return inputs.empty();
}

void replace_sinks(PipelineSpec& spec, const Registries& registries, Diagnostics& diagnostics) {
  for (SinkSpec& sink : spec.sinks) {
    sink.kind = "stdout";
    sink.context.format = "json";
    sink.context.value = ConfigNode();
    sink.context.key_format = ConfigNode();
    sink.plan = (*registries.sinks.find("stdout"))(ConfigNode(), diagnostics);
  }
}

// Waits for the one pipeline of this process.
class Waiter {
 public:
  void notify() {
    std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

}  // namespace

int try_verb(const TryArguments& arguments) {
  Registries registries;
  register_builtins(registries);
  std::map<std::string, std::string> inputs;
  if (!read_inputs(arguments.inputs, inputs)) return kExitUsage;
  Diagnostics diagnostics;
  // The file as it stands must be right before anything in it is replaced.
  if (!load_plan(arguments.file, environment_variables(), registries, diagnostics)) {
    std::cerr << diagnostics.render_text();
    return kExitConfig;
  }
  Diagnostics replaced;
  auto spec = read_spec(ConfigNode::load(arguments.file, environment_variables(), replaced), registries, replaced);
  if (!replace_sources(*spec, inputs, registries, replaced)) return kExitUsage;
  replace_sinks(*spec, registries, replaced);
  spec->mode = RecoveryMode::kNone;
  spec->rocksdb = false;
  const auto plan = make_plan(std::move(spec), replaced);
  if (!plan) {
    std::cerr << replaced.render_text();
    return kExitConfig;
  }
  SystemClock clock;
  const Logger log = Logger::to_stderr(LogLevel::kWarn, LogFormat::kText);
  const auto executor = make_thread_executor(1);  // one lane: rows come out in one order
  Waiter waiter;
  Incarnation::Settings settings;
  settings.recovery = recovery_settings(*plan, "", false);
  settings.clock = &clock;
  settings.log = log;
  settings.executor = executor.get();
  settings.make_log = [&](const RecoverySettings& recovery) { return make_decision_log(recovery, clock, log); };
  PipelineRunner runner(*plan, settings, [&] { waiter.notify(); });
  runner.start();
  waiter.wait();
  return runner.status().state == PipelineState::kCompleted ? kExitOk : kExitFailed;
}

}  // namespace millrace
