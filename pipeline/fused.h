// FusedOperators: the stateless operators that run inside one task, behind its source or keyed operator, called
// directly; and the task's exits: the exchange in front of every keyed operator, the channels to sinks, dead letters.
// One instance per task; the task's thread only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "operators/key_encoder.h"
#include "operators/operator.h"
#include "pipeline/plan.h"
#include "pipeline/task.h"

namespace millrace {

// Where a task's outputs lead, as indexes into its TaskOutputs.
struct TaskRoutes {
  std::map<size_t, std::vector<size_t>> lanes;  // keyed operator -> channel of each lane
  std::map<size_t, size_t> sinks;               // sink -> channel
};

// What a task can reach from a list of targets without passing a keyed operator: for building routes.
struct Reach {
  std::vector<size_t> stateless;  // operators that run inside the task
  std::vector<size_t> keyed;      // operators behind an exchange
  std::vector<size_t> sinks;
};
Reach reach_of(const Plan& plan, const std::vector<Target>& targets);
// Sinks that take dead letters of the sources whose rows can reach the targets' task.
std::vector<size_t> dead_letter_sinks(const Plan& plan);

class FusedOperators {
 public:
  FusedOperators(const Plan& plan, const std::vector<Target>& targets, TaskOutputs& outputs, TaskRoutes routes,
                 ArenaPool& arenas);
  ~FusedOperators();
  Status open();
  // Sends a batch to every target.
  Status deliver(const std::vector<Target>& targets, const Batch& batch);
  // Applies the on_error policy of the batch's source to rows on which `operator_name` failed; counts into the given
  // counts. schema: of the batch; rows that come from no record are dead letters by their columns.
  Status fail_rows(const std::string& operator_name, NodeCounts& counts, const Batch& batch, const RowErrors& errors,
                   const Schema& schema);
  // Sends rows of a source to a sink of dead letters.
  void send_dead_letters(size_t sink, const std::string& operator_name, const Batch& batch, const RowErrors& errors,
                         const Schema& schema);
  // Adds what the operators have counted since they were opened.
  void count(Counts& counts) const;

 private:
  class Node;
  struct Exchange;
  Status deliver_one(const Target& target, const Batch& batch);
  Status deliver_reordered(const Target& target, const Batch& batch, const std::vector<int>& remap);
  Status deliver_operator(const Target& target, const Batch& batch);
  Status exchange(size_t index, uint32_t input, const Batch& batch);
  const Plan& plan_;
  TaskOutputs& outputs_;
  TaskRoutes routes_;
  ArenaPool& arenas_;
  std::map<size_t, std::unique_ptr<Node>> nodes_;
  std::map<size_t, std::unique_ptr<Exchange>> exchanges_;
};

// Whose on_error decides about rows of the batch: their source, or, for rows that a keyed operator has made of many
// records, any source if all sources of the pipeline have the same on_error. nullptr: nobody, the pipeline stops.
const PlannedSource* source_to_decide(const Plan& plan, const Batch& batch);

// A dead-letter row: the raw record and why it could not be processed.
struct DeadLetter {
  std::optional<std::string> value;
  std::string_view key;  // data() == nullptr: none
  std::string error;
  std::string operator_name;
  std::string_view topic;  // data() == nullptr: from no record; no partition and no offset either
  int64_t partition = 0;
  int64_t offset = 0;
  int64_t timestamp_ms = kNoTime;
};
// A batch of dead_letter_schema(); copies everything.
Batch make_dead_letters(const std::vector<DeadLetter>& letters);
// The dead letter of a row: its record, or the row as a JSON object where there is none.
DeadLetter dead_letter_of(const Batch& batch, uint32_t row, const Schema& schema, std::string error,
                          std::string operator_name);
// Where a row of a source comes from: "topic orders, partition 3, offset 17", "file in.jsonl, offset 120"; "" behind a
// keyed operator. `source`: source_to_decide().
std::string row_origin(const PlannedSource* source, const Batch& batch, uint32_t row);

}  // namespace millrace
