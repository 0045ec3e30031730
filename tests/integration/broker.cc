#include "tests/integration/broker.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "kafka/admin.h"

namespace millrace {
namespace {

constexpr const char* kClusterId = "bWlsbHJhY2UtdGVzdC0wMQ";
constexpr int kStopTimeoutMs = 20'000;
constexpr int kAttempts = 3;

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

// Standard output of a command, "" if it failed.
std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  std::string text;
  char buffer[512];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
  if (::pclose(pipe) != 0) return "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// Starts a program with its output in a file; it is killed when the calling thread ends.
pid_t spawn(const std::vector<std::string>& arguments, const std::string& output) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child < 0 ? 0 : child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::setsid();  // a Ctrl-C of the terminal is for the tests
  const int log = ::open(output.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (log < 0 || null < 0) ::_exit(1);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  int port = 0;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    port = ntohs(address.sin_port);
  }
  ::close(fd);
  return port;
}

std::unique_ptr<KafkaBroker> KafkaBroker::start(const KafkaBrokerOptions& options, std::string* why_not) {
  if (output_of("java -version 2>&1").empty()) {
    *why_not = "Java is missing (scripts/install-deps --tests)";
    return nullptr;
  }
  const std::string jars = output_of("scripts/fetch-kafka");
  if (jars.empty()) {
    *why_not = "the broker's jars cannot be fetched (scripts/fetch-kafka)";
    return nullptr;
  }
  std::unique_ptr<KafkaBroker> broker(new KafkaBroker());
  broker->options_ = options;
  broker->jars_ = jars;
  std::string folder = (std::filesystem::temp_directory_path() / "millrace-broker-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    *why_not = "cannot make " + folder;
    return nullptr;
  }
  broker->folder_ = folder;
  broker->log_file_ = folder + "/broker.log";
  broker->properties_file_ = folder + "/server.properties";
  // Somebody may take a port between choosing and listening.
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    broker->choose_ports();
    broker->write_properties();
    if (attempt == 0 && !broker->format()) break;
    if (broker->launch()) return broker;
    broker->kill9();
  }
  *why_not = "the broker does not come up; the end of its log:\n" + output_of("tail -n 20 " + broker->log_file_);
  return nullptr;
}

KafkaBroker::~KafkaBroker() {
  kill9();
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

void KafkaBroker::choose_ports() {
  port_ = free_port();
  controller_port_ = free_port();
  proxied_port_ = options_.advertised_proxy_port == 0 ? 0 : free_port();
}

void KafkaBroker::write_properties() {
  std::string listeners = fmt::format("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}", port_, controller_port_);
  std::string advertised = fmt::format("PLAINTEXT://127.0.0.1:{}", port_);
  if (proxied_port_ != 0) {
    listeners += fmt::format(",PROXIED://127.0.0.1:{}", proxied_port_);
    advertised += fmt::format(",PROXIED://127.0.0.1:{}", options_.advertised_proxy_port);
  }
  std::map<std::string, std::string> settings = {
      {"process.roles", "broker,controller"},
      {"node.id", "1"},
      {"controller.quorum.voters", fmt::format("1@127.0.0.1:{}", controller_port_)},
      {"listeners", listeners},
      {"advertised.listeners", advertised},
      {"listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"},
      {"inter.broker.listener.name", "PLAINTEXT"},
      {"controller.listener.names", "CONTROLLER"},
      {"log.dirs", folder_ + "/data"},
      {"num.partitions", "4"},
      {"default.replication.factor", "1"},
      {"min.insync.replicas", "1"},
      {"offsets.topic.replication.factor", "1"},
      {"offsets.topic.num.partitions", "1"},
      {"transaction.state.log.replication.factor", "1"},
      {"transaction.state.log.min.isr", "1"},
      {"transaction.state.log.num.partitions", "1"},
      {"group.initial.rebalance.delay.ms", "0"},
      {"num.network.threads", "2"},
      {"num.io.threads", "4"},
      {"log.retention.ms", "-1"},
      // A killed broker may come back when its session is over.
      {"broker.session.timeout.ms", "2000"},
      {"broker.heartbeat.interval.ms", "500"},
      {"log.cleaner.dedupe.buffer.size", "8388608"},
      {"auto.create.topics.enable", "true"},  // as many brokers have it; our clients must not use it
  };
  for (const auto& [name, value] : options_.settings) settings[name] = value;
  std::ofstream file(properties_file_, std::ios::trunc);
  for (const auto& [name, value] : settings) file << name << "=" << value << "\n";
}

bool KafkaBroker::format() {
  pid_ = spawn({"java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", jars_ + "/*", "kafka.tools.StorageTool", "format",
                "-t", kClusterId, "-c", properties_file_},
               log_file_);
  const bool ended = pid_ != 0 && reap(60'000);
  if (!ended) kill9();
  return ended && std::filesystem::exists(folder_ + "/data/meta.properties");
}

bool KafkaBroker::launch() {
  pid_ = spawn({"java", fmt::format("-Xms{}m", options_.heap_mb / 2), fmt::format("-Xmx{}m", options_.heap_mb),
                "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp",
                jars_ + "/*", "kafka.Kafka", properties_file_},
               log_file_);
  return pid_ != 0 && wait_until_up();
}

bool KafkaBroker::wait_until_up() {
  const int64_t give_up = now_ms() + options_.start_timeout_ms;
  KafkaConfig config;
  config.brokers = bootstrap();
  auto admin = KafkaAdmin::create(config, Logger());
  while (admin.is_ok() && now_ms() < give_up) {
    if (reap(0)) return false;
    if (admin.value()->cluster_id(200).is_ok()) return true;
    sleep_ms(50);
  }
  return false;
}

// True once the process has ended.
bool KafkaBroker::reap(int timeout_ms) {
  const int64_t give_up = now_ms() + timeout_ms;
  for (;;) {
    if (pid_ == 0) return true;
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = 0;
      return true;
    }
    if (now_ms() >= give_up) return false;
    sleep_ms(10);
  }
}

void KafkaBroker::stop() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGTERM);
  if (!reap(kStopTimeoutMs)) kill9();
}

void KafkaBroker::kill9() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  reap(kStopTimeoutMs);
}

bool KafkaBroker::restart() { return pid_ == 0 && launch(); }

void KafkaBroker::suspend() {
  if (pid_ != 0) ::kill(pid_, SIGSTOP);
}

void KafkaBroker::resume() {
  if (pid_ != 0) ::kill(pid_, SIGCONT);
}

}  // namespace millrace
