#include "operators/time_progress.h"

#include <algorithm>

#include "operators/accumulator_bytes.h"
#include "operators/state_tables.h"
#include "state/state_layers.h"

namespace millrace {
namespace {

constexpr uint8_t kVersion = 1;
const std::string kKey(1, static_cast<char>(StateTable::kProgress));

std::string encode(const TimeProgress::Shard& shard) {
  std::string bytes;
  AccumulatorWriter writer(bytes);
  writer.byte(kVersion);
  writer.zigzag(shard.time_ms);
  writer.string(shard.resume);
  return bytes;
}

bool decode(std::string_view bytes, TimeProgress::Shard& shard) {
  AccumulatorReader reader(bytes);
  const bool known = reader.byte() == kVersion;
  shard.time_ms = reader.zigzag();
  shard.resume = std::string(reader.string());
  return known && reader.finished();
}

}  // namespace

uint16_t TimeProgress::shard_id(size_t index) const { return static_cast<uint16_t>(lane_ + index * lanes_); }

Status TimeProgress::open(const OperatorContext& context) {
  MR_CHECK(context.state != nullptr && context.lane < context.lanes);
  lane_ = context.lane;
  lanes_ = context.lanes;
  operator_id_ = context.operator_id;
  current_.clear();
  std::vector<std::string> keys;
  for (size_t shard = lane_; shard < context.shards; shard += lanes_) {
    keys.push_back(full_key(static_cast<uint16_t>(shard), operator_id_, kKey));
  }
  current_.resize(keys.size());
  LaneState::Found found;
  MR_RETURN_IF_ERROR(context.state->multi_get({keys.begin(), keys.end()}, &found));
  for (size_t i = 0; i < keys.size(); i++) {
    if (found.values[i].data() == nullptr) continue;
    if (!decode(found.values[i], current_[i])) {
      return Status::terminal(Code::kStateCorrupt, "the record of how far time has come does not decode");
    }
    restored_ms_ = std::max(restored_ms_, current_[i].time_ms);
  }
  written_ = current_;
  return Status::ok();
}

int64_t TimeProgress::reached_ms() const {
  int64_t reached_ms = kEndOfTime;
  for (const Shard& shard : current_) reached_ms = std::min(reached_ms, shard.time_ms);
  return current_.empty() ? kNoTime : reached_ms;
}

void TimeProgress::set_all(int64_t time_ms) {
  for (Shard& shard : current_) {
    shard.time_ms = time_ms;
    shard.resume.clear();
  }
}

void TimeProgress::cut(DeltaBuilder& delta) {
  for (size_t i = 0; i < current_.size(); i++) {
    if (current_[i] == written_[i]) continue;
    delta.put(shard_id(i), operator_id_, kKey, encode(current_[i]));
    written_[i] = current_[i];
  }
}

void ShardTimes::restore(const TimeProgress& progress, uint32_t shards) {
  shards_ = shards;
  ahead_.clear();
  const int64_t reached_ms = progress.reached_ms();
  for (size_t i = 0; i < progress.shards(); i++) {
    const int64_t time_ms = progress.shard(i).time_ms;
    if (time_ms > reached_ms) note(progress.shard_id(i), time_ms);
  }
}

void ShardTimes::note(uint16_t shard, int64_t time_ms) {
  if (ahead_.empty()) {
    ahead_.assign(shards_, kNoTime);
    furthest_ms_ = kNoTime;
  }
  ahead_[shard] = std::max(ahead_[shard], time_ms);
  furthest_ms_ = std::max(furthest_ms_, time_ms);
}

void ShardTimes::pass(int64_t lane_ms) {
  if (lane_ms >= furthest_ms_) ahead_.clear();
}

}  // namespace millrace
