#include "server/access.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace millrace {
namespace {

std::string address_of(const std::string& listen) {
  auto result = parse_listen_address(listen);
  if (!result.is_ok()) {
    CHECK(result.status().code() == Code::kAdmin);
    CHECK(result.status().fault() == Fault::kUser);
    return "error";
  }
  return result->address.to_string() + " " + std::to_string(result->port);
}

// A file in a folder of its own, removed at the end.
class TokenFile {
 public:
  TokenFile(const std::string& text, mode_t mode) {
    char name[] = "/tmp/millrace-token-XXXXXX";
    const int fd = mkstemp(name);
    REQUIRE(fd >= 0);
    close(fd);
    path_ = name;
    std::ofstream(path_) << text;
    REQUIRE(chmod(path_.c_str(), mode) == 0);
  }
  ~TokenFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string token_of(const std::string& text, mode_t mode = 0600) {
  const TokenFile file(text, mode);
  auto result = read_token_file(file.path());
  if (result.is_ok()) return *result;
  CHECK(result.status().code() == Code::kAdmin);
  CHECK(result.status().fault() == Fault::kUser);
  return "error: " + result.status().message().substr(result.status().message().rfind(": ") + 2);
}

TEST_CASE("access: listen addresses") {
  CHECK(address_of("127.0.0.1:7490") == "127.0.0.1 7490");
  CHECK(address_of("localhost:0") == "127.0.0.1 0");
  CHECK(address_of("0.0.0.0:80") == "0.0.0.0 80");
  CHECK(address_of("[::1]:7490") == "::1 7490");
  CHECK(address_of("[::]:1") == ":: 1");
  for (const char* wrong :
       {"", "7490", ":7490", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1", "::1:7490",
        "[::1]", "[::1]7490", "[127.0.0.1]:1", "example.org:80", "127.0.0.1:80:90", "[::1]:80 ", "127.1:80"})
    CHECK_MESSAGE(address_of(wrong) == "error", wrong);
}

TEST_CASE("access: token files") {
  CHECK(token_of("s3cret\n") == "s3cret");
  CHECK(token_of("  s3cret \r\n", 0640) == "s3cret");
  CHECK(token_of("s3cret", 0644).starts_with("error: others may read"));
  CHECK(token_of("s3cret", 0602).starts_with("error: others may read"));
  CHECK(token_of(" \n") == "error: empty");
  CHECK(token_of("two words").starts_with("error: a token is one line"));
  CHECK(token_of("two\nlines").starts_with("error: a token is one line"));
  CHECK(token_of("t\xc3\xa4").starts_with("error: a token is one line"));
  CHECK(token_of(std::string(5000, 'x')).starts_with("error: larger than"));
  CHECK_FALSE(read_token_file("/nonexistent/token").is_ok());
  CHECK_FALSE(read_token_file("/tmp").is_ok());
}

TEST_CASE("access: bearer tokens") {
  CHECK(is_authorized("Bearer abc", "abc"));
  CHECK(is_authorized("bearer  abc ", "abc"));
  for (const char* wrong : {"", "Bearer", "Bearer ", "Bearer ab", "Bearer abcd", "Bearer abcabc", "Bearer Abc",
                            "Basic abc", "abc", "Bearer abc abc"})
    CHECK_MESSAGE(!is_authorized(wrong, "abc"), wrong);
  CHECK_FALSE(is_authorized("Bearer ", ""));
  CHECK_FALSE(is_authorized("Bearer x", ""));
}

TEST_CASE("access: hosts of a loopback port") {
  const auto loopback = boost::asio::ip::make_address("127.0.0.1");
  for (const char* good : {"localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:7490", "[::1]", "[::1]:7490"})
    CHECK_MESSAGE(is_loopback_host(good, loopback), good);
  for (const char* wrong : {"", ":", "evil.example", "evil.example:7490", "localhost.evil.example", "127.0.0.1.nip.io",
                            "localhost:", "localhost:x", "localhost:80:90", "::1", "[::1]x", "127.0.0.2", "[::1"})
    CHECK_MESSAGE(!is_loopback_host(wrong, loopback), wrong);
  CHECK(is_loopback_host("127.0.0.2:80", boost::asio::ip::make_address("127.0.0.2")));
}

}  // namespace
}  // namespace millrace
