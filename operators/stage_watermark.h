// StageWatermark: the watermark of a keyed operator's lane as part of its state, so that a restart never judges
// lateness differently. Every shard of the lane keeps it under the user key `tag` (1 byte), written at a cut when it
// has changed; an instance begins with the largest of its shards (behind a barrier all lanes have seen the same).
// Belongs to its lane.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "operators/operator.h"

namespace millrace {

class StageWatermark {
 public:
  // Reads what the shards of the instance remember.
  Status open(const OperatorContext& context, uint8_t tag);
  // kNoTime: none yet.
  int64_t ms() const { return watermark_ms_; }
  // As it was when the state was opened.
  int64_t restored_ms() const { return restored_ms_; }
  // It never falls. Whether the end of the input (kEndOfTime) is remembered is for the operator to decide.
  void advance(int64_t watermark_ms) {
    if (watermark_ms > watermark_ms_) watermark_ms_ = watermark_ms;
  }
  void cut(DeltaBuilder& delta);

 private:
  uint16_t operator_id_ = 0;
  size_t lane_ = 0;
  size_t lanes_ = 1;
  uint32_t shards_ = 0;
  char tag_ = 0;
  int64_t watermark_ms_ = kNoTime;
  int64_t restored_ms_ = kNoTime;
  int64_t stored_ms_ = kNoTime;
};

}  // namespace millrace
