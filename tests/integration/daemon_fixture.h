// The real binary on a real broker: one broker with a proxy in front for all tests of a program, and per test a
// pipeline of its own (topics, group, data folder), whose processes are started, watched and ended from outside.
#pragma once

#include <doctest/doctest.h>
#include <signal.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/broker.h"
#include "tests/integration/tcp_proxy.h"
#include "tests/soak/daemon_process.h"
#include "tests/soak/orders_world.h"
#include "tests/soak/topic_client.h"

namespace millrace {

struct DaemonBroker {
  TcpProxy proxy;
  std::unique_ptr<KafkaBroker> broker;
  std::string proxied() const { return "127.0.0.1:" + std::to_string(proxy.port()); }
};

// Started on first use; nullptr, with a message, when there is none to be had.
DaemonBroker* daemon_broker();

#define NEED_BROKER()                          \
  DaemonBroker* const kafka = daemon_broker(); \
  if (kafka == nullptr) return

// Polls until the condition holds, at most timeout_ms.
bool eventually(int timeout_ms, const std::function<bool()>& condition);

struct Restored {
  std::string from;  // empty | local | tail | full; "" if the log does not say
  int64_t records = -1;
};

// One process of a pipeline with a log of its own.
class TestDaemon {
 public:
  TestDaemon(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
             std::string log_file);
  void signal(int number) const { process_.signal(number); }
  // The exit code; 128 + number after a signal; -1 when it still runs after timeout_ms.
  int exit_code(int timeout_ms = 30'000);
  int stop();    // SIGTERM
  void kill9();  // and waits
  bool running() { return process_.running(); }
  std::string log() const;
  bool says(const std::string& text, int timeout_ms = 20'000) const;
  // What the last "state restored from" line of the log says.
  Restored restored() const;

 private:
  std::string log_file_;
  DaemonProcess process_;
};

struct TestPipelineOptions {
  std::string brokers;      // empty: the broker itself
  int partitions = 4;       // of the input topic, which is made by the test
  std::string source = "";  // more keys of the source's kafka map: ", on_missing_topic: fail"
  std::string on_error = "fail";
  std::string state = "";       // a whole line
  std::string more_sinks = "";  // whole lines; @ is the name of the pipeline
  std::string emit = "update";
  std::map<std::string, std::string> input_settings;  // of the input topic
  bool create_input = true;
};

// Running revenue per customer from topic in() to topic out().
class TestPipeline {
 public:
  TestPipeline(const DaemonBroker& kafka, const std::string& label, TestPipelineOptions options = {});
  ~TestPipeline();
  TestPipeline(const TestPipeline&) = delete;

  const std::string& name() const { return name_; }
  std::string in() const { return name_ + "-in"; }
  std::string out() const { return name_ + "-out"; }
  const std::string& folder() const { return folder_; }
  std::string data(const std::string& suffix = "") const { return folder_ + "/data" + suffix; }
  std::string state() const { return data() + "/" + name_ + "/state"; }
  const TopicClient& topics() const { return topics_; }
  OrdersOptions& orders() { return orders_; }

  // data_suffix: another data_dir.
  std::unique_ptr<TestDaemon> start(const std::vector<std::string>& more = {}, const std::string& data_suffix = "");
  // The next n orders; per_second 0: at once.
  void load(uint64_t n, uint64_t per_second = 0);
  void start_writing(uint64_t n, uint64_t per_second);  // in the background; join with finish_writing()
  void finish_writing();
  uint64_t loaded() const { return loaded_; }
  // Until the group's offsets are at the end of the input.
  bool caught_up(int timeout_ms = 40'000) const;
  // Every output of the orders loaded so far is exact; "" or what is wrong.
  std::string problems() const;
  // Rows in the output.
  uint64_t output_rows() const;

 private:
  void write_files();
  std::string with_name(std::string text) const;
  const TestPipelineOptions options_;
  std::string name_;
  std::string folder_;
  std::string brokers_;
  TopicClient topics_;
  OrdersOptions orders_;
  uint64_t loaded_ = 0;
  int starts_ = 0;
  std::thread writer_;
};

}  // namespace millrace
