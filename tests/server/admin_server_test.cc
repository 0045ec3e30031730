#include "server/admin_server.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <mutex>
#include <thread>

#include "tests/server/http_client.h"

namespace millrace {
namespace {

// A server and the pipelines that it shows.
class Served {
 public:
  explicit Served(AdminOptions options = {"127.0.0.1:0", ""}) {
    auto server = AdminServer::start(
        std::move(options),
        [this] {
          std::lock_guard lock(mutex_);
          return views_;
        },
        {"1.2.3", "2.14.0", "7.8.3"}, Logger());
    REQUIRE_MESSAGE(server.is_ok(), server.status().to_string());
    server_ = std::move(server).value();
  }
  void set(std::vector<PipelineView> views) {
    std::lock_guard lock(mutex_);
    views_ = std::move(views);
  }
  AdminServer& server() { return *server_; }
  uint16_t port() const { return server_->port(); }
  TestResponse get(std::string_view path, std::string_view headers = "") { return http_get(port(), path, headers); }

 private:
  std::mutex mutex_;
  std::vector<PipelineView> views_;
  std::unique_ptr<AdminServer> server_;
};

PipelineView view(const std::string& name, PipelineState state, bool connected = true) {
  PipelineView view;
  view.name = name;
  view.mode = "none";
  view.status.state = state;
  view.status.sources_connected = connected;
  return view;
}

class TokenFile {
 public:
  explicit TokenFile(mode_t mode = 0600) : path_("/tmp/millrace-admin-token-" + std::to_string(getpid())) {
    std::ofstream(path_) << "s3cret\n";
    REQUIRE(chmod(path_.c_str(), mode) == 0);
  }
  ~TokenFile() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Status start_fails(AdminOptions options) {
  auto server = AdminServer::start(
      std::move(options), [] { return std::vector<PipelineView>(); }, {}, Logger());
  REQUIRE_FALSE(server.is_ok());
  CHECK(server.status().code() == Code::kAdmin);
  return server.status();
}

TEST_CASE("admin server: liveness and version") {
  Served served;
  CHECK(served.port() != 0);
  CHECK(served.get("/livez").status == 200);
  CHECK(served.get("/healthz").status == 200);
  CHECK(served.get("/livez?verbose").status == 200);
  const TestResponse version = served.get("/version");
  CHECK(version.status == 200);
  CHECK(version.head.find("Content-Type: application/json\r\n") != std::string::npos);
  CHECK(version.head.find("Access-Control") == std::string::npos);
  CHECK(version.body ==
        "{\"name\":\"millrace\",\"version\":\"1.2.3\",\"librdkafka\":\"2.14.0\",\"rocksdb\":\"7.8.3\"}\n");
}

TEST_CASE("admin server: readiness") {
  Served served;
  CHECK(served.get("/readyz").status == 200);  // no pipelines
  served.set({view("a", PipelineState::kRunning), view("b", PipelineState::kCompleted)});
  const TestResponse ready = served.get("/readyz");
  CHECK(ready.status == 200);
  CHECK(ready.body == "{\"ready\":true}\n");
  served.set({view("a", PipelineState::kRunning), view("b", PipelineState::kRestoring),
              view("c", PipelineState::kRunning, false)});
  const TestResponse unready = served.get("/readyz");
  CHECK(unready.status == 503);
  CHECK(unready.body ==
        "{\"ready\":false,\"reasons\":["
        "{\"pipeline\":\"b\",\"state\":\"restoring\",\"reason\":\"restoring\"},"
        "{\"pipeline\":\"c\",\"state\":\"running\",\"reason\":\"source_unreachable\"}]}\n");
  for (const PipelineState state : {PipelineState::kStarting, PipelineState::kRestoring, PipelineState::kStopping,
                                    PipelineState::kStopped, PipelineState::kFailed, PipelineState::kWaiting}) {
    served.set({view("a", state)});
    CHECK_MESSAGE(served.get("/readyz").status == 503, to_string(state));
    CHECK(served.get("/livez").status == 200);
  }
}

TEST_CASE("admin server: metrics, whose counters survive a restart of the pipeline") {
  Served served;
  PipelineView pipeline = view("p", PipelineState::kRunning);
  pipeline.status.counts["source/in"].in = 100;
  served.set({pipeline});
  const TestResponse first = served.get("/metrics");
  CHECK(first.status == 200);
  CHECK(first.head.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n") != std::string::npos);
  const std::string series = "millrace_records_in_total{pipeline=\"p\",source=\"in\"} ";
  CHECK(first.body.find(series + "100\n") != std::string::npos);
  pipeline.restarts = 1;
  pipeline.status.counts["source/in"].in = 30;
  served.set({pipeline});
  const TestResponse second = served.get("/metrics");
  CHECK(second.body.find(series + "130\n") != std::string::npos);
  CHECK(second.body.find("millrace_pipeline_restarts_total{pipeline=\"p\"} 1\n") != std::string::npos);
}

TEST_CASE("admin server: a restart between two scrapes is seen") {
  Served served;
  PipelineView pipeline = view("p", PipelineState::kRunning);
  pipeline.status.counts["source/in"].in = 100;
  served.set({pipeline});
  served.get("/metrics");
  served.set({view("p", PipelineState::kRestoring)});  // no counts yet
  std::this_thread::sleep_for(std::chrono::milliseconds(1600));
  pipeline.status.counts["source/in"].in = 500;
  served.set({pipeline});
  CHECK(served.get("/metrics").body.find("millrace_records_in_total{pipeline=\"p\",source=\"in\"} 600\n") !=
        std::string::npos);
}

TEST_CASE("admin server: other paths and methods") {
  Served served;
  for (const char* path : {"/", "/metric", "/metrics/", "/livez/x", "/../etc/passwd", "*", "http://localhost/livez"}) {
    const TestResponse response = served.get(path);
    CHECK_MESSAGE(response.status == 404, path);
    CHECK(response.body == "{\"error\":\"no such path\"}\n");
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"}) {
    const TestResponse response = http_request(served.port(), std::string(method) + " /livez HTTP/1.1",
                                               "Host: localhost\r\nContent-Length: 0\r\n");
    CHECK_MESSAGE(response.status == 405, method);
    CHECK(response.head.find("Allow: GET\r\n") != std::string::npos);
  }
  const TestResponse head = http_request(served.port(), "HEAD /livez HTTP/1.1", "Host: localhost\r\n");
  CHECK(head.status == 405);
  CHECK(head.body.empty());
}

TEST_CASE("admin server: a loopback port answers only to its own names") {
  Served served;
  const auto status = [&served](const std::string& headers) {
    return http_request(served.port(), "GET /livez HTTP/1.1", headers).status;
  };
  CHECK(status("Host: localhost:7490\r\n") == 200);
  CHECK(status("Host: 127.0.0.1\r\n") == 200);
  CHECK(status("Host: [::1]:1\r\n") == 200);
  CHECK(status("Host: evil.example\r\n") == 403);
  CHECK(status("Host: localhost.evil.example:7490\r\n") == 403);
  CHECK(status("Host: \r\n") == 403);
  CHECK(status("") == 400);
  CHECK(status("Host: localhost\r\nHost: evil.example\r\n") == 400);
}

TEST_CASE("admin server: with a token") {
  const TokenFile token;
  Served served({"0.0.0.0:0", token.path()});
  served.set({view("a", PipelineState::kFailed)});
  const std::string good = "Authorization: Bearer s3cret\r\n";
  for (const char* path : {"/metrics", "/version", "/nothing"}) {
    const TestResponse response = served.get(path);
    CHECK_MESSAGE(response.status == 401, path);
    CHECK(response.head.find("WWW-Authenticate: Bearer\r\n") != std::string::npos);
    CHECK(served.get(path, "Authorization: Bearer s3creT\r\n").status == 401);
    CHECK(served.get(path, good + good).status == 401);
  }
  CHECK(served.get("/metrics", good).status == 200);
  CHECK(served.get("/version", good).status == 200);
  CHECK(served.get("/nothing", good).status == 404);
  CHECK(served.get("/livez").status == 200);
  CHECK(served.get("/readyz").status == 503);
  // Off loopback the token is the guard, not the name: probes come by address.
  CHECK(http_request(served.port(), "GET /livez HTTP/1.1", "Host: 10.1.2.3:7490\r\n").status == 200);
}

TEST_CASE("admin server: what is refused at the start") {
  Status status = start_fails({"0.0.0.0:0", ""});
  CHECK(status.fault() == Fault::kUser);
  CHECK(status.message().find("needs admin.token_file") != std::string::npos);
  CHECK(start_fails({"[::]:0", ""}).fault() == Fault::kUser);
  CHECK(start_fails({"nonsense", ""}).fault() == Fault::kUser);
  CHECK(start_fails({"127.0.0.1:0", "/nonexistent/token"}).fault() == Fault::kUser);
  {
    const TokenFile readable(0644);
    CHECK(start_fails({"127.0.0.1:0", readable.path()}).fault() == Fault::kUser);
  }
  Served served;
  status = start_fails({"127.0.0.1:" + std::to_string(served.port()), ""});
  CHECK(status.retry() == Retry::kNever);
  CHECK(status.to_string() ==
        "MR4010: cannot listen on 127.0.0.1:" + std::to_string(served.port()) + ": Address already in use");
}

TEST_CASE("admin server: one connection, many requests, also pipelined") {
  Served served;
  TestConnection connection(served.port());
  const std::string request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (int i = 0; i < 5; i++) {
    REQUIRE(connection.send(request));
    CHECK(parse_response(connection.receive_response()).status == 200);
  }
  REQUIRE(connection.send(request + request + request));
  for (int i = 0; i < 3; i++) CHECK(parse_response(connection.receive_response()).status == 200);
  // In pieces.
  for (const char byte : request) REQUIRE(connection.send({&byte, 1}));
  CHECK(parse_response(connection.receive_response()).status == 200);
}

TEST_CASE("admin server: limits of header and body") {
  Served served;
  const auto answer = [&served](const std::string& text) {
    TestConnection connection(served.port());
    connection.send(text);
    return parse_response(connection.receive_all()).status;
  };
  const std::string line = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  CHECK(answer(line + "X-Long: " + std::string(7000, 'x') + "\r\n\r\n") == 200);
  CHECK(answer(line + "X-Long: " + std::string(8200, 'x') + "\r\n\r\n") == 431);
  CHECK(answer(line + "X-Long: " + std::string(150'000, 'x') + "\r\n\r\n") == 431);
  CHECK(answer("GET /" + std::string(9000, 'x') + " HTTP/1.1\r\n\r\n") == 431);
  CHECK(answer(line + "Content-Length: 65536\r\n\r\n" + std::string(65536, 'b')) == 200);
  CHECK(answer(line + "Content-Length: 65537\r\n\r\n" + std::string(65537, 'b')) == 413);
  CHECK(answer(line + "Content-Length: 99999999999999999999\r\n\r\n") == 400);
  CHECK(answer("nonsense\r\n\r\n") == 400);
  CHECK(answer("GET /livez HTTP/9.9\r\n\r\n") == 400);
  CHECK(answer(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)) == 400);  // a TLS client
  CHECK(served.get("/livez").status == 200);
}

TEST_CASE("admin server: at most 64 connections") {
  Served served;
  std::vector<std::unique_ptr<TestConnection>> open;
  const std::string request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (int i = 0; i < 64; i++) {
    open.push_back(std::make_unique<TestConnection>(served.port()));
    REQUIRE(open.back()->send(request));
    REQUIRE(parse_response(open.back()->receive_response()).status == 200);
  }
  TestConnection one_more(served.port());
  CHECK(one_more.is_closed_within(5000));
  open.clear();
  int status = 0;
  for (int i = 0; i < 100 && status != 200; i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    status = served.get("/livez").status;
  }
  CHECK(status == 200);
}

TEST_CASE("admin server: a connection that says nothing is closed after the timeout") {
  Served served;
  TestConnection silent(served.port());
  TestConnection slow(served.port());
  REQUIRE(slow.send("GET /livez HT"));
  CHECK_FALSE(silent.is_closed_within(5000));
  slow.send("TP/1.1\r\n");  // does not buy more time
  CHECK(silent.is_closed_within(10'000));
  CHECK(slow.is_closed_within(2000));
}

TEST_CASE("admin server: stop closes port and connections, twice is fine") {
  Served served;
  TestConnection open(served.port());
  REQUIRE(open.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  REQUIRE(parse_response(open.receive_response()).status == 200);
  const uint16_t port = served.port();
  served.server().stop();
  served.server().stop();
  CHECK(served.port() == port);
  Served next({"127.0.0.1:" + std::to_string(port), ""});  // the port is free
  CHECK(next.get("/livez").status == 200);
}

TEST_CASE("admin server: IPv6 loopback") {
  auto server = AdminServer::start(
      {"[::1]:0", ""}, [] { return std::vector<PipelineView>(); }, {}, Logger());
  if (!server.is_ok()) {
    MESSAGE("no IPv6 here: " << server.status().to_string());
    return;
  }
  TestConnection connection((*server)->port(), true);
  REQUIRE(connection.send("GET /readyz HTTP/1.1\r\nHost: [::1]\r\n\r\n"));
  CHECK(parse_response(connection.receive_response()).status == 200);
}

}  // namespace
}  // namespace millrace
