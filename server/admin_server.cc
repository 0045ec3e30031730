#include "server/admin_server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>
#include <thread>

#include "server/access.h"
#include "server/endpoints.h"

namespace millrace {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

constexpr uint32_t kMaxHeaderBytes = 8 << 10;
constexpr uint64_t kMaxBodyBytes = 64 << 10;
constexpr size_t kMaxConnections = 64;
constexpr std::chrono::seconds kTimeout{10};
constexpr std::chrono::seconds kObserveInterval{1};
constexpr std::chrono::milliseconds kAcceptRetry{100};
// How much of a refused request is read and thrown away, so that the answer is not lost with a reset connection.
constexpr size_t kMaxDrainBytes = 256 << 10;
constexpr std::chrono::seconds kDrainTimeout{2};

// The value of a header that is there exactly once.
std::optional<std::string_view> only_value(const http::fields& fields, http::field name) {
  const auto [first, end] = fields.equal_range(name);
  if (first == end || std::next(first) != end) return std::nullopt;
  return std::string_view(first->value().data(), first->value().size());
}

// The answer to what did not parse; nullopt when the peer has gone or was too slow.
std::optional<AdminAnswer> parse_error_answer(const error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return error_answer(431, "the header is longer than 8 KiB");
  if (error == http::error::body_limit) return error_answer(413, "the body is longer than 64 KiB");
  if (error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  if (error.category() == make_error_code(http::error::bad_method).category())
    return error_answer(400, "not an HTTP request");
  return std::nullopt;
}

// One connection: read, answer, and again. Kept alive by the handler that waits; ends when none does.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, AdminEndpoints& endpoints, size_t& connections)
      : stream_(std::move(socket)), endpoints_(endpoints), connections_(connections) {
    connections_++;
  }
  ~Session() { connections_--; }
  Session(const Session&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeaderBytes);
    parser_->body_limit(kMaxBodyBytes);
    stream_.expires_after(kTimeout);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, size_t) { self->got(error); });
  }

 private:
  void got(const error_code& error) {
    if (error) {
      if (auto answer = parse_error_answer(error)) write(*std::move(answer), 11, false, false);
      return;
    }
    const auto& request = parser_->get();
    const auto view = [](beast::string_view text) { return std::string_view(text.data(), text.size()); };
    AdminAnswer answer =
        endpoints_.answer({view(request.method_string()), view(request.target()),
                           only_value(request, http::field::host), only_value(request, http::field::authorization)});
    write(std::move(answer), request.version(), request.keep_alive(), request.method() == http::verb::head);
  }

  void write(AdminAnswer answer, unsigned version, bool keep_alive, bool is_head) {
    response_ = {};
    response_.version(version);
    response_.result(answer.status);
    response_.set(http::field::content_type, answer.content_type);
    response_.set(http::field::cache_control, "no-store");
    response_.set("X-Content-Type-Options", "nosniff");
    if (answer.status == 401) response_.set(http::field::www_authenticate, "Bearer");
    if (answer.status == 405) response_.set(http::field::allow, "GET");
    // 503 is the ordinary answer of /readyz; the others are for requests that should not have come.
    response_.keep_alive(keep_alive && (answer.status < 400 || answer.status == 503));
    if (!is_head) response_.body() = std::move(answer.body);
    response_.prepare_payload();
    stream_.expires_after(kTimeout);
    http::async_write(stream_, response_, [self = shared_from_this()](error_code error, size_t) {
      if (error) return;
      self->response_.need_eof() ? self->close() : self->read();
    });
  }

  void close() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(kDrainTimeout);
    drain();
  }

  void drain() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(kMaxHeaderBytes),
                            [self = shared_from_this()](error_code error, size_t size) {
                              self->drained_ += size;
                              if (!error && self->drained_ < kMaxDrainBytes) self->drain();
                            });
  }

  beast::tcp_stream stream_;
  AdminEndpoints& endpoints_;
  size_t& connections_;
  beast::flat_buffer buffer_{2 * kMaxHeaderBytes};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  size_t drained_ = 0;
};

}  // namespace

class AdminServer::Loop {
 public:
  Loop(AdminEndpoints::Settings settings, Logger log) : endpoints_(std::move(settings)), log_(std::move(log)) {}
  ~Loop() { stop(); }

  Status listen(const tcp::endpoint& endpoint) {
    error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (!error) port_ = acceptor_.local_endpoint(error).port();
    return error ? Status::terminal(Code::kAdmin, error.message()) : Status::ok();
  }

  void run() {
    accept();
    asio::post(context_, [this] { observe(); });
    thread_ = std::thread([this] { context_.run(); });
  }

  void stop() {
    context_.stop();
    if (thread_.joinable()) thread_.join();
    error_code ignored;
    acceptor_.close(ignored);
  }

  uint16_t port() const { return port_; }

 private:
  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (error) return accept_later(error);
      if (connections_ < kMaxConnections)
        std::make_shared<Session>(std::move(socket), endpoints_, connections_)->read();
      accept();
    });
  }

  // Out of descriptors, most likely: trying again at once would only burn CPU.
  void accept_later(const error_code& error) {
    log_.warn("admin port: cannot accept a connection: {}", error.message());
    retry_.expires_after(kAcceptRetry);
    retry_.async_wait([this](error_code) { accept(); });
  }

  void observe() {
    endpoints_.observe();
    observe_.expires_after(kObserveInterval);
    observe_.async_wait([this](error_code) { observe(); });
  }

  // In front of context_: what is left in it when it goes still refers to these.
  AdminEndpoints endpoints_;
  Logger log_;
  size_t connections_ = 0;
  asio::io_context context_{1};
  tcp::acceptor acceptor_{context_};
  asio::steady_timer retry_{context_};
  asio::steady_timer observe_{context_};
  uint16_t port_ = 0;
  std::thread thread_;
};

AdminServer::AdminServer(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
AdminServer::~AdminServer() = default;
uint16_t AdminServer::port() const { return loop_->port(); }
void AdminServer::stop() { loop_->stop(); }

Result<std::unique_ptr<AdminServer>> AdminServer::start(AdminOptions options, PipelineViews pipelines,
                                                        BuildVersions versions, Logger log) {
  MR_ASSIGN(const ListenAddress listen, parse_listen_address(options.listen));
  std::string token;
  if (!options.token_file.empty()) {
    MR_ASSIGN(token, read_token_file(options.token_file));
  } else if (!listen.address.is_loopback()) {
    return Status::user(
        Code::kAdmin, "admin.listen \"" + options.listen + "\": an address other than loopback needs admin.token_file");
  }
  auto loop = std::make_unique<Loop>(
      AdminEndpoints::Settings{listen.address, std::move(token), std::move(pipelines), std::move(versions)}, log);
  if (Status status = loop->listen({listen.address, listen.port}); !status.is_ok())
    return status.with_context("cannot listen on " + options.listen);
  loop->run();
  log.info("admin port on http://{}:{}",
           listen.address.is_v6() ? "[" + listen.address.to_string() + "]" : listen.address.to_string(), loop->port());
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(loop)));
}

}  // namespace millrace
