#include "operators/set_members.h"

#include <algorithm>

namespace millrace {
namespace {

// Blocks with keys longer than this keep their sets: key and value have to fit one key of the state.
constexpr size_t kMaxBlockKeyBytes = LaneCache::kMaxKeyBytes - MemberTable::kMaxValueBytes - 1024;
constexpr size_t kMovedAtOnce = 1024;

bool counts(const AggregateRows& rows, size_t i) {
  const uint32_t row = rows.rows[i];
  return !rows.value->is_null(row) && (rows.condition == nullptr || rows.condition->bools[row] != 0);
}

}  // namespace

bool SetMembers::needed(const AggregateProgram& program) {
  return std::any_of(program.calls.begin(), program.calls.end(),
                     [](const AggregateCall& call) { return call.aggregate->sets() != nullptr; });
}

// Groups and bits are numbered in the order of slots, which is part of what the state is described by.
SetMembers::SetMembers(const AggregateProgram& program, const std::vector<size_t>& offsets, size_t time_bytes)
    : program_(program), offsets_(offsets), table_(time_bytes) {
  for (const int slot : program.state_order) {
    const auto call = static_cast<size_t>(slot);
    if (program.calls[call].aggregate->sets() == nullptr) continue;
    const auto same_value = [&](const Group& group) {
      return program.calls[group.calls[0]].value == program.calls[call].value &&
             group.calls.size() < MemberTable::kMaxCalls;
    };
    const auto found = std::find_if(groups_.begin(), groups_.end(), same_value);
    if (found != groups_.end()) {
      found->calls.push_back(call);
    } else {
      groups_.push_back({static_cast<uint16_t>(groups_.size()), {call}, {}, {}});
    }
  }
}

Status SetMembers::open(const OperatorContext& context, const LaneCache& blocks, size_t cache_bytes) {
  blocks_ = &blocks;
  return table_.open(context, cache_bytes);
}

uint64_t SetMembers::outside(const Group& group, const std::vector<AggregateRows>& calls, size_t i) const {
  uint64_t bits = 0;
  for (size_t k = 0; k < group.calls.size(); k++) {
    const size_t call = group.calls[k];
    if (sets_of(call).is_outside(slot_of(calls[call].states[i], call)) && counts(calls[call], i)) {
      bits |= uint64_t{1} << k;
    }
  }
  return bits;
}

Status SetMembers::bind(std::vector<AggregateRows>& calls) {
  table_.begin();
  for (Group& group : groups_) {
    const AggregateRows& rows = calls[group.calls[0]];
    const SetSlots& sets = sets_of(group.calls[0]);
    group.entries.assign(rows.n, kNone);
    for (size_t i = 0; i < rows.n; i++) {
      const uint64_t bits = outside(group, calls, i);
      if (bits == 0) continue;
      const LaneCache::EntryView block = blocks_->view(rows.states[i]);
      value_.clear();
      sets.encode_value(*rows.value, rows.rows[i], value_);
      if (value_.size() > MemberTable::kMaxValueBytes) continue;  // such a row will not be folded
      group.entries[i] = static_cast<uint32_t>(table_.add(block.key, block.shard, group.number, value_, bits));
    }
  }
  if (table_.size() > 0) MR_RETURN_IF_ERROR(table_.look_up());
  for (Group& group : groups_) {
    group.words.resize(group.entries.size());
    for (size_t i = 0; i < group.entries.size(); i++) {
      group.words[i] = group.entries[i] == kNone ? nullptr : table_.word_at(group.entries[i]);
    }
    for (size_t k = 0; k < group.calls.size(); k++) {
      calls[group.calls[k]].members = group.words.data();
      calls[group.calls[k]].member_bit = uint64_t{1} << k;
    }
  }
  return Status::ok();
}

Status SetMembers::move(void* const* states, size_t n) {
  for (const Group& group : groups_) {
    for (size_t k = 0; k < group.calls.size(); k++) {
      const SetSlots& sets = sets_of(group.calls[k]);
      for (size_t i = 0; i < n; i++) {
        if (sets.is_large(slot_of(states[i], group.calls[k]))) MR_RETURN_IF_ERROR(move_set(states[i], group, k));
      }
    }
  }
  return Status::ok();
}

Status SetMembers::move_set(void* state, const Group& group, size_t k) {
  const LaneCache::EntryView block = blocks_->view(state);
  if (block.key.size() > kMaxBlockKeyBytes) return Status::ok();
  const uint64_t bit = uint64_t{1} << k;
  const auto put = [&]() -> Status {
    MR_RETURN_IF_ERROR(table_.look_up());
    for (size_t i = 0; i < table_.size(); i++) {
      if ((table_.word(i) & bit) == 0) table_.set(i, bit);
    }
    table_.begin();
    return Status::ok();
  };
  Status status;
  table_.begin();
  void* slot = slot_of(state, group.calls[k]);
  sets_of(group.calls[k]).move_out(slot, [&](std::string_view value) {
    if (!status.is_ok()) return;
    table_.add(block.key, block.shard, group.number, value, bit);
    if (table_.size() == kMovedAtOnce) status = put();
  });
  if (!status.is_ok()) return status;
  return table_.size() > 0 ? put() : Status::ok();
}

}  // namespace millrace
