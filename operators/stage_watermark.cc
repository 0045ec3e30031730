#include "operators/stage_watermark.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/check.h"
#include "operators/accumulator_bytes.h"
#include "state/state_layers.h"

namespace millrace {

Status StageWatermark::open(const OperatorContext& context, uint8_t tag) {
  MR_CHECK(context.state != nullptr && context.lane < context.lanes);
  operator_id_ = context.operator_id;
  lane_ = context.lane;
  lanes_ = context.lanes;
  shards_ = context.shards;
  tag_ = static_cast<char>(tag);
  std::vector<std::string> keys;
  for (size_t shard = lane_; shard < shards_; shard += lanes_) {
    keys.push_back(full_key(static_cast<uint16_t>(shard), operator_id_, {&tag_, 1}));
  }
  const std::vector<std::string_view> views(keys.begin(), keys.end());
  LaneState::Found found;
  MR_RETURN_IF_ERROR(context.state->multi_get(views, &found));
  for (const std::string_view value : found.values) {
    if (value.data() == nullptr) continue;
    AccumulatorReader in(value);
    const int64_t stored_ms = in.zigzag();
    if (!in.finished()) return Status::terminal(Code::kStateCorrupt, "a watermark does not decode");
    watermark_ms_ = std::max(watermark_ms_, stored_ms);
  }
  restored_ms_ = watermark_ms_;
  stored_ms_ = watermark_ms_;
  return Status::ok();
}

void StageWatermark::cut(DeltaBuilder& delta) {
  if (watermark_ms_ == stored_ms_) return;
  std::string value;
  AccumulatorWriter(value).zigzag(watermark_ms_);
  for (size_t shard = lane_; shard < shards_; shard += lanes_) {
    delta.put(static_cast<uint16_t>(shard), operator_id_, {&tag_, 1}, value);
  }
  stored_ms_ = watermark_ms_;
}

}  // namespace millrace
