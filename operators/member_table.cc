#include "operators/member_table.h"

#include <algorithm>

#include "operators/accumulator_bytes.h"
#include "operators/state_tables.h"

namespace millrace {
namespace {

constexpr uint8_t kCodecVersion = 1;
constexpr StateTable kTable = StateTable::kMembers;

void append_number(uint32_t value, size_t bytes, std::string& out) {
  for (size_t i = bytes; i-- > 0;) out.push_back(static_cast<char>(value >> (8 * i)));
}

}  // namespace

void MemberTable::Codec::encode(const void* state, std::string& out) const {
  const Member& member = *static_cast<const Member*>(state);
  member.word &= ~kChanged;
  AccumulatorWriter writer(out);
  writer.byte(kCodecVersion);
  writer.varint(member.word);
}

Status MemberTable::Codec::decode(std::string_view bytes, void* state) const {
  AccumulatorReader reader(bytes);
  const uint8_t version = reader.byte();
  const uint64_t word = reader.varint();
  if (version != kCodecVersion || !reader.finished() || (word & kChanged) != 0) {
    return Status::terminal(Code::kStateCorrupt, "a value of a distinct set does not decode");
  }
  *static_cast<Member*>(state) = {word};
  return Status::ok();
}

bool MemberTable::Codec::is_unchanged(const void* state) const {
  return (static_cast<const Member*>(state)->word & kChanged) == 0;
}

Status MemberTable::open(const OperatorContext& context, size_t cache_bytes) {
  context_ = context;
  cache_ = std::make_unique<LaneCache>(*context.state, context.operator_id, codec_, cache_bytes);
  shards_of_lane_.clear();
  for (size_t shard = context.lane; shard < context.shards; shard += context.lanes) {
    shards_of_lane_.push_back({static_cast<uint16_t>(shard), std::string(1, static_cast<char>(kTable))});
  }
  return Status::ok();
}

void MemberTable::begin() {
  key_bytes_.clear();
  key_ends_.clear();
  shards_.clear();
  wanted_.clear();
}

// Table · times · length of the rest of the block's key · that rest · group · value.
size_t MemberTable::add(std::string_view block, uint16_t shard, uint16_t group, std::string_view value,
                        uint64_t wanted) {
  MR_CHECK(block.size() > time_bytes_);
  const std::string_view rest = block.substr(1 + time_bytes_);
  key_bytes_.push_back(static_cast<char>(kTable));
  key_bytes_.append(block.substr(1, time_bytes_));
  append_number(static_cast<uint32_t>(rest.size()), 4, key_bytes_);
  key_bytes_.append(rest);
  append_number(group, 2, key_bytes_);
  key_bytes_.append(value);
  key_ends_.push_back(key_bytes_.size());
  shards_.push_back(shard);
  wanted_.push_back(wanted);
  return shards_.size() - 1;
}

// What the cache knows to have all wanted bits is not touched, and so neither dirty nor written again.
Status MemberTable::look_up() {
  const size_t n = size();
  keys_.resize(n);
  found_.resize(n);
  words_.resize(n);
  missing_.clear();
  missing_keys_.clear();
  missing_shards_.clear();
  for (size_t i = 0; i < n; i++) {
    const size_t begin = i == 0 ? 0 : key_ends_[i - 1];
    keys_[i] = std::string_view(key_bytes_).substr(begin, key_ends_[i] - begin);
  }
  cache_->find(keys_.data(), n, found_.data());
  for (size_t i = 0; i < n; i++) {
    const auto* member = static_cast<const Member*>(found_[i]);
    words_[i] = &all_bits_;
    if (member != nullptr && (member->word & wanted_[i]) == wanted_[i]) continue;
    missing_.push_back(static_cast<uint32_t>(i));
    missing_keys_.push_back(keys_[i]);
    missing_shards_.push_back(shards_[i]);
  }
  if (missing_.empty()) return Status::ok();
  MR_RETURN_IF_ERROR(cache_->lookup(missing_keys_.data(), missing_shards_.data(), missing_.size(), found_.data()));
  for (size_t k = 0; k < missing_.size(); k++) words_[missing_[k]] = &static_cast<Member*>(found_[k])->word;
  added_ += missing_.size();
  return Status::ok();
}

Status MemberTable::expire(int64_t end_ms) {
  MR_CHECK(time_bytes_ >= kTimeKeyBytes);
  closed_ms_ = std::max(closed_ms_, end_ms);
  if (complete_ms_ == kNoTime) return Status::ok();
  std::string bound = table_end(kTable);
  if (complete_ms_ < INT64_MAX) {
    bound.assign(1, static_cast<char>(kTable));
    append_time_key(complete_ms_ + 1, bound);
  }
  size_t budget = std::max(kExpiredPerEpoch, 2 * added_);
  for (Shard& shard : shards_of_lane_) {
    if (budget == 0) break;
    if (shard.lowest >= bound) continue;
    std::string last;
    MR_RETURN_IF_ERROR(context_.state->scan(shard.id, context_.operator_id, shard.lowest, bound,
                                            [&](std::string_view key, std::string_view) {
                                              if (budget == 0) return false;
                                              budget--;
                                              expired_.emplace_back(shard.id, key);
                                              return true;
                                            }));
    if (!expired_.empty() && expired_.back().first == shard.id) last = expired_.back().second + '\0';
    shard.lowest = budget > 0 ? bound : std::max(shard.lowest, last);
  }
  return Status::ok();
}

void MemberTable::cut(DeltaBuilder& delta) {
  cache_->cut(delta);
  for (const auto& [shard, key] : expired_) delta.remove(shard, context_.operator_id, key);
  expired_.clear();
  complete_ms_ = closed_ms_;
  added_ = 0;
}

}  // namespace millrace
