#include "tests/integration/daemon_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace millrace {
namespace {

std::string unique(const std::string& label) {
  static int count = 0;
  return label + "-" + std::to_string(getpid()) + "-" + std::to_string(count++);
}

std::string make_folder() {
  std::string folder = (std::filesystem::temp_directory_path() / "millrace-daemon-XXXXXX").string();
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  return folder;
}

}  // namespace

DaemonBroker* daemon_broker() {
  static std::string why_not;
  static const std::unique_ptr<DaemonBroker> kafka = [] {
    auto made = std::make_unique<DaemonBroker>();
    KafkaBrokerOptions options;
    options.advertised_proxy_port = made->proxy.port();
    // Transactions of a process that is gone or stopped are aborted soon after their timeout.
    // On a busy machine two seconds without a heartbeat happen, and a broker that its controller takes for dead for a
    // moment can leave a librdkafka client stuck: that has a test of its own.
    options.settings = {{"transaction.abort.timed.out.transaction.cleanup.interval.ms", "1000"},
                        {"broker.session.timeout.ms", "6000"}};
    made->broker = KafkaBroker::start(options, &why_not);
    if (made->broker) made->proxy.forward_to(made->broker->proxied_port());
    return made;
  }();
  if (!kafka->broker) MESSAGE("skipped: " << why_not);
  return kafka->broker ? kafka.get() : nullptr;
}

bool eventually(int timeout_ms, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

TestDaemon::TestDaemon(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
                       std::string log_file)
    : log_file_(std::move(log_file)), process_(MILLRACE_BINARY, arguments, environment, log_file_) {}

int TestDaemon::exit_code(int timeout_ms) {
  const auto status = process_.wait(timeout_ms);
  if (!status) return -1;
  return WIFEXITED(*status) ? WEXITSTATUS(*status) : 128 + WTERMSIG(*status);
}

int TestDaemon::stop() {
  signal(SIGTERM);
  return exit_code();
}

void TestDaemon::kill9() {
  signal(SIGKILL);
  process_.wait(10'000);
}

std::string TestDaemon::log() const {
  std::ifstream file(log_file_);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool TestDaemon::says(const std::string& text, int timeout_ms) const {
  return eventually(timeout_ms, [&] { return log().find(text) != std::string::npos; });
}

Restored TestDaemon::restored() const {
  static const std::string words = "state restored from ";
  const std::string text = log();
  const size_t at = text.rfind(words);
  if (at == std::string::npos) return {};
  const size_t colon = text.find(':', at);
  return {text.substr(at + words.size(), colon - at - words.size()), std::atoll(text.c_str() + colon + 1)};
}

TestPipeline::TestPipeline(const DaemonBroker& kafka, const std::string& label, TestPipelineOptions options)
    : options_(std::move(options)),
      name_(unique(label)),
      folder_(make_folder()),
      brokers_(options_.brokers.empty() ? kafka.broker->bootstrap() : options_.brokers),
      topics_(kafka.broker->bootstrap()) {
  orders_.customers = 200;
  orders_.partitions = options_.partitions;
  if (options_.create_input) topics_.create_topic(in(), options_.partitions, options_.input_settings);
  write_files();
}

TestPipeline::~TestPipeline() {
  finish_writing();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void TestPipeline::write_files() {
  std::ofstream file(folder_ + "/pipeline.yaml");
  file << "version: 1\nname: " << name_ << "\nkafka: {brokers: \"" << brokers_ << "\"}\n"
       << "recovery: {mode: changelog, commit_interval: 50ms}\n"
       << options_.state << "sources:\n  orders:\n    kafka: {topic: " << in() << options_.source << "}\n"
       << "    schema: {customer_id: string, amount: int, event_time: timestamp_ms, status: string}\n"
       << "    event_time: event_time\n    on_error: " << options_.on_error << "\n"
       << "operators:\n  - id: paid\n    filter: status == \"paid\"\n"
       << "  - id: revenue\n    aggregate:\n      key_by: [customer_id]\n      fields:\n"
       << "        customer_id: key(customer_id)\n        revenue: sum(amount)\n        orders: count()\n"
       << "      emit: " << options_.emit << "\n"
       << "sinks:\n  out:\n    input: revenue\n    kafka: {topic: " << out()
       << ", key: customer_id, create: {partitions: 4}}\n"
       << with_name(options_.more_sinks);
}

std::string TestPipeline::with_name(std::string text) const {
  for (size_t at = 0; (at = text.find('@', at)) != std::string::npos; at += name_.size()) text.replace(at, 1, name_);
  return text;
}

std::unique_ptr<TestDaemon> TestPipeline::start(const std::vector<std::string>& more, const std::string& data_suffix) {
  const std::string config = folder_ + "/millrace" + data_suffix + ".yaml";
  std::ofstream(config) << "data_dir: '" << data(data_suffix) << "'\n";
  std::vector<std::string> arguments = {"run", "-c", config, folder_ + "/pipeline.yaml"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return std::make_unique<TestDaemon>(arguments, std::map<std::string, std::string>{},
                                      folder_ + "/daemon-" + std::to_string(starts_++) + ".log");
}

void TestPipeline::load(uint64_t n, uint64_t per_second) {
  topics_.load(in(), orders_, loaded_, loaded_ + n, per_second);
  loaded_ += n;
}

void TestPipeline::start_writing(uint64_t n, uint64_t per_second) {
  finish_writing();
  const uint64_t first = loaded_;
  loaded_ += n;
  writer_ = std::thread([this, first, n, per_second] { topics_.load(in(), orders_, first, first + n, per_second); });
}

void TestPipeline::finish_writing() {
  if (writer_.joinable()) writer_.join();
}

bool TestPipeline::caught_up(int timeout_ms) const {
  return eventually(timeout_ms, [&] { return topics_.committed_offsets(name_, in()) >= topics_.end_offsets(in()); });
}

std::string TestPipeline::problems() const {
  OutputCheck check(orders_, options_.emit == "each");
  topics_.read_all(out(), [&](const TopicClient::Record& record) {
    const auto row = nlohmann::json::parse(record.value);
    check.add_row(row["customer_id"], row["revenue"], row["orders"]);
  });
  Totals wanted;
  add_totals(orders_, 0, loaded_, wanted);
  return check.finish(wanted);
}

uint64_t TestPipeline::output_rows() const {
  uint64_t rows = 0;
  topics_.read_all(out(), [&](const TopicClient::Record&) { rows++; });
  return rows;
}

}  // namespace millrace
