// TcpProxy: stands between Kafka clients and a broker, on a loopback port, and misbehaves on request. It understands
// the framing of the Kafka protocol (length, then API key and correlation id), so it can cut a connection between a
// request and its answer. Methods: any thread; the work is done on a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

namespace millrace {

inline constexpr int kKafkaProduce = 0;
inline constexpr int kKafkaTxnOffsetCommit = 28;
inline constexpr int kKafkaEndTxn = 26;

class TcpProxy {
 public:
  // Listens at once; connections are forwarded to 127.0.0.1:upstream_port, which may be set later.
  TcpProxy();
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  void forward_to(int upstream_port) { upstream_port_ = upstream_port; }
  // The next request with this API key reaches the broker; when its answer comes, the connection is cut instead.
  void cut_answer_of(int api_key) { cut_answer_of_ = api_key; }
  // The next request with this API key is not forwarded; the connection is cut.
  void cut_before(int api_key) { cut_before_ = api_key; }
  // The next request with this API key is late: its connection is cut for the client at once, but the request reaches
  // the broker after so many milliseconds.
  void hold_back(int api_key, int ms) {
    hold_ms_ = ms;
    hold_back_ = api_key;
  }
  // Connections are cut when this many more bytes came from clients; -1: never.
  void cut_after_bytes(int64_t bytes) { cut_after_bytes_ = bytes; }
  // Every frame waits this long, in both directions.
  void delay_ms(int ms) { delay_ms_ = ms; }
  // Closes all connections and, while refusing, new ones as soon as they are made.
  void cut_all() { cut_all_ = true; }
  void refuse(bool refusing) { refusing_ = refusing; }
  // Cuts made by the rules above.
  int cuts() const { return cuts_; }

 private:
  struct Connection;
  void run();

  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> upstream_port_{0};
  std::atomic<int> cut_answer_of_{-1};
  std::atomic<int> cut_before_{-1};
  std::atomic<int> hold_back_{-1};
  std::atomic<int> hold_ms_{0};
  std::atomic<int64_t> cut_after_bytes_{-1};
  std::atomic<int> delay_ms_{0};
  std::atomic<bool> cut_all_{false};
  std::atomic<bool> refusing_{false};
  std::atomic<int> cuts_{0};
  std::thread thread_;
};

}  // namespace millrace
