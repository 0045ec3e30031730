// AdminServer: the HTTP port of a running millrace: /livez (also /healthz), /readyz, /metrics, /version. One thread of
// its own runs everything; the numbers come from a function that copies them. Reading only: nothing that a request
// says changes anything.
//
// Access: the default address is loopback, where the Host header must name it. Any other address needs a token file;
// with a token every path but /livez, /healthz and /readyz wants "Authorization: Bearer <token>". The token is read
// once, at the start. No TLS and no CORS.
// Limits: 64 connections (one more is closed at once), header 8 KiB, body 64 KiB, 10 s for a request to arrive, for an
// answer to leave and for an idle connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "server/pipeline_view.h"

namespace millrace {

struct AdminOptions {
  std::string listen = "127.0.0.1:7490";  // port 0: a free one
  std::string token_file;                 // empty: none
};

class AdminServer {
 public:
  // Returns when the port is open. kAdmin: a wrong address or token file, another address than loopback without a token
  // (user), or the address cannot be had (terminal). `pipelines` is called until stop() has returned.
  static Result<std::unique_ptr<AdminServer>> start(AdminOptions options, PipelineViews pipelines,
                                                    BuildVersions versions, Logger log);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;

  uint16_t port() const;
  // Closes the port and all connections. Idempotent; not from the `pipelines` function.
  void stop();

 private:
  class Loop;
  explicit AdminServer(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace millrace
