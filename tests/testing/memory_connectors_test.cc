#include <doctest/doctest.h>

#include "sinks/memory_sink.h"
#include "sources/memory_source.h"

namespace millrace {
namespace {

// A plan of a connector that the memory source stands for.
class NoPlan : public SourcePlan {
 public:
  bool plan(const SourcePlanContext&, Diagnostics&) override { return true; }
  bool bounded() const override { return false; }
  std::string describe() const override { return "nothing"; }
  std::unique_ptr<Source> make(const SourceContext&) const override { return nullptr; }
};

std::unique_ptr<Source> open(const std::shared_ptr<MemoryFeed>& feed, const std::vector<SourcePosition>& resume,
                             bool keeps_offsets = false) {
  auto source = make_memory_source_plan(std::make_unique<NoPlan>(), feed, {keeps_offsets})->make({});
  REQUIRE(source->open(resume, {}).is_ok());
  return source;
}

struct Polled {
  std::vector<std::string> rows;  // "partition/offset payload"
  bool end = false;
};
Polled poll(Source& source, uint32_t max_rows) {
  SourcePoll one;
  one.arena = std::make_shared<Arena>();
  REQUIRE(source.poll({max_rows, 1 << 20}, 0, &one).is_ok());
  Polled result;
  result.end = one.end_of_input;
  for (uint32_t i = 0; i < one.count; i++) {
    const PartitionName& name = (*one.rows->partitions)[one.rows->partition[i]];
    result.rows.push_back(std::to_string(name.partition) + "/" + std::to_string(one.rows->offset[i]) + " " +
                          std::string(one.rows->payload[i]));
  }
  return result;
}

std::shared_ptr<MemoryFeed> make_feed() {
  auto feed = std::make_shared<MemoryFeed>(std::vector<PartitionName>{{"t", 0}, {"t", 1}});
  int number = 0;
  for (uint32_t partition : {0u, 1u, 1u, 0u}) {
    MemoryRecord record;
    record.partition = partition;
    record.payload = std::to_string(number++);
    feed->send(std::move(record));
  }
  return feed;
}

TEST_CASE("a feed gives its records in the order in which they were sent") {
  const auto feed = make_feed();
  const auto source = open(feed, {});
  CHECK_FALSE(feed->is_drained());
  CHECK(poll(*source, 3).rows == std::vector<std::string>{"0/0 0", "1/0 1", "1/1 2"});
  CHECK(poll(*source, 3).rows == std::vector<std::string>{"0/1 3"});
  CHECK(feed->is_drained());
  CHECK(poll(*source, 3).rows.empty());
  CHECK_FALSE(poll(*source, 3).end);
  feed->end();
  CHECK(poll(*source, 3).end);
}

TEST_CASE("a source goes on at the positions of another") {
  const auto feed = make_feed();
  const auto first = open(feed, {});
  CHECK(poll(*first, 2).rows.size() == 2);
  const std::vector<SourcePosition> positions = first->positions();
  const auto second = open(feed, positions);
  CHECK(poll(*second, 100).rows == std::vector<std::string>{"1/1 2", "0/1 3"});
  // A partition that the positions do not know starts at its beginning.
  const auto third = open(feed, {positions[1]});
  CHECK(poll(*third, 100).rows == std::vector<std::string>{"0/0 0", "1/1 2", "0/1 3"});
}

TEST_CASE("decided offsets are kept outside of the state where the connector does so") {
  const auto feed = make_feed();
  const auto first = open(feed, {}, true);
  CHECK(poll(*first, 2).rows.size() == 2);
  first->released(first->positions());
  CHECK(poll(*open(feed, {}, true), 100).rows == std::vector<std::string>{"1/1 2", "0/1 3"});
  const auto other = make_feed();
  const auto forgetful = open(other, {});
  CHECK(poll(*forgetful, 2).rows.size() == 2);
  forgetful->released(forgetful->positions());
  CHECK(poll(*open(other, {}), 100).rows.size() == 4);
}

}  // namespace
}  // namespace millrace
