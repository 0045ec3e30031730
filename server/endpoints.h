// AdminEndpoints: what each path of the admin port answers, apart from sockets. One thread at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/metrics.h"
#include "server/access.h"
#include "server/pipeline_view.h"

namespace millrace {

struct AdminRequest {
  std::string_view method;
  std::string_view target;                        // may have a query
  std::optional<std::string_view> host;           // nullopt: missing or there twice
  std::optional<std::string_view> authorization;  // nullopt: missing or there twice
};

struct AdminAnswer {
  unsigned status = 200;
  std::string content_type = "application/json";
  std::string body;
};

// {"error": what}
AdminAnswer error_answer(unsigned status, const std::string& what);

class AdminEndpoints {
 public:
  struct Settings {
    boost::asio::ip::address address;  // on loopback, the Host header is checked
    std::string token;                 // empty: none is asked for
    PipelineViews pipelines;
    BuildVersions versions;
  };
  explicit AdminEndpoints(Settings settings) : settings_(std::move(settings)) {}

  AdminAnswer answer(const AdminRequest& request);
  // Lets the counters of /metrics see a restart between two scrapes (MetricsExporter); to be called every second.
  void observe();

 private:
  AdminAnswer readiness() const;
  AdminAnswer metrics();
  AdminAnswer version() const;

  Settings settings_;
  MetricsExporter exporter_;
};

}  // namespace millrace
