#include <doctest/doctest.h>

#include "sources/kafka_source.h"

using namespace millrace;

namespace {

struct PlanTest {
  explicit PlanTest(const std::string& text) {
    register_kafka_source(registry);
    const auto none = [](const std::string&) { return std::optional<std::string>(); };
    plan = (*registry.find("kafka"))(ConfigNode::parse("p.yaml", text, none, diagnostics), diagnostics);
    SourcePlanContext context;
    context.pipeline = "the-pipeline";
    if (plan) REQUIRE(plan->plan(context, diagnostics));
  }
  SourceRegistry registry;
  Diagnostics diagnostics;
  std::unique_ptr<SourcePlan> plan;
};

LintCode code_of(const std::string& text) {
  PlanTest test(text);
  CHECK(test.plan == nullptr);
  REQUIRE(test.diagnostics.all().size() == 1);
  return test.diagnostics.all()[0].code;
}

}  // namespace

TEST_CASE("defaults and every key") {
  PlanTest simple("topic: orders\n");
  REQUIRE(simple.plan != nullptr);
  CHECK(simple.plan->kafka()->topics == std::vector<std::string>{"orders"});
  CHECK(simple.plan->kafka()->group == "the-pipeline");
  CHECK_FALSE(simple.plan->bounded());
  PlanTest full(
      "topic: [a, b.c]\ngroup: g\nstart: {timestamp: \"2024-01-01T00:00:00Z\"}\nend: latest\n"
      "on_missing_topic: fail\n");
  REQUIRE_MESSAGE(full.plan != nullptr, full.diagnostics.render_text());
  CHECK(full.plan->bounded());
  CHECK(full.plan->kafka()->group == "g");
  CHECK(full.plan->describe() == "kafka a, b.c (group g)");
  CHECK(PlanTest("topic: a\nstart: {timestamp: 1700000000000}\n").plan != nullptr);
  CHECK(PlanTest("topic: a\nstart: latest\n").plan != nullptr);
}

TEST_CASE("mistakes") {
  CHECK(code_of("group: g\n") == LintCode::kMissingKey);
  CHECK(code_of("topic: a b\n") == LintCode::kBadValue);
  CHECK(code_of("topic: []\n") == LintCode::kBadValue);
  CHECK(code_of("topic: [a, a]\n") == LintCode::kDuplicateName);
  CHECK(code_of("topic: a\nstart: newest\n") == LintCode::kBadValue);
  CHECK(code_of("topic: a\nstart: {}\n") == LintCode::kMissingKey);
  CHECK(code_of("topic: a\nend: now\n") == LintCode::kBadValue);
  CHECK(code_of("topic: a\ntopics: b\n") == LintCode::kUnknownKey);
  CHECK(code_of("topic: a\npartitioned_by: id\n") == LintCode::kUnsupported);
}
