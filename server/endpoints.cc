#include "server/endpoints.h"

#include <nlohmann/json.hpp>

#include "server/pipeline_metrics.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

// Why a pipeline is not ready; nullptr when it is.
const char* unready_reason(const PipelineStatus& status) {
  switch (status.state) {
    case PipelineState::kStarting: return "starting";
    case PipelineState::kRestoring: return "restoring";
    case PipelineState::kRunning: return status.sources_connected ? nullptr : "source_unreachable";
    case PipelineState::kStopping: return "draining";
    case PipelineState::kCompleted: return nullptr;
    case PipelineState::kStopped: return "stopped";
    case PipelineState::kFailed: return "failed";
    case PipelineState::kWaiting: return "waiting_for_restart";
  }
  return "unknown";
}

}  // namespace

AdminAnswer error_answer(unsigned status, const std::string& what) {
  return {status, "application/json", text_of(Json{{"error", what}})};
}

AdminAnswer AdminEndpoints::answer(const AdminRequest& request) {
  if (settings_.address.is_loopback()) {
    if (!request.host) return error_answer(400, "a request needs one Host header");
    if (!is_loopback_host(*request.host, settings_.address))
      return error_answer(403, "the Host header does not name this host");
  }
  const std::string_view path = request.target.substr(0, request.target.find('?'));
  const bool is_live = path == "/livez" || path == "/healthz";
  const bool is_open = is_live || path == "/readyz";
  if (!is_open && !settings_.token.empty() &&
      !(request.authorization && is_authorized(*request.authorization, settings_.token)))
    return error_answer(401, "a bearer token is needed");
  const bool is_known = is_open || path == "/metrics" || path == "/version";
  if (!is_known) return error_answer(404, "no such path");
  if (request.method != "GET") return error_answer(405, "only GET is allowed");
  if (is_live) return {200, "application/json", text_of(Json{{"live", true}})};
  if (path == "/readyz") return readiness();
  if (path == "/metrics") return metrics();
  return version();
}

AdminAnswer AdminEndpoints::readiness() const {
  Json reasons = Json::array();
  for (const PipelineView& pipeline : settings_.pipelines()) {
    const char* reason = unready_reason(pipeline.status);
    if (reason)
      reasons.push_back({{"pipeline", pipeline.name}, {"state", to_string(pipeline.status.state)}, {"reason", reason}});
  }
  if (reasons.empty()) return {200, "application/json", text_of(Json{{"ready", true}})};
  return {503, "application/json", text_of(Json{{"ready", false}, {"reasons", std::move(reasons)}})};
}

void AdminEndpoints::observe() {
  exporter_.observe(metric_samples(settings_.pipelines(), settings_.versions, process_numbers()));
}

AdminAnswer AdminEndpoints::metrics() {
  observe();
  return {200, "text/plain; version=0.0.4; charset=utf-8", exporter_.text()};
}

AdminAnswer AdminEndpoints::version() const {
  const BuildVersions& versions = settings_.versions;
  return {200, "application/json",
          text_of(Json{{"name", "millrace"},
                       {"version", versions.millrace},
                       {"librdkafka", versions.librdkafka},
                       {"rocksdb", versions.rocksdb}})};
}

}  // namespace millrace
