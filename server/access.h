// Who may talk to the admin port: the address it listens on, the token, the Host header. Any thread.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

struct ListenAddress {
  boost::asio::ip::address address;
  uint16_t port = 0;
};
// "127.0.0.1:7490", "[::1]:7490", "localhost:0"; names other than localhost are not resolved. kAdmin (user).
Result<ListenAddress> parse_listen_address(const std::string& listen);

// The token in a file: its text without white space around it. kAdmin (user) unless it is a regular file of at most
// 4 KiB that others may neither read nor write, with a token of visible ASCII characters.
Result<std::string> read_token_file(const std::string& path);

// True when an Authorization header is "Bearer <token>". Takes as long for every token of the same length, and shows
// nothing of the expected one.
bool is_authorized(std::string_view authorization, std::string_view token);

// For a port on loopback, against DNS rebinding: true when a Host header names localhost, 127.0.0.1, [::1] or the
// address itself, with any port or none.
bool is_loopback_host(std::string_view host, const boost::asio::ip::address& address);

}  // namespace millrace
