// SinkTask: one sink and its inbox. Writes rows in order; a Kafka sink under exactly_once only while the transaction of
// its epoch is open (what comes early waits in the inbox, whose bound is the back-pressure). Its strand may block
// (fsync).
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>

#include "pipeline/inbox.h"
#include "pipeline/plan.h"
#include "pipeline/task.h"
#include "sinks/sink.h"

namespace millrace {

class SinkTask : public Task {
 public:
  struct Settings {
    size_t sink = 0;  // in Plan::sinks
    size_t channel_bytes = 1 << 20;
    uint64_t first_epoch = 1;
    std::function<uint64_t()> open_epoch;  // rows of a later epoch wait
    Logger log;
    KafkaProducer* producer = nullptr;
  };
  SinkTask(size_t id, std::shared_ptr<Strand> strand, TaskEvents& events, const Plan& plan, Settings settings);

  Inbox& inbox() { return inbox_; }
  // Channels to the sinks of dead letters (rows that this sink refuses); sink -> index in outputs().
  TaskOutputs& outputs() { return outputs_; }
  void connect(std::map<size_t, size_t> dead_letters) { dead_letters_ = std::move(dead_letters); }
  void open(bool first_start, std::optional<SinkProgress> progress);
  void wake();                               // any thread: an epoch was opened
  void commit(uint64_t epoch, bool finish);  // any thread: the epoch is decided
  uint64_t rows_written() const { return rows_written_.load(std::memory_order_relaxed); }

 private:
  void schedule();
  void turn();
  // False: parked until wake() or the retry timer.
  Result<bool> step(bool* idle);
  Result<bool> write();
  Status pass(const Barrier& barrier);
  Status refuse(const Batch& batch, uint32_t row, Code code, const std::string& why);

  const Plan& plan_;
  const PlannedSink& planned_;
  Settings settings_;
  std::atomic<bool> scheduled_{false};
  Inbox inbox_;
  TaskOutputs outputs_;
  std::map<size_t, size_t> dead_letters_;
  std::unique_ptr<Sink> sink_;
  std::optional<Batch> writing_;
  uint32_t cursor_ = 0;
  uint64_t epoch_;
  NodeCounts counts_;
  bool opened_ = false;
  bool failed_ = false;
  std::atomic<uint64_t> rows_written_{0};
};

}  // namespace millrace
