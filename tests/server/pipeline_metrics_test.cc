#include "server/pipeline_metrics.h"

#include <doctest/doctest.h>

namespace millrace {
namespace {

PipelineView running_view() {
  PipelineView view;
  view.name = "orders";
  view.mode = "changelog";
  view.guarantee = "exactly_once";
  view.restarts = 2;
  PipelineStatus& status = view.status;
  status.state = PipelineState::kRunning;
  status.epoch = 41;
  status.decisions = 40;
  status.lag_records = 12;
  status.counts["source/in"].in = 100;
  status.counts["source/in"].bytes = 5000;
  status.counts["source/in"].dropped_decode = 3;
  status.counts["operator/sum"].in = 97;
  status.counts["operator/sum"].absorbed = 90;
  status.counts["operator/sum"].dead_letters = 7;
  status.counts["operator/sum"].late = 5;
  status.counts["operator/sum"].dropped_late = 5;
  status.counts["operator/sum"].fired = 4;
  status.counts["source/in"].future = 2;
  status.counts["source/in"].dropped_future = 1;
  status.source_times.push_back({"in", 1'700'000'000'500, 3});
  status.counts["operator/sum"].cache_hits = 60;
  status.counts["operator/sum"].cache_misses = 30;
  status.counts["operator/paid"].filtered = 11;
  status.counts["sink/out"].out = 9;
  status.counts["sink/out"].dead_letters_cut = 6;
  status.counts["sink/out"].bytes = 700;
  status.restored_from = "changelog";
  status.replayed_records = 1000;
  status.restore_ms = 1500;
  status.last_decision_wall_ms = 1'700'000'000'250;
  status.last_decision_us = 20'400;
  status.state_numbers.keys_estimate = 77;
  status.state_numbers.disk_bytes = 4096;
  status.pending_state_bytes = 512;
  return view;
}

std::string text_of(const std::vector<PipelineView>& views) {
  MetricsExporter exporter;
  exporter.observe(metric_samples(views, {"1.2.3", "2.14.0", "7.8.3"}, process_numbers()));
  return exporter.text();
}

bool has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST_CASE("pipeline metrics: everything that a running pipeline knows") {
  const std::string text = text_of({running_view()});
  CAPTURE(text);
  const char* lines[] = {R"(millrace_build_info{version="1.2.3",librdkafka="2.14.0",rocksdb="7.8.3"} 1)",
                         R"(millrace_pipeline_info{pipeline="orders",mode="changelog",guarantee="exactly_once"} 1)",
                         R"(millrace_pipeline_state{pipeline="orders",state="running"} 1)",
                         R"(millrace_pipeline_state{pipeline="orders",state="failed"} 0)",
                         R"(millrace_pipeline_restarts_total{pipeline="orders"} 2)",
                         R"(millrace_records_in_total{pipeline="orders",source="in"} 100)",
                         R"(millrace_bytes_in_total{pipeline="orders",source="in"} 5000)",
                         R"(millrace_records_out_total{pipeline="orders",sink="out"} 9)",
                         R"(millrace_bytes_out_total{pipeline="orders",sink="out"} 700)",
                         R"(millrace_operator_records_in_total{pipeline="orders",operator="sum"} 97)",
                         R"(millrace_operator_records_out_total{pipeline="orders",operator="sum"} 0)",
                         R"(millrace_records_filtered_total{pipeline="orders",operator="paid"} 11)",
                         R"(millrace_records_absorbed_total{pipeline="orders",operator="sum"} 90)",
                         R"(millrace_records_dropped_total{pipeline="orders",source="in",reason="decode"} 3)",
                         R"(millrace_records_dropped_total{pipeline="orders",source="in",reason="too_large"} 0)",
                         R"(millrace_records_dropped_total{pipeline="orders",operator="sum",reason="evaluation"} 0)",
                         R"(millrace_records_dropped_total{pipeline="orders",operator="sum",reason="late"} 5)",
                         R"(millrace_records_dropped_total{pipeline="orders",source="in",reason="future"} 1)",
                         R"(millrace_dead_letters_truncated_total{pipeline="orders",sink="out"} 6)",
                         R"(millrace_late_records_total{pipeline="orders",operator="sum"} 5)",
                         R"(millrace_windows_fired_total{pipeline="orders",operator="sum"} 4)",
                         R"(millrace_future_records_total{pipeline="orders",source="in"} 2)",
                         R"(millrace_watermark_timestamp_seconds{pipeline="orders",source="in"} 1700000000.5)",
                         R"(millrace_source_idle_partitions{pipeline="orders",source="in"} 3)",
                         R"(millrace_dead_letter_records_total{pipeline="orders",operator="sum"} 7)",
                         R"(millrace_source_lag_records{pipeline="orders"} 12)",
                         R"(millrace_source_connected{pipeline="orders"} 1)",
                         R"(millrace_commits_total{pipeline="orders"} 40)",
                         R"(millrace_last_commit_duration_seconds{pipeline="orders"} 0.0204)",
                         R"(millrace_last_commit_timestamp_seconds{pipeline="orders"} 1700000000.25)",
                         R"(millrace_last_committed_epoch{pipeline="orders"} 41)",
                         R"(millrace_state_restored_records{pipeline="orders"} 1000)",
                         R"(millrace_state_restore_duration_seconds{pipeline="orders"} 1.5)",
                         R"(millrace_state_keys_estimate{pipeline="orders"} 77)",
                         R"(millrace_state_disk_bytes{pipeline="orders"} 4096)",
                         R"(millrace_state_pending_bytes{pipeline="orders"} 512)",
                         R"(millrace_state_cache_hits_total{pipeline="orders",operator="sum"} 60)",
                         R"(millrace_state_cache_misses_total{pipeline="orders",operator="sum"} 30)",
                         R"(millrace_state_store_reads_total{pipeline="orders",operator="sum"} 0)"};
  for (const char* line : lines) CHECK_MESSAGE(has(text, line), "missing: " << line);
  for (const char* name :
       {"millrace_process_resident_memory_bytes ", "millrace_process_cpu_seconds_total ", "millrace_process_open_fds "})
    CHECK(text.find(std::string("\n") + name) != std::string::npos);
  // Every metric that exists is here.
  for (const MetricSpec& spec : metric_specs())
    CHECK_MESSAGE(text.find(std::string("# TYPE ") + spec.name + " ") != std::string::npos, spec.name);
}

TEST_CASE("pipeline metrics: what is not known has no series") {
  PipelineView view;
  view.name = "new";
  view.mode = "none";
  const std::string text = text_of({view});
  CAPTURE(text);
  CHECK(has(text, R"(millrace_pipeline_info{pipeline="new",mode="none"} 1)"));
  CHECK(has(text, R"(millrace_pipeline_state{pipeline="new",state="starting"} 1)"));
  CHECK(has(text, R"(millrace_commits_total{pipeline="new"} 0)"));
  for (const char* name : {"source_lag", "source_connected", "last_commit", "state_restore", "state_keys", "state_disk",
                           "state_pending", "records_in"})
    CHECK_MESSAGE(text.find(std::string("millrace_") + name) == std::string::npos, name);
}

TEST_CASE("pipeline metrics: a lag that nobody knows and a source that is away") {
  PipelineView view = running_view();
  view.status.lag_records = -1;
  view.status.sources_connected = false;
  const std::string text = text_of({view});
  CHECK(text.find("millrace_source_lag_records") == std::string::npos);
  CHECK(has(text, R"(millrace_source_connected{pipeline="orders"} 0)"));
}

TEST_CASE("pipeline metrics: numbers of the process") {
  const ProcessNumbers numbers = process_numbers();
  REQUIRE(numbers.resident_bytes);
  CHECK(*numbers.resident_bytes > 100'000);
  REQUIRE(numbers.open_fds);
  CHECK(*numbers.open_fds >= 3);
  CHECK(numbers.cpu_seconds > 0);
}

}  // namespace
}  // namespace millrace
