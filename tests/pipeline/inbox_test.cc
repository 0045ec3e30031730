#include "pipeline/inbox.h"

#include <doctest/doctest.h>

namespace millrace {
namespace {

Message time_message(int64_t watermark_ms, bool idle) {
  Message message;
  message.time = StreamTime{watermark_ms, idle};
  return message;
}

Message barrier_message(uint64_t epoch) {
  Message message;
  message.barrier = Barrier{epoch, false};
  return message;
}

Message batch_message(size_t bytes) {
  Message message;
  message.batch.bytes = bytes;
  return message;
}

TEST_CASE("a receiver that takes nothing keeps one time per channel between rows") {
  Inbox inbox(1000, [] {});
  const size_t channel = inbox.add_channel([] {});
  for (int64_t time = 1; time <= 100; time++) inbox.push(channel, time_message(time, time % 2 == 0));
  inbox.push(channel, batch_message(10));
  inbox.push(channel, time_message(101, false));
  inbox.push(channel, time_message(102, true));
  CHECK(inbox.pop()->time == StreamTime{100, true});
  CHECK(inbox.pop()->batch.bytes == 10);
  CHECK(inbox.pop()->time == StreamTime{102, true});
  CHECK_FALSE(inbox.pop());
}

TEST_CASE("the end of an input does not take the place of its last watermark") {
  Inbox inbox(1000, [] {});
  const size_t channel = inbox.add_channel([] {});
  inbox.push(channel, time_message(1, false));
  inbox.push(channel, time_message(2, false));
  inbox.push(channel, time_message(kEndOfTime, false));
  CHECK(inbox.pop()->time == StreamTime{2, false});
  CHECK(inbox.pop()->time == StreamTime{kEndOfTime, false});
}

TEST_CASE("times do not move over a barrier, nor to another channel") {
  Inbox inbox(1000, [] {});
  const size_t one = inbox.add_channel([] {});
  const size_t two = inbox.add_channel([] {});
  inbox.push(one, time_message(1, false));
  inbox.push(one, barrier_message(7));
  inbox.push(one, time_message(2, false));
  inbox.push(two, time_message(3, false));
  std::vector<Message> before;
  for (int i = 0; i < 2; i++) before.push_back(*inbox.pop());
  CHECK_FALSE(inbox.pop());  // `one` waits at its barrier
  for (const Message& message : before) CHECK(message.time->watermark_ms == (message.channel == one ? 1 : 3));
  inbox.push(two, barrier_message(7));
  CHECK(inbox.pop()->barrier->epoch == 7);
  CHECK(inbox.pop()->time == StreamTime{2, false});
}

TEST_CASE("a full channel has room again when it is half empty, and says so") {
  int woken = 0;
  Inbox inbox(100, [] {});
  const size_t channel = inbox.add_channel([&woken] { woken++; });
  CHECK(inbox.has_room(channel));
  for (int i = 0; i < 4; i++) inbox.push(channel, batch_message(30));
  CHECK_FALSE(inbox.has_room(channel));
  CHECK(inbox.bytes() == 120);
  inbox.pop();
  inbox.pop();
  CHECK(woken == 0);
  inbox.pop();
  CHECK(woken == 1);
  CHECK(inbox.has_room(channel));
}

}  // namespace
}  // namespace millrace
