// SetMembers: the sets of an aggregate's calls that are too large for their blocks. It looks up the values of rows
// whose sets are outside before the rows are folded, and moves sets out that have grown large. Calls over the same
// value share entries: a group. An instance belongs to one lane.
//
//   members.bind(calls);       when rows are bound, before can_fold and add
//   …
//   members.move(states, n);   when they have been folded
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "operators/aggregate_program.h"
#include "operators/member_table.h"

namespace millrace {

class SetMembers {
 public:
  // Whether any call has sets.
  static bool needed(const AggregateProgram& program);
  // offsets: of each call's slot in a block. time_bytes: MemberTable. The program outlives the instance.
  SetMembers(const AggregateProgram& program, const std::vector<size_t>& offsets, size_t time_bytes);
  // blocks: where the states that are bound live; it outlives the instance.
  Status open(const OperatorContext& context, const LaneCache& blocks, size_t cache_bytes);

  // Sets `members` of the calls that have sets. Valid until the next bind() or cut().
  Status bind(std::vector<AggregateRows>& calls);
  Status move(void* const* states, size_t n);

  MemberTable& table() { return table_; }

 private:
  struct Group {
    uint16_t number;  // in the state
    std::vector<size_t> calls;
    std::vector<uint32_t> entries;  // per bound row, of the look-up
    std::vector<uint64_t*> words;   // per bound row; nullptr: nothing of it is outside
  };
  static constexpr uint32_t kNone = UINT32_MAX;
  const SetSlots& sets_of(size_t call) const { return *program_.calls[call].aggregate->sets(); }
  void* slot_of(void* state, size_t call) const { return static_cast<char*>(state) + offsets_[call]; }
  // Bits of the calls that look row i up.
  uint64_t outside(const Group& group, const std::vector<AggregateRows>& calls, size_t i) const;
  Status move_set(void* state, const Group& group, size_t k);

  const AggregateProgram& program_;
  const std::vector<size_t> offsets_;
  MemberTable table_;
  const LaneCache* blocks_ = nullptr;
  std::vector<Group> groups_;
  std::string value_;
};

}  // namespace millrace
