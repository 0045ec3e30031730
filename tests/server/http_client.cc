#include "tests/server/http_client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <cstdlib>

namespace millrace {

TestConnection::TestConnection(uint16_t port, bool v6) {
  fd_ = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(fd_ >= 0);
  if (v6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    address.sin6_port = htons(port);
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  } else {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    REQUIRE(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
}

TestConnection::~TestConnection() { close(fd_); }

bool TestConnection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
}

bool TestConnection::receive_some(int timeout_ms) {
  if (closed_) return false;
  pollfd wait{fd_, POLLIN, 0};
  if (poll(&wait, 1, timeout_ms) <= 0) return false;
  char bytes[16384];
  const ssize_t count = recv(fd_, bytes, sizeof bytes, 0);
  if (count <= 0) {
    closed_ = true;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(count));
  return true;
}

std::string TestConnection::receive_all(int timeout_ms) {
  while (receive_some(timeout_ms)) {
  }
  return std::move(buffer_);
}

std::string TestConnection::receive_response() {
  while (buffer_.find("\r\n\r\n") == std::string::npos)
    if (!receive_some(5000)) return "";
  const size_t body = buffer_.find("\r\n\r\n") + 4;
  const size_t header = buffer_.find("Content-Length: ");
  REQUIRE(header < body);
  const size_t size = body + std::strtoul(buffer_.c_str() + header + 16, nullptr, 10);
  while (buffer_.size() < size)
    if (!receive_some(5000)) return "";
  std::string response = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return response;
}

bool TestConnection::is_closed_within(int timeout_ms) {
  receive_some(timeout_ms);
  return closed_;
}

TestResponse parse_response(const std::string& text) {
  TestResponse response;
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos || text.size() < 12) return response;
  response.status = std::atoi(text.c_str() + 9);
  response.head = text.substr(0, end + 2);
  response.body = text.substr(end + 4);
  return response;
}

TestResponse http_request(uint16_t port, std::string_view request_line, std::string_view headers) {
  TestConnection connection(port);
  connection.send(std::string(request_line) + "\r\n" + std::string(headers) + "Connection: close\r\n\r\n");
  return parse_response(connection.receive_all());
}

TestResponse http_get(uint16_t port, std::string_view path, std::string_view more_headers) {
  return http_request(port, "GET " + std::string(path) + " HTTP/1.1",
                      "Host: localhost\r\n" + std::string(more_headers));
}

}  // namespace millrace
