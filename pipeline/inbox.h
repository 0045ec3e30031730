// Inbox: the only queue between tasks. One receiver, one channel per sending task, bounded in bytes per channel;
// barriers align here: a channel that has delivered barrier n is held back until every channel has, then the receiver
// sees the barrier once.
//
// Senders check has_room() before they start on more work and push what they have: push never blocks or fails, so a
// channel may exceed its bound by what one piece of work emits. An empty channel always has room. Any thread may push
// to its own channel; pop belongs to the receiver.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "base/batch.h"

namespace millrace {

struct Barrier {
  uint64_t epoch = 0;
  bool final = false;  // all inputs have ended: emit everything
};

struct Message {
  Batch batch;
  uint32_t input = 0;              // which input of the receiving operator
  std::optional<Barrier> barrier;  // set: a barrier, no batch
  std::optional<StreamTime> time;  // set: where the channel stands in event time, no batch
  size_t channel = 0;              // set by pop(), not for barriers
};

class Inbox {
 public:
  // on_ready: something can be popped (the receiver schedules itself); called by pushing threads, outside the lock.
  Inbox(size_t channel_limit_bytes, std::function<void()> on_ready);

  // Adds a channel; on_room is called (receiver's thread, outside the lock) when the channel has room again after
  // has_room() was false. Before the first push only.
  size_t add_channel(std::function<void()> on_room);
  size_t channels() const { return channels_.size(); }

  void push(size_t channel, Message message);
  // True when the sender may go on; false registers it for on_room.
  bool has_room(size_t channel);
  // The next message in an order that keeps each channel's, or nothing. An aligned barrier is returned once, for all
  // channels.
  std::optional<Message> pop();
  bool empty() const;
  size_t bytes() const;

 private:
  struct Channel {
    std::deque<Message> queue;
    size_t bytes = 0;
    bool at_barrier = false;  // its front barrier was taken; held back until the others arrive
    bool sender_waits = false;
    std::function<void()> on_room;
  };
  bool pop_data(Message* message, std::function<void()>* wake);
  bool take_barriers(Message* message);
  mutable std::mutex mutex_;
  std::deque<Channel> channels_;
  size_t limit_;
  size_t next_ = 0;  // round robin
  size_t at_barrier_ = 0;
  Barrier pending_barrier_;
  std::function<void()> on_ready_;
};

}  // namespace millrace
