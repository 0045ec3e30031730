// A blocking HTTP client on a plain socket, which can also say what no proper client would.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

class TestConnection {
 public:
  // To 127.0.0.1, or to ::1 with v6.
  explicit TestConnection(uint16_t port, bool v6 = false);
  ~TestConnection();
  TestConnection(const TestConnection&) = delete;

  // False when the peer has closed.
  bool send(std::string_view bytes);
  // What arrives until the peer closes or timeout_ms pass without a byte.
  std::string receive_all(int timeout_ms = 5000);
  // One response with a Content-Length; "" when the peer closed before.
  std::string receive_response();
  // True when the peer closes within timeout_ms.
  bool is_closed_within(int timeout_ms);

 private:
  bool receive_some(int timeout_ms);
  int fd_ = -1;
  std::string buffer_;
  bool closed_ = false;
};

struct TestResponse {
  int status = 0;
  std::string head;
  std::string body;
};
TestResponse parse_response(const std::string& text);
// A request of its own connection; headers: "Name: value\r\n" lines, Host included if wanted.
TestResponse http_request(uint16_t port, std::string_view request_line, std::string_view headers);
// GET with the usual Host.
TestResponse http_get(uint16_t port, std::string_view path, std::string_view more_headers = "");

}  // namespace millrace
