// A lane that runs one `process` operator over a memory store and a clock that stands still, with time as the runtime
// gives it: consume() and advance() in turn.
#pragma once

#include <fmt/format.h>

#include "base/clock.h"
#include "rows.h"

namespace millrace {

struct TimedRow {
  Row row;
  int64_t time_ms = 0;
  int64_t watermark_ms = kNoTime;  // left by the rows before
  Change change = Change::kInsert;
};

class ProcessLane {
 public:
  static constexpr uint16_t kOperator = 5;

  ProcessLane(const OperatorPlan& plan, Schema input, size_t cache_bytes = 1 << 20, size_t max_rows = 8192)
      : out(plan.output().schema),
        plan_(plan),
        input_(std::move(input)),
        cache_bytes_(cache_bytes),
        max_rows_(max_rows),
        store_(open_memory_store()),
        encoder_(*plan.key(), input_, kShards) {
    restart();
  }

  Batch keyed(const std::vector<TimedRow>& rows) {
    std::vector<Row> cells;
    std::vector<int64_t> times;
    std::vector<Change> changes;
    const auto arena = std::make_shared<Arena>();
    auto* watermarks = arena->array<int64_t>(rows.size());
    for (size_t i = 0; i < rows.size(); i++) {
      cells.push_back(rows[i].row);
      times.push_back(rows[i].time_ms);
      changes.push_back(rows[i].change);
      watermarks[i] = rows[i].watermark_ms;
    }
    Batch batch = make_batch(input_, cells, times, changes);
    batch.watermark_ms = watermarks;
    batch.owners.push_back(arena);
    RowErrors errors;
    batch = encoder_.encode(batch, arena, errors);
    REQUIRE(errors.empty());
    return batch;
  }
  Status try_process(const std::vector<TimedRow>& rows) {
    const Batch batch = keyed(rows);
    for (uint32_t begin = 0, idle = 0; begin < batch.live();) {
      const Result<uint32_t> taken = operator_->consume(batch, begin, 0, out);
      if (!taken.is_ok()) return taken.status();
      REQUIRE(*taken >= begin);
      idle = *taken == begin ? idle + 1 : 0;
      REQUIRE(idle < 2);
      begin = *taken;
      if (begin < batch.live()) MR_RETURN_IF_ERROR(try_advance(batch.watermark_ms[batch.row(begin)]));
    }
    return Status::ok();
  }
  void process(const std::vector<TimedRow>& rows) { REQUIRE(try_process(rows).is_ok()); }
  Status try_advance(int64_t watermark_ms) {
    for (bool done = false; !done;) {
      const Result<bool> fired = operator_->advance(watermark_ms, max_rows_, out);
      if (!fired.is_ok()) return fired.status();
      done = *fired;
    }
    return Status::ok();
  }
  void advance(int64_t watermark_ms) { REQUIRE(try_advance(watermark_ms).is_ok()); }
  void advance_clock(int64_t now_ms) {
    clock.set_wall_ms(now_ms);
    for (bool done = false; !done;) {
      const Result<bool> fired = operator_->advance_clock(now_ms, max_rows_, out);
      REQUIRE(fired.is_ok());
      done = *fired;
    }
    CHECK(operator_->next_clock_ms() > now_ms);
  }
  void end_epoch() {
    const Result<bool> flushed = operator_->flush(epoch_, max_rows_, out);
    REQUIRE((flushed.is_ok() && *flushed));
    DeltaBuilder delta(epoch_);
    operator_->cut(delta);
    layers_->lane(0).add_undecided(delta.finish());
    REQUIRE(layers_->decide(epoch_, "progress").is_ok());
    epoch_++;
  }
  // A new instance over what has been decided.
  void restart() {
    operator_.reset();
    if (layers_) REQUIRE(layers_->flush().is_ok());
    StateLayers::Options layers;
    layers.background = false;
    layers.memtable_bytes = 16 << 10;
    layers.now_ms = [] { return int64_t{0}; };
    layers_ = std::make_unique<StateLayers>(*store_, 1, layers);
    operator_ = plan_.make();
    OperatorContext context;
    context.arenas = &arenas_;
    context.state = &layers_->lane(0);
    context.operator_id = kOperator;
    context.cache_bytes = cache_bytes_;
    context.shards = kShards;
    context.clock = &clock;
    REQUIRE(operator_->open(context).is_ok());
  }
  // Entries of the state whose key begins with this byte.
  size_t stored(char table) {
    size_t entries = 0;
    for (uint16_t shard = 0; shard < kShards; shard++) {
      REQUIRE(layers_->lane(0)
                  .scan(shard, kOperator, std::string(1, table), std::string(1, static_cast<char>(table + 1)),
                        [&](std::string_view, std::string_view) { return ++entries > 0; })
                  .is_ok());
    }
    return entries;
  }
  Operator& instance() { return *operator_; }

  RecordingCollector out;
  ManualClock clock;

 private:
  static constexpr uint32_t kShards = 16;
  const OperatorPlan& plan_;
  Schema input_;
  size_t cache_bytes_;
  size_t max_rows_;
  std::unique_ptr<StateStore> store_;
  std::unique_ptr<StateLayers> layers_;
  ArenaPool arenas_;
  KeyEncoder encoder_;
  std::unique_ptr<Operator> operator_;
  uint64_t epoch_ = 1;
};

}  // namespace millrace
