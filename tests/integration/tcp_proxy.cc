#include "tests/integration/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "base/check.h"

namespace millrace {
namespace {

constexpr int kTickMs = 2;
constexpr int kHeldLingerMs = 200;
constexpr size_t kMaxConnections = 256;
constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kMaxWaitingBytes = 4 << 20;  // then reading pauses

int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

int32_t int_at(const std::string& bytes, size_t offset) {
  uint32_t value = 0;
  std::memcpy(&value, bytes.data() + offset, 4);
  return static_cast<int32_t>(ntohl(value));
}

int api_key_of(const std::string& frame) {
  uint16_t value = 0;
  std::memcpy(&value, frame.data() + 4, 2);
  return ntohs(value);
}

// One direction of a connection: bytes read, cut into frames, which are written when they are due.
struct Stream {
  int from = -1;
  int to = -1;
  std::string partial;
  struct Frame {
    std::string bytes;
    int64_t due_ms;
  };
  std::deque<Frame> frames;
  size_t written = 0;  // of the first frame
  size_t waiting_bytes = 0;

  // The next complete frame of what was read.
  bool next(std::string* frame) {
    if (partial.size() < 4) return false;
    const size_t size = 4 + static_cast<size_t>(int_at(partial, 0));
    if (partial.size() < size || size < 12) return false;
    *frame = partial.substr(0, size);
    partial.erase(0, size);
    return true;
  }
  void push(std::string frame, int64_t due_ms) {
    waiting_bytes += frame.size();
    frames.push_back({std::move(frame), due_ms});
  }
  // False: the connection is broken.
  bool write_due() {
    while (!frames.empty() && frames.front().due_ms <= now_ms()) {
      const std::string& bytes = frames.front().bytes;
      const ssize_t sent = ::send(to, bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) return errno == EAGAIN || errno == EINTR;
      written += static_cast<size_t>(sent);
      if (written < bytes.size()) return true;
      waiting_bytes -= bytes.size();
      frames.pop_front();
      written = 0;
    }
    return true;
  }
  // Bytes read, 0: nothing there; -1: closed.
  ssize_t read() {
    char buffer[kReadBytes];
    const ssize_t count = ::recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count > 0) partial.append(buffer, static_cast<size_t>(count));
    if (count == 0) return -1;
    if (count < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return count;
  }
};

}  // namespace

struct TcpProxy::Connection {
  Stream requests;
  Stream answers;
  int32_t cut_at_answer = -1;  // correlation id
  bool cutting = false;
  int64_t held_until_ms = 0;  // the client is gone; what is due goes to the broker, then the connection ends
  ~Connection() {
    ::close(requests.from);
    ::close(requests.to);
  }
};

TcpProxy::TcpProxy() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  MR_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
  MR_CHECK(::listen(listener_, 64) == 0);
  MR_CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

TcpProxy::~TcpProxy() {
  stopping_ = true;
  thread_.join();
  ::close(listener_);
}

void TcpProxy::run() {
  std::vector<std::unique_ptr<Connection>> connections;

  auto accept_one = [&] {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int broker = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(upstream_port_);
    const int on = 1;
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(broker, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto connection = std::make_unique<Connection>();
    connection->requests.from = connection->answers.to = client;
    connection->requests.to = connection->answers.from = broker;
    const bool refused = refusing_ || upstream_port_ == 0 || connections.size() >= kMaxConnections;
    if (refused || ::connect(broker, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
    connections.push_back(std::move(connection));
  };

  // False: cut.
  auto pass_requests = [&](Connection& connection) {
    const ssize_t count = connection.requests.read();
    if (count < 0) return false;
    if (cut_after_bytes_ >= 0 && (cut_after_bytes_ -= count) < 0) {
      cut_after_bytes_ = -1;
      cuts_++;
      return false;
    }
    std::string frame;
    while (connection.requests.next(&frame)) {
      const int api_key = api_key_of(frame);
      int expected = api_key;
      if (cut_before_.compare_exchange_strong(expected, -1)) {
        cuts_++;
        return false;
      }
      expected = api_key;
      if (hold_back_.compare_exchange_strong(expected, -1)) {
        cuts_++;
        connection.held_until_ms = now_ms() + hold_ms_;
        connection.requests.push(std::move(frame), connection.held_until_ms);
        ::shutdown(connection.requests.from, SHUT_RDWR);
        return true;
      }
      expected = api_key;
      if (cut_answer_of_.compare_exchange_strong(expected, -1)) {
        connection.cutting = true;
        connection.cut_at_answer = int_at(frame, 8);
      }
      connection.requests.push(std::move(frame), now_ms() + delay_ms_);
    }
    return true;
  };

  auto pass_answers = [&](Connection& connection) {
    if (connection.answers.read() < 0) return false;
    std::string frame;
    while (connection.answers.next(&frame)) {
      if (connection.cutting && int_at(frame, 4) == connection.cut_at_answer) {
        cuts_++;
        return false;
      }
      connection.answers.push(std::move(frame), now_ms() + delay_ms_);
    }
    return true;
  };

  auto serve = [&](Connection& connection) {
    if (connection.held_until_ms != 0) {
      // A moment longer than due, for the broker to read it.
      return connection.requests.write_due() && now_ms() < connection.held_until_ms + kHeldLingerMs;
    }
    return pass_requests(connection) && pass_answers(connection) && connection.requests.write_due() &&
           connection.answers.write_due();
  };

  while (!stopping_) {
    std::vector<pollfd> polled = {{listener_, POLLIN, 0}};
    for (const auto& connection : connections) {
      const bool full = connection->requests.waiting_bytes > kMaxWaitingBytes;
      polled.push_back({connection->requests.from, static_cast<short>(full ? 0 : POLLIN), 0});
      polled.push_back({connection->answers.from, POLLIN, 0});
    }
    ::poll(polled.data(), polled.size(), kTickMs);
    if (cut_all_.exchange(false)) connections.clear();
    if (polled[0].revents != 0) accept_one();
    std::erase_if(connections, [&](const std::unique_ptr<Connection>& connection) { return !serve(*connection); });
  }
}

}  // namespace millrace
