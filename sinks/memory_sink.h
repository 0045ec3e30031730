// Memory sink: keeps rows for a test to look at, in the place of any connector. Not a kind of pipeline files; `millrace
// test` puts it under the names of the sinks it replaces.
//
// The table is the outside world: it outlives the pipeline's incarnations and shows what a reader of the real target
// would see. One thread uses a table and its sinks (the simulated executor's).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sinks/sink_plan.h"

namespace millrace {

struct MemoryRow {
  std::string columns;             // a JSON object of all columns; dead letters: value and key as text
  std::optional<std::string> key;  // the sink's `key`, as text
  std::string value;               // the sink's `value` as JSON; empty without one, or if deleted
  bool deleted = false;
  int64_t timestamp_ms = kNoTime;
};

class MemoryTable {
 public:
  // staged: rows are visible once their epoch is decided, and what was not decided is forgotten by the next
  // incarnation. Else they are visible at once, and come again when the pipeline repeats them.
  explicit MemoryTable(bool staged) : staged_(staged) {}

  // The rows that became visible since the last call, in order.
  std::vector<MemoryRow> take();

 private:
  friend class MemorySink;
  const bool staged_;
  std::vector<MemoryRow> visible_;
  std::vector<MemoryRow> written_;                       // of the open epoch
  std::map<uint64_t, std::vector<MemoryRow>> prepared_;  // by epoch
};

struct MemorySinkSettings {
  bool staged = true;  // as the table
  ConfigNode key;      // null: records have no key
};

class MemorySinkPlan : public SinkPlan {
 public:
  // `replaced` is the plan of the connector in whose place the sink stands.
  MemorySinkPlan(std::unique_ptr<SinkPlan> replaced, std::shared_ptr<MemoryTable> table, MemorySinkSettings settings);
  ~MemorySinkPlan() override;

  bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) override;
  std::vector<bool> needed_inputs() const override { return std::vector<bool>(schema_.size(), true); }
  SinkGuarantee guarantee() const override;
  std::string describe() const override { return "memory, for " + replaced_->describe(); }
  std::unique_ptr<Sink> make() const override;

  // After plan(): the columns of its rows, without record.*, and the type of MemoryRow::value (nullopt: no `value`).
  const Schema& columns() const { return columns_; }
  std::optional<Type> value_type() const;
  bool has_key() const { return !settings_.key.is_null(); }

 private:
  const std::unique_ptr<SinkPlan> replaced_;
  const std::shared_ptr<MemoryTable> table_;
  const MemorySinkSettings settings_;
  std::string name_;
  Schema schema_;
  Schema columns_;
  std::vector<int> upsert_key_;
  ExpressionPtr key_;
  std::string key_format_;
  ExpressionPtr value_;
  bool dead_letters_only_ = false;
};

}  // namespace millrace
