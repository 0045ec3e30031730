#include <doctest/doctest.h>
#include <fmt/format.h>

#include "operators/window.h"

namespace millrace {
namespace {

const Schema kInput = {
    {"date", Type(TypeKind::kTimestamp)}, {"vip", Type(TypeKind::kBool)}, {"n", Type(TypeKind::kInt)}};

// window, allowed_lateness and emit as an operator reads them; the diagnostics as text, or what was read.
std::string read(const std::string& yaml) {
  Diagnostics diagnostics;
  diagnostics.add_file("t.yaml", yaml);
  const ConfigNode document = ConfigNode::parse(
      "t.yaml", yaml, [](const std::string&) { return std::nullopt; }, diagnostics);
  REQUIRE(document.is_mapping());
  WindowSpec window;
  EmitSpec emit;
  std::optional<WindowConfig> config;
  if (const auto node = document.find("window")) config = read_window(*node, diagnostics);
  if (const auto node = document.find("allowed_lateness")) {
    read_allowed_lateness(*node, config ? &*config : nullptr, diagnostics);
  }
  if (config) compile_window(*config, kInput, window, diagnostics);
  emit.mode = default_emit_mode(window);
  if (const auto node = document.find("emit")) {
    if (const auto read = read_emit(*node, window, diagnostics)) compile_emit(*read, kInput, emit, diagnostics);
  }
  std::string text;
  for (const Diagnostic& error : diagnostics.all()) {
    text += fmt::format("{}MR{}@{}:{} {}", text.empty() ? "" : " | ", static_cast<int>(error.code), error.at.line,
                        error.at.column, error.message);
    if (!error.hint.empty()) text += "; " + error.hint;
  }
  return text.empty() ? describe(window) + " / " + describe(emit) : text;
}

TEST_CASE("windows in words") {
  CHECK(read("window: {tumbling: {size: 5m}}") == "tumbling 5m / emit close");
  CHECK(read("window: {tumbling: {size: 90s, offset: 100s, time: processing}}") ==
        "tumbling 90s offset 10s in processing time / emit close");
  CHECK(read("window: {hopping: {size: 1h, every: 7m}}\nallowed_lateness: 1500ms\nemit: final") ==
        "hopping 1h every 7m, lateness 1500ms / emit final");
  CHECK(read("window: {sliding: {size: 1d}}\nallowed_lateness: 0s") == "sliding 1d / emit close");
  CHECK(read("window: {session: {gap: 5m, max_duration: 1h}}") == "session, gap 5m, at most 1h / emit close");
  CHECK(read("window: {session: {gap: 'vip ? duration(\"10m\") : duration(\"5m\")', max_gap: 1h}}") ==
        "session, gap by expression up to 1h / emit close");
  CHECK(read("window: {count: {size: 10}}\nemit: each") == "windows of 10 rows / emit each");
  CHECK(read("window: {custom: {assign: '[[date, date + duration(\"1h\")]]'}}") ==
        "windows by expression / emit close");
  CHECK(read("window: {global: {}}\nemit: {early: {every: 30s, count: 100, when: vip}, accumulation: discarding}") ==
        "one global window / emit close, early every 30s, early every 100 rows, early by expression, discarding");
  CHECK(read("emit: {min_interval: 1s}") == " / emit update at most every 1s");
  CHECK(read("window: {tumbling: {size: 5m}}\nemit: {late: none}") == "tumbling 5m / emit close, late rows silently");
}

TEST_CASE("sizes") {
  CHECK(read("window: {tumbling: {size: 0s}}") == "MR1009@1:27 the duration must be longer than 0");
  CHECK(read("window: {tumbling: {size: -5m}}").rfind("MR1008@1:27", 0) == 0);
  CHECK(read("window: {tumbling: {size: 50000000d}}") == "MR1009@1:27 the duration must be at most 400000d");
  CHECK(read("window: {tumbling: {}}").rfind("MR1006@1:10", 0) == 0);
  CHECK(read("window: {hopping: {size: 5m, every: 6m}}") ==
        "MR1009@1:37 every is longer than size: rows between two windows would belong to none");
  CHECK(read("window: {hopping: {size: 1001ms, every: 1ms}}") ==
        "MR1009@1:41 a row would belong to more than 1000 windows");
  CHECK(read("window: {hopping: {size: 1000ms, every: 1ms}}") == "hopping 1s every 1ms / emit close");
  CHECK(read("window: {count: {size: 0}}").rfind("MR1009@1:24", 0) == 0);
  CHECK(read("window: {session: {gap: 0s}}") == "MR1009@1:25 the duration must be longer than 0");
  CHECK(read("window: {session: {gap: 1h, max_duration: 5m}}") == "MR1009@1:43 max_duration is shorter than gap");
  CHECK(read("window: {session: {gap: 1h, max_gap: 2h}}") == "MR1020@1:29 max_gap bounds a gap that is an expression");
}

TEST_CASE("kinds and keys") {
  CHECK(read("window: {}") ==
        "MR1006@1:1 window needs a kind; tumbling, hopping, sliding, session, count, custom or global");
  CHECK(read("window: {tumblin: {size: 5m}}").find("did you mean \"tumbling\"?") != std::string::npos);
  CHECK(read("window: {tumbling: {size: 5m}, session: {gap: 5m}}") ==
        "MR1020@1:32 an operator has one window; keep tumbling or session");
  CHECK(read("window: {tumbling: {size: 5m, every: 1m}}").rfind("MR1005@1:31", 0) == 0);
  CHECK(read("window: {tumbling: {size: 5m, time: wall}}").rfind("MR1009@1:37", 0) == 0);
  CHECK(read("window: tumbling").rfind("MR1008@1:9", 0) == 0);
  CHECK(read("window: {session: {gap: 'n + 1'}}").rfind("MR1013@1:2", 0) == 0);
  CHECK(read("window: {custom: {assign: '[date]'}}").rfind("MR1013@1:2", 0) == 0);
  CHECK(read("window: {custom: {assign: [[date, date]]}}").rfind("MR1014@1:27", 0) == 0);
}

TEST_CASE("lateness") {
  CHECK(read("allowed_lateness: 1m") == "MR1020@1:1 allowed_lateness needs a window");
  CHECK(read("window: {count: {size: 5}}\nallowed_lateness: 1m") ==
        "MR1020@2:1 allowed_lateness does not go with a count window: nothing is late there");
  CHECK(read("window: {tumbling: {size: 5m, time: processing}}\nallowed_lateness: 1m").rfind("MR1020@2:1", 0) == 0);
}

TEST_CASE("emit") {
  CHECK(read("emit: close") == "MR1020@1:7 emit: close needs a window; use update or each, or add a window");
  CHECK(read("emit: {mode: final}").rfind("MR1020@1:14 emit: final needs a window", 0) == 0);
  CHECK(read("emit: updat") == "MR1009@1:7 unknown emit mode \"updat\"; did you mean \"update\"?");
  CHECK(read("emit: {mode: each, early: {every: 1s}}").rfind("MR1020@1:20 early shows", 0) == 0);
  CHECK(read("window: {count: {size: 5}}\nemit: {mode: final, late: none}").rfind("MR1020@2:21 late says", 0) == 0);
  CHECK(read("window: {count: {size: 5}}\nemit: {min_interval: 1s}") ==
        "MR1020@2:8 min_interval belongs to emit mode update; mode: update");
  CHECK(read("window: {count: {size: 5}}\nemit: {early: {}}") == "MR1006@2:8 early needs every, count or when");
  CHECK(read("window: {count: {size: 5}}\nemit: {early: {evry: 1s}}").find("did you mean \"every\"?") !=
        std::string::npos);
  CHECK(read("window: {count: {size: 5}}\nemit: {early: {when: n}}").rfind("MR1013@2:22", 0) == 0);
  CHECK(read("window: {count: {size: 5}}\nemit: {early: {every: 0s}}").rfind("MR1009@2:23", 0) == 0);
  CHECK(read("emit: {accumulation: discarding}") == "MR1020@1:8 accumulation needs a window");
}

}  // namespace
}  // namespace millrace
