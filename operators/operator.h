// Operator: what happens to rows between source and sink. An operator instance belongs to one lane (or source thread):
// its methods are never called concurrently, it has no mutex and does no I/O except through its LaneState. Operators of
// a stage are fused: emit() calls the next one directly.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/batch.h"
#include "base/status.h"
#include "expr/expression.h"
#include "state/delta.h"

namespace millrace {

class LaneState;

// Where an operator puts rows. emit: the main output; emit_side: a named output (<id>.late). Both may call downstream
// operators synchronously.
class Collector {
 public:
  virtual ~Collector() = default;
  virtual Status emit(Batch batch) = 0;
  virtual Status emit_side(const std::string& port, Batch batch) = 0;
  // Rows on which an expression failed. Applies the on_error policy of the batch's source (fail: returns the error;
  // drop: counts; dead letter), and counts them.
  virtual Status fail_rows(const Batch& batch, const RowErrors& errors) = 0;
};

// What the runtime gives an instance.
struct OperatorContext {
  ArenaPool* arenas = nullptr;
  LaneState* state = nullptr;  // keyed operators only
  uint16_t operator_id = 0;    // stable number of this operator in the state's keys (progress record)
  size_t cache_bytes = 0;      // this lane's share of state.cache
  size_t lane = 0;
  // at_least_once: updates leave with the batch that caused them (one row per key of the batch), and flush() has
  // nothing left to emit.
  bool emit_per_batch = false;
};

// Accounting, per instance since it was made: in = passed + absorbed + filtered + failed (the collector counts those) …
struct OperatorCounters {
  uint64_t in = 0;
  uint64_t out = 0;
  uint64_t filtered = 0;
  uint64_t absorbed = 0;  // folded into state
  uint64_t cache_hits = 0, cache_misses = 0, store_reads = 0;
};

class Operator {
 public:
  virtual ~Operator() = default;
  virtual Status open(const OperatorContext& context) = 0;
  // One batch from input `input` (index in the plan's list of inputs).
  virtual Status process(const Batch& batch, size_t input, Collector& out) = 0;
  // Emits what the operator owes before the barrier, at most about `max_rows` rows per call. True: done (the next call
  // starts a new epoch).
  virtual Result<bool> flush(uint64_t epoch, size_t max_rows, Collector& out) {
    (void)epoch;
    (void)max_rows;
    (void)out;
    return true;
  }
  // Adds the changes of the epoch to the lane's delta. Called after flush returned true. Keyed operators only.
  virtual void cut(DeltaBuilder& delta) { (void)delta; }
  // True when dirty state fills so much of the cache that the epoch should end now.
  virtual bool wants_barrier() const { return false; }
  // True when dirty state fills the whole cache: no more input before the next cut.
  virtual bool is_full() const { return false; }
  const OperatorCounters& counters() const { return counters_; }

 protected:
  OperatorCounters counters_;
};

}  // namespace millrace
