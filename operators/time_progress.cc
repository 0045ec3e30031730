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

}  // namespace millrace
