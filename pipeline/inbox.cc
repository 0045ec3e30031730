#include "pipeline/inbox.h"

#include "base/check.h"

namespace millrace {

Inbox::Inbox(size_t channel_limit_bytes, std::function<void()> on_ready)
    : limit_(channel_limit_bytes), on_ready_(std::move(on_ready)) {}

size_t Inbox::add_channel(std::function<void()> on_room) {
  channels_.emplace_back().on_room = std::move(on_room);
  return channels_.size() - 1;
}

void Inbox::push(size_t channel, Message message) {
  {
    std::lock_guard lock(mutex_);
    Channel& to = channels_[channel];
    to.bytes += message.batch.bytes;
    // Where a channel stands in event time takes the place of where it stood: a blocked receiver collects no times. The
    // end does not: timers that were due before it fire as before it.
    const bool ends = message.time && message.time->watermark_ms == kEndOfTime;
    if (message.time && !ends && !to.queue.empty() && to.queue.back().time) {
      to.queue.back().time = message.time;
    } else {
      to.queue.push_back(std::move(message));
    }
  }
  on_ready_();
}

bool Inbox::has_room(size_t channel) {
  std::lock_guard lock(mutex_);
  Channel& to = channels_[channel];
  if (to.queue.empty() || to.bytes < limit_) return true;
  to.sender_waits = true;
  return false;
}

bool Inbox::pop_data(Message* message, std::function<void()>* wake) {
  for (size_t tried = 0; tried < channels_.size(); tried++) {
    const size_t index = next_;
    Channel& from = channels_[index];
    next_ = (next_ + 1) % channels_.size();
    if (from.at_barrier || from.queue.empty()) continue;
    if (from.queue.front().barrier) {
      const Barrier barrier = *from.queue.front().barrier;
      MR_CHECK(at_barrier_ == 0 || barrier.epoch == pending_barrier_.epoch);
      pending_barrier_ = barrier;
      from.queue.pop_front();
      from.at_barrier = true;
      at_barrier_++;
      continue;
    }
    *message = std::move(from.queue.front());
    message->channel = index;
    from.queue.pop_front();
    from.bytes -= message->batch.bytes;
    // Half empty before the sender is woken: fewer, longer turns.
    if (from.sender_waits && (from.queue.empty() || from.bytes * 2 <= limit_)) {
      from.sender_waits = false;
      *wake = from.on_room;
    }
    return true;
  }
  return false;
}

bool Inbox::take_barriers(Message* message) {
  if (channels_.empty() || at_barrier_ < channels_.size()) return false;
  for (Channel& channel : channels_) channel.at_barrier = false;
  at_barrier_ = 0;
  *message = Message{};
  message->barrier = pending_barrier_;
  return true;
}

std::optional<Message> Inbox::pop() {
  Message message;
  std::function<void()> wake;
  bool found;
  {
    std::lock_guard lock(mutex_);
    found = pop_data(&message, &wake) || take_barriers(&message);
  }
  if (wake) wake();
  if (!found) return std::nullopt;
  return message;
}

bool Inbox::empty() const {
  std::lock_guard lock(mutex_);
  for (const Channel& channel : channels_)
    if (!channel.queue.empty()) return false;
  return true;
}

size_t Inbox::bytes() const {
  std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const Channel& channel : channels_) total += channel.bytes;
  return total;
}

}  // namespace millrace
