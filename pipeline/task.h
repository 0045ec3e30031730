// Task: a piece of a running pipeline with a strand of its own: a source, a lane of a keyed stage, or a sink. Tasks
// talk forwards only, through inboxes; they report to the coordinator through TaskEvents. Everything of a task happens
// on its strand, except what a comment says.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "pipeline/executor.h"
#include "pipeline/inbox.h"
#include "recovery/progress.h"
#include "state/delta.h"

namespace millrace {

// Accounting of one operator, source or sink, since the incarnation began (DESIGN 7: every record is accounted for).
struct NodeCounts {
  uint64_t in = 0;
  uint64_t out = 0;
  uint64_t filtered = 0;
  uint64_t absorbed = 0;
  uint64_t late = 0;            // rows that no window took
  uint64_t dropped_late = 0;    // of these, rows that nobody reads
  uint64_t dropped_future = 0;  // watermark: {on_future: drop}
  uint64_t future = 0;          // rows beyond max_future that flow on (clamp)
  uint64_t fired = 0;           // windows and timers
  uint64_t dropped_decode = 0;
  uint64_t dropped_evaluation = 0;
  uint64_t dropped_too_large = 0;
  uint64_t dead_letters = 0;
  uint64_t dead_letters_cut = 0;  // sinks: of those they took, written in part
  uint64_t bytes = 0;
  uint64_t cache_hits = 0, cache_misses = 0, store_reads = 0;
  NodeCounts& operator+=(const NodeCounts& other);
};

// "source/orders", "operator/paid", "sink/revenue" -> counts.
using Counts = std::map<std::string, NodeCounts>;

// What a task says when it has passed a barrier.
struct EpochReport {
  uint64_t epoch = 0;
  DeltaPtr delta;                        // lanes
  std::optional<SourceProgress> source;  // sources
  std::optional<SinkProgress> sink;      // sinks with something to remember
  Counts counts;
};

class TaskEvents {
 public:
  virtual ~TaskEvents() = default;
  // All from the task's strand; none blocks.
  virtual void opened(size_t task, std::vector<PartitionProgress> positions) = 0;  // positions: sources
  virtual void passed(size_t task, EpochReport report) = 0;
  virtual void committed(size_t task, uint64_t epoch) = 0;  // sinks
  virtual void source_ended(size_t task) = 0;
  virtual void wants_barrier(size_t task) = 0;
  virtual void failed(size_t task, Status status) = 0;
};

// The sending side of a task: its channels into other tasks' inboxes.
class TaskOutputs {
 public:
  struct Channel {
    Inbox* inbox;
    size_t channel;
    bool takes_time = false;  // a lane: told where this task stands in event time
  };
  size_t add(Channel channel) {
    channels_.push_back(channel);
    return channels_.size() - 1;
  }
  // True when every receiver has room; false registers the sender for a wake-up at each that has none.
  bool have_room() {
    bool room = true;
    for (Channel& to : channels_) room = to.inbox->has_room(to.channel) && room;
    return room;
  }
  void send(size_t index, Batch batch, uint32_t input) {
    Message message;
    message.batch = std::move(batch);
    message.input = input;
    channels_[index].inbox->push(channels_[index].channel, std::move(message));
  }
  void send_time(const StreamTime& time) {
    for (Channel& to : channels_) {
      if (!to.takes_time) continue;
      Message message;
      message.time = time;
      to.inbox->push(to.channel, std::move(message));
    }
  }
  void send_barrier(const Barrier& barrier) {
    for (Channel& to : channels_) {
      Message message;
      message.barrier = barrier;
      to.inbox->push(to.channel, std::move(message));
    }
  }

 private:
  std::vector<Channel> channels_;
};

class Task {
 public:
  virtual ~Task() = default;
  // Stops the strand: nothing of the task runs afterwards. Any thread but the task's own.
  void stop() { strand_->stop(); }
  Strand& strand() { return *strand_; }
  size_t id() const { return id_; }

 protected:
  Task(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events)
      : id_(id), strand_(std::move(strand)), events_(events) {}
  size_t id_;
  std::shared_ptr<Strand> strand_;
  TaskEvents& events_;
};

}  // namespace millrace
