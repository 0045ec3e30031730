// KafkaBroker: a real single-node broker (KRaft) of the tests' own, on free loopback ports, with its data in a
// temporary folder that goes with it. Every wait is bounded. One thread, the one that started it (the broker dies with
// it).
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>

namespace millrace {

struct KafkaBrokerOptions {
  // server.properties to add or replace: offsets.retention.minutes, log.retention.ms …
  std::map<std::string, std::string> settings;
  // A second listener that tells its clients to connect to this port of 127.0.0.1, where a TcpProxy forwards to
  // proxied_port(). 0: none.
  int advertised_proxy_port = 0;
  int heap_mb = 512;
  int start_timeout_ms = 90'000;
};

class KafkaBroker {
 public:
  // nullptr, with a message in *why_not, when Java or the jars (scripts/fetch-kafka) cannot be had or the broker does
  // not come up; tests that need one then skip.
  static std::unique_ptr<KafkaBroker> start(const KafkaBrokerOptions& options, std::string* why_not);
  ~KafkaBroker();
  KafkaBroker(const KafkaBroker&) = delete;
  KafkaBroker& operator=(const KafkaBroker&) = delete;

  std::string bootstrap() const { return "127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }
  int proxied_port() const { return proxied_port_; }
  pid_t pid() const { return pid_; }  // 0: not running
  const std::string& log_file() const { return log_file_; }
  // SIGTERM, after 20 s SIGKILL. Idempotent.
  void stop();
  void kill9();
  // Starts it again on the same ports and data; waits until it answers. Precondition: stopped or killed.
  bool restart();
  void suspend();
  void resume();

 private:
  KafkaBroker() = default;
  void choose_ports();
  void write_properties();
  bool format();
  bool launch();
  bool wait_until_up();
  bool reap(int timeout_ms);

  KafkaBrokerOptions options_;
  std::string jars_;
  std::string folder_;
  std::string properties_file_;
  std::string log_file_;
  int port_ = 0;
  int controller_port_ = 0;
  int proxied_port_ = 0;
  pid_t pid_ = 0;
};

// A port of 127.0.0.1 that nobody listens on now.
int free_port();

}  // namespace millrace
