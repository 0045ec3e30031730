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

class Clock;
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
  // The same for rows with the columns of the operator's output, where no row of the input is to blame.
  virtual Status fail_results(const Batch& batch, const RowErrors& errors) { return fail_rows(batch, errors); }
};

// What the runtime gives an instance.
struct OperatorContext {
  ArenaPool* arenas = nullptr;
  LaneState* state = nullptr;  // keyed operators only
  uint16_t operator_id = 0;    // stable number of this operator in the state's keys (progress record)
  size_t cache_bytes = 0;      // this lane's share of state.cache
  // This instance owns the shards s with s % lanes == lane, of `shards` in all.
  size_t lane = 0;
  size_t lanes = 1;
  uint32_t shards = 1;
  const Clock* clock = nullptr;  // operators that act on the wall clock
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
  uint64_t late = 0;      // rows that no window took: to <id>.late if somebody reads it, else dropped
  uint64_t fired = 0;     // windows and timers that have fired
  uint64_t cache_hits = 0, cache_misses = 0, store_reads = 0;
};

class Operator {
 public:
  virtual ~Operator() = default;
  virtual Status open(const OperatorContext& context) = 0;
  // One batch from input `input` (index in the plan's list of inputs).
  virtual Status process(const Batch& batch, size_t input, Collector& out) = 0;

  // Time. A keyed operator that acts on the watermark has the lane cut batches for it, so that nothing depends on where
  // the sender cut them: consume() folds in live rows from the `begin`-th on and returns the index of the first that it
  // did not take, because a timer is due at that row's watermark (the watermark left by the rows before it), or
  // batch.live(). The lane then calls advance() with that watermark until it returns true, and consume() again with the
  // same batch from there. Between such calls flush() and cut() may happen (a full cache), but no other batch.
  virtual Result<uint32_t> consume(const Batch& batch, uint32_t begin, size_t input, Collector& out) {
    (void)begin;
    MR_RETURN_IF_ERROR(process(batch, input, out));
    return batch.live();
  }
  // Fires what is due at a time T <= watermark_ms, in order of T, at most about max_rows output rows per call. True:
  // nothing is due any more. Rows that a timer at T emits carry the watermark T - 1: downstream they are in time. The
  // watermark never falls; kEndOfTime: the input has ended.
  virtual Result<bool> advance(int64_t watermark_ms, size_t max_rows, Collector& out) {
    (void)watermark_ms;
    (void)max_rows;
    (void)out;
    return true;
  }
  // The same for the wall clock (milliseconds): when the next timer is due, kEndOfTime if none; and firing what is due.
  // next_clock_ms is called on the lane only.
  virtual int64_t next_clock_ms() const { return kEndOfTime; }
  virtual Result<bool> advance_clock(int64_t now_ms, size_t max_rows, Collector& out) {
    (void)now_ms;
    (void)max_rows;
    (void)out;
    return true;
  }
  // The stage's watermark as of the state that the instance was opened with (it is part of the state, so that a restart
  // never judges lateness differently); kNoTime: none. Called after open().
  virtual int64_t restored_watermark_ms() const { return kNoTime; }
  // How far results lag behind the watermark by design (windows that fire once, when nothing can change them any more).
  // The lane passes the watermark on later by as much, so that they are in time downstream.
  virtual int64_t output_delay_ms() const { return 0; }

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
  // flush() emits rows that are older than the watermark: the lane passes the watermark on behind them, at the barrier,
  // and they carry the one that was passed on last.
  virtual bool holds_rows() const { return false; }
  // True when dirty state fills so much of the cache that the epoch should end now.
  virtual bool wants_barrier() const { return false; }
  // True when dirty state fills the whole cache: no more input before the next cut.
  virtual bool is_full() const { return false; }
  const OperatorCounters& counters() const { return counters_; }

 protected:
  OperatorCounters counters_;
};

}  // namespace millrace
