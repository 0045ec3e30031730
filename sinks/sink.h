// Sink: where rows go. The runtime gives every sink a strand of its own on the pool for blocking work; all methods are
// called there, in order, so a sink has no mutex.
//
// Life of an epoch: write* … flush(n) (everything written is on its way) … prepare(n) (durable, not visible: the
// returned progress goes into the progress record) … then the decision … commit(n) (make visible). abort() forgets what
// is undecided; open(progress) restores what the record says and makes visible what it decided (idempotent). Kafka
// sinks are inside the transaction: prepare and commit do nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/batch.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"

namespace millrace {

class KafkaProducer;

// What a sink keeps in the progress record; empty for sinks without.
struct SinkProgress {
  std::string sink;   // name in the pipeline
  std::string bytes;  // the sink's own, versioned encoding (file: part, durable length, checksum)
};

enum class Written { kOk, kRetry };  // kRetry: no room; nothing of the rest was taken, call again with the same batch

struct SinkContext {
  Logger log;
  // Wall clock of sinks that roll files by age; nullptr: the system's.
  const Clock* clock = nullptr;
  // Kafka sinks: the producer that the recovery mode lends (transactional or idempotent); nullptr for other sinks.
  KafkaProducer* producer = nullptr;
  // Where rows that the sink itself must refuse go (record too large, value that does not encode): counted, and a stop
  // unless the policy says otherwise.
  std::function<Status(const Batch& batch, uint32_t row, Code code, const std::string& why)> refuse;
};

class Sink {
 public:
  virtual ~Sink() = default;
  // first_start: the run starts without state (a bounded file is replaced). progress: what the record holds for this
  // sink.
  virtual Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) = 0;
  // Writes live rows of the batch from *cursor on (0 at first; the sink advances it). kRetry: the runtime calls again
  // later with the same cursor.
  virtual Result<Written> write(const Batch& batch, uint32_t* cursor) = 0;
  // Rows written by `write` since the last call, for counting.
  virtual Status flush(uint64_t epoch) = 0;
  virtual Result<SinkProgress> prepare(uint64_t epoch) = 0;
  virtual Status commit(uint64_t epoch) = 0;
  virtual void abort() {}
  // The pipeline has ended for good (all input read and decided): rename the last part. Idempotent.
  virtual Status finish() { return Status::ok(); }
  virtual uint64_t bytes_written() const { return 0; }
  // Dead letters of which only the beginning could be written.
  virtual uint64_t dead_letters_cut() const { return 0; }
};

// Dead letters travel as batches of this schema; sinks with headers write the raw value and the rest as headers, others
// JSON with value_base64.
Schema dead_letter_schema();  // value: bytes, key: bytes, error: string, operator: string, topic: string, partition:
                              // int, offset: int

}  // namespace millrace
