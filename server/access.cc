#include "server/access.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/file.h"

namespace millrace {
namespace {

constexpr size_t kMaxTokenFileBytes = 4096;

bool parse_port(std::string_view text, uint16_t* port) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *port);
  return error == std::errc() && end == text.data() + text.size();
}

// "[::1]:80" -> "[::1]", "localhost" -> "localhost". False when what follows the host is not a port.
bool split_port(std::string_view host, std::string_view* name, uint16_t* port) {
  const size_t bracket = host.rfind(']');
  const size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  *name = host.substr(0, colon);
  return colon == std::string_view::npos || parse_port(host.substr(colon + 1), port);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace

Result<ListenAddress> parse_listen_address(const std::string& listen) {
  const auto fault = [&listen](const char* what) {
    return Status::user(Code::kAdmin, "admin.listen \"" + listen + "\": " + what);
  };
  std::string_view name;
  ListenAddress result;
  const size_t colon = listen.rfind(':');
  if (colon == std::string::npos || !split_port(listen, &name, &result.port) || name.size() != colon)
    return fault("not an address and a port such as 127.0.0.1:7490 or [::1]:7490");
  if (name == "localhost") name = "127.0.0.1";
  const bool brackets = name.size() >= 2 && name.front() == '[' && name.back() == ']';
  if (brackets) name = name.substr(1, name.size() - 2);
  boost::system::error_code error;
  result.address = boost::asio::ip::make_address(std::string(name), error);
  if (error || result.address.is_v6() != brackets) return fault("the host is not an IP address or localhost");
  return result;
}

Result<std::string> read_token_file(const std::string& path) {
  const auto fault = [&path](const std::string& what) {
    return Status::user(Code::kAdmin, "admin.token_file " + path + ": " + what);
  };
  // O_NONBLOCK: a pipe must not hang the start.
  auto file = open_file(path, O_RDONLY | O_NONBLOCK);
  if (!file.is_ok()) return fault(file.status().message());
  struct stat status {};
  if (fstat(file->get(), &status) != 0) return fault(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return fault("not a regular file");
  if ((status.st_mode & (S_IROTH | S_IWOTH)) != 0)
    return fault("others may read or write it; chmod it to 0600 or 0640");
  std::array<char, kMaxTokenFileBytes + 1> bytes;
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t count = read(file->get(), bytes.data() + size, bytes.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fault(std::strerror(errno));
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  if (size > kMaxTokenFileBytes) return fault("larger than " + std::to_string(kMaxTokenFileBytes) + " bytes");
  const std::string_view token = trim({bytes.data(), size});
  if (token.empty()) return fault("empty");
  if (!std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; }))
    return fault("a token is one line of visible ASCII characters");
  return std::string(token);
}

bool is_authorized(std::string_view authorization, std::string_view token) {
  constexpr std::string_view kScheme = "Bearer ";
  if (token.empty() || !equal_ignoring_case(authorization.substr(0, kScheme.size()), kScheme)) return false;
  const std::string_view given = trim(authorization.substr(kScheme.size()));
  if (given.empty()) return false;
  // volatile: the loop must not end at the first difference.
  volatile unsigned difference = given.size() == token.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); i++) {
    const auto a = static_cast<unsigned char>(given[i]);
    const auto b = static_cast<unsigned char>(token[i % token.size()]);
    difference = difference | static_cast<unsigned>(a ^ b);
  }
  return difference == 0;
}

bool is_loopback_host(std::string_view host, const boost::asio::ip::address& address) {
  std::string_view name;
  uint16_t port = 0;
  if (!split_port(host, &name, &port)) return false;
  return equal_ignoring_case(name, "localhost") || name == "127.0.0.1" || name == "[::1]" ||
         name == address.to_string();
}

}  // namespace millrace
