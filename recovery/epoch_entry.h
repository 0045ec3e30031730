// The value of one entry of the local epoch log: the deltas of an epoch and the progress record that decides it, sealed
// with a checksum. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "state/delta.h"

namespace millrace {

std::string encode_epoch_entry(uint64_t epoch, std::string_view progress, const std::vector<DeltaPtr>& deltas);

struct EpochEntry {
  uint64_t epoch = 0;
  std::string_view progress;  // into the bytes that were read
};

// Calls visit for each entry of the deltas, in the order in which they were written (value.data() == nullptr: a
// tombstone). kProgressCorrupt for anything that encode_epoch_entry did not write; then visit may have been called for
// a part, so the caller must not use what it collected.
Result<EpochEntry> read_epoch_entry(std::string_view bytes,
                                    const std::function<void(std::string_view key, std::string_view value)>& visit);

}  // namespace millrace
