// Crash points: named places where a test kills the process. MILLRACE_CRASHPOINT="name:n" in the environment raises
// SIGKILL at the n-th pass of that point, n from 1; unset, a pass costs one load of a flag. Any thread.
//
// A point is listed here, sorted, before it can be used; campaigns iterate over the list.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

inline constexpr std::string_view kCrashPoints[] = {
    "after-commit",        // the transaction is committed, nothing local has happened
    "before-commit",       // everything of the epoch is flushed; before send-offsets, or the append to the epoch log
    "bulk-load-finish",    // every SST of a bulk load is written and synced, none is part of the store
    "bulk-load-run",       // one sorted run of a bulk load is complete
    "changelog-produced",  // every delta of the epoch is in the producer's queue
    "epoch-begin",         // an epoch is open: sinks may write
    "local-decided",       // the epoch is synced in the epoch log, nothing else has happened
    "log-appended",        // an epoch is synced in the epoch log
    "log-dropped",         // epochs that an ingest covers have left the epoch log
    "recover-begin",       // the store is open, nothing has been read
    "recover-restored",    // the store holds the state of the progress record, nothing is processed yet
    "restore-record",      // one changelog record (or entry of the epoch log) has been restored
    "store-ingested",      // an SST with its progress record is part of the store
    "store-sst-written",   // an SST is complete and synced, but not part of the store
};
static_assert(std::is_sorted(std::begin(kCrashPoints), std::end(kCrashPoints)));

namespace crash_point_internal {
extern const bool armed;  // false also before static initialisation
void pass(const char* name);
}  // namespace crash_point_internal

// Precondition: name is in kCrashPoints (checked in debug builds, and whenever a crash point is armed).
inline void crash_point(const char* name) {
#ifdef NDEBUG
  if (!crash_point_internal::armed) return;
#endif
  crash_point_internal::pass(name);
}

std::vector<std::string> crash_point_names();

}  // namespace millrace
