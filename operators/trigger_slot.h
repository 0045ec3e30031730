// Slots of a state block that nothing is folded into: what a trigger has to know of a window, and how a window was last
// shown. AggregateFold takes them as `more`.
#pragma once

#include <string>

#include "operators/aggregate.h"

namespace millrace {

struct TriggerState {
  uint64_t rows_since = 0;     // folded in since the window was last shown
  int64_t due_ms = kNoTime;    // of the timer that will show it; kNoTime: there is none
  int64_t shown_ms = kNoTime;  // when it was last shown, by the wall clock; kNoTime: never
};
// A slot that holds a TriggerState.
AggregatePtr make_trigger_slot();

// A slot that holds bytes: a pointer to a string, nullptr while there are none.
struct KeptBytes {
  std::string* bytes = nullptr;
};
AggregatePtr make_kept_bytes_slot();

}  // namespace millrace
