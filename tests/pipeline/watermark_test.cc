#include "pipeline/watermark.h"

#include <doctest/doctest.h>

namespace millrace {
namespace {

TEST_CASE("the watermark is the largest event time minus the delay minus one") {
  WatermarkTracker tracker(30, 0, false);
  tracker.resize(1);
  CHECK(tracker.watermark_ms() == kNoTime);
  tracker.observe(0, 1000);
  CHECK(tracker.watermark_ms() == 969);
  tracker.observe(0, 500);
  CHECK(tracker.watermark_ms() == 969);
  tracker.observe(0, 1001);
  CHECK(tracker.watermark_ms() == 970);
}

TEST_CASE("the slowest partition decides, and one without rows holds everything back") {
  WatermarkTracker tracker(0, 0, false);
  tracker.resize(3);
  tracker.observe(0, 100);
  tracker.observe(1, 50);
  CHECK(tracker.watermark_ms() == kNoTime);
  tracker.observe(2, 70);
  CHECK(tracker.watermark_ms() == 49);
  tracker.observe(1, 200);
  CHECK(tracker.watermark_ms() == 69);
}

TEST_CASE("an idle partition is not waited for, and the watermark does not fall when it comes back") {
  WatermarkTracker tracker(0, 1000, false);
  tracker.resize(2);
  tracker.observe(0, 100);
  tracker.pass_quiet_time(999);
  CHECK(tracker.watermark_ms() == kNoTime);
  tracker.observe(0, 101);
  tracker.pass_quiet_time(1);
  CHECK(tracker.idle_partitions() == 1);
  CHECK(tracker.watermark_ms() == 100);
  tracker.observe(1, 20);
  CHECK(tracker.idle_partitions() == 0);
  CHECK(tracker.watermark_ms() == 100);
  tracker.observe(0, 500);
  CHECK(tracker.watermark_ms() == 100);
  tracker.observe(1, 300);
  CHECK(tracker.watermark_ms() == 299);
}

TEST_CASE("with all partitions idle the watermark is the largest of theirs, never the end of time") {
  WatermarkTracker tracker(10, 5, false);
  tracker.resize(2);
  tracker.pass_quiet_time(5);
  CHECK(tracker.time().idle);
  CHECK(tracker.watermark_ms() == kNoTime);
  tracker.observe(0, 100);
  tracker.observe(1, 50);
  CHECK_FALSE(tracker.time().idle);
  CHECK(tracker.watermark_ms() == 89);
  tracker.pass_quiet_time(5);  // they have just delivered
  CHECK_FALSE(tracker.time().idle);
  tracker.pass_quiet_time(5);
  CHECK(tracker.time() == StreamTime{89, true});
}

TEST_CASE("a partition that has delivered begins to be quiet afterwards, however long that took") {
  WatermarkTracker tracker(0, 100, false);
  tracker.resize(2);
  tracker.observe(0, 10);
  tracker.pass_quiet_time(100);
  CHECK(tracker.idle_partitions() == 1);
  tracker.pass_quiet_time(99);
  CHECK(tracker.idle_partitions() == 1);
  tracker.note_row(0);
  tracker.pass_quiet_time(1);
  CHECK(tracker.idle_partitions() == 1);
  tracker.pass_quiet_time(100);
  CHECK(tracker.idle_partitions() == 2);
}

TEST_CASE("a source whose topic does not exist yet is idle in time, and not once it does") {
  WatermarkTracker tracker(0, 100, false);
  tracker.pass_quiet_time(99);
  CHECK(tracker.time() == StreamTime{kNoTime, false});
  tracker.pass_quiet_time(1);
  CHECK(tracker.time() == StreamTime{kNoTime, true});
  tracker.resize(2);
  CHECK(tracker.time() == StreamTime{kNoTime, false});
}

TEST_CASE("nothing is idle after a restart: what came in the meantime is read first") {
  WatermarkTracker before(0, 100, false);
  before.resize(2);
  before.observe(0, 1000);
  before.observe(1, 900);
  before.pass_quiet_time(0);
  before.pass_quiet_time(100);
  CHECK(before.time() == StreamTime{999, true});
  std::vector<PartitionProgress> progress(2);
  for (size_t i = 0; i < 2; i++) before.save(i, progress[i]);
  CHECK(progress[0].idle);
  WatermarkTracker after(0, 100, false);
  after.resize(2);
  for (size_t i = 0; i < 2; i++) after.restore(i, progress[i]);
  CHECK(after.time() == StreamTime{999, false});
  after.observe(0, 5000);
  CHECK(after.watermark_ms() == 999);
  after.observe(1, 3000);
  CHECK(after.watermark_ms() == 2999);
}

TEST_CASE("files are read one after the other: one event time") {
  WatermarkTracker tracker(0, 0, true);
  tracker.resize(3);
  tracker.observe(0, 100);
  CHECK(tracker.watermark_ms() == 99);
  tracker.observe(1, 50);
  tracker.observe(2, 150);
  CHECK(tracker.watermark_ms() == 149);
}

TEST_CASE("a restart continues where the progress record stands") {
  WatermarkTracker before(7, 100, false);
  before.resize(2);
  before.observe(0, 1000);
  before.pass_quiet_time(100);
  before.observe(0, 2000);
  before.observe(1, 300);  // comes back with an old row: the watermark stays
  std::vector<PartitionProgress> progress(2);
  for (size_t i = 0; i < 2; i++) before.save(i, progress[i]);
  WatermarkTracker after(7, 100, false);
  after.resize(2);
  for (size_t i = 0; i < 2; i++) after.restore(i, progress[i]);
  CHECK(after.watermark_ms() == before.watermark_ms());
  CHECK(after.watermark_ms() == 1992);
  after.observe(1, 5000);
  before.observe(1, 5000);
  CHECK(after.watermark_ms() == before.watermark_ms());
  CHECK(after.watermark_ms() == 1992);
}

TEST_CASE("inputs that have ended are not waited for, and idle ones are while others are not") {
  CHECK(aligned_watermark({{5, false}, {3, false}}) == 3);
  CHECK(aligned_watermark({{5, false}, {3, true}}) == 5);
  CHECK(aligned_watermark({{5, true}, {3, true}}) == 5);
  CHECK(aligned_watermark({{5, false}, {kNoTime, false}}) == kNoTime);
  CHECK(aligned_watermark({{kEndOfTime, false}, {3, false}}) == 3);
  CHECK(aligned_watermark({{kEndOfTime, false}, {3, true}}) == 3);
  CHECK(aligned_watermark({{kEndOfTime, false}, {kNoTime, true}}) == kNoTime);
  CHECK(aligned_watermark({{kEndOfTime, false}, {kEndOfTime, false}}) == kEndOfTime);
}

TEST_CASE("event times at the ends of int64 do not wrap") {
  WatermarkTracker tracker(1000, 0, false);
  tracker.resize(1);
  tracker.observe(0, INT64_MIN + 5);
  CHECK(tracker.watermark_ms() == kNoTime);
  tracker.observe(0, -1);
  CHECK(tracker.watermark_ms() == -1002);
  tracker.observe(0, INT64_MAX);
  CHECK(tracker.watermark_ms() == INT64_MAX - 1001);
}

TEST_CASE("a source that is ahead waits for the slowest one that is neither idle nor ended") {
  SourceAlignment alignment(3);
  alignment.publish(0, 10'000);
  CHECK(alignment.ahead_ms(0) == 0);
  alignment.publish(1, 4'000);
  CHECK(alignment.ahead_ms(0) == 6'000);
  CHECK(alignment.ahead_ms(1) == 0);
  alignment.publish(2, kNoTime);
  CHECK(alignment.ahead_ms(0) == kEndOfTime);
  alignment.publish(2, kEndOfTime);
  CHECK(alignment.ahead_ms(0) == 6'000);
}

}  // namespace
}  // namespace millrace
