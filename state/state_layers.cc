#include "state/state_layers.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <thread>

#include "base/check.h"
#include "state/key_hash.h"

namespace millrace {
namespace {

// Decided runs of one tier (epochs covered, by powers of this) that are merged into one of the next: every entry is
// merged once per tier, and a lane looks through at most kFanIn - 1 decided runs per tier.
constexpr size_t kFanIn = 4;
// A lane never has more decided runs than this between two steps.
constexpr size_t kMaxDecidedRuns = 8;
// New progress without any change of state is written this many times later than changes are.
constexpr int64_t kIdleAgeFactor = 30;
// How often the background thread looks at the clock while something waits for its age.
constexpr std::chrono::milliseconds kPoll{20};

size_t tier_of(const Delta& run) {
  size_t tier = 0;
  for (uint64_t epochs = run.last_epoch() - run.first_epoch() + 1; epochs >= kFanIn; epochs /= kFanIn) tier++;
  return tier;
}

}  // namespace

std::shared_ptr<const LaneState::Runs> LaneState::runs() const {
  std::lock_guard lock(mutex_);
  return runs_;
}

void LaneState::add_undecided(DeltaPtr delta) {
  MR_CHECK(delta != nullptr);
  if (delta->size() == 0) return;
  std::lock_guard lock(mutex_);
  // Equal: a lane whose cache is full cuts within the epoch.
  MR_CHECK(runs_->empty() || runs_->back()->last_epoch() <= delta->first_epoch());
  auto runs = std::make_shared<Runs>(*runs_);
  runs->push_back(std::move(delta));
  runs_ = std::move(runs);
}

void LaneState::replace(size_t first, size_t count, DeltaPtr merged) {
  std::shared_ptr<const Runs> dropped;  // freed after the lock is
  std::lock_guard lock(mutex_);
  auto runs = std::make_shared<Runs>(*runs_);
  const auto from = runs->begin() + static_cast<ptrdiff_t>(first);
  const auto at = runs->erase(from, from + static_cast<ptrdiff_t>(count));
  if (merged != nullptr && merged->size() > 0) runs->insert(at, std::move(merged));
  dropped = std::exchange(runs_, std::move(runs));
}

Status LaneState::multi_get(const std::vector<std::string_view>& full_keys, Found* found) {
  const size_t n = full_keys.size();
  found->values.assign(n, std::string_view());
  found->owners.clear();
  // The runs first: an entry that leaves them afterwards is in the store before it does.
  std::shared_ptr<const Runs> newest = runs();
  std::vector<uint32_t> missing(n);
  for (size_t i = 0; i < n; i++) missing[i] = static_cast<uint32_t>(i);
  if (!newest->empty()) {
    std::vector<uint64_t> hashes(n);
    for (size_t i = 0; i < n; i++) hashes[i] = hash_key(full_keys[i]);
    for (auto run = newest->rbegin(); run != newest->rend() && !missing.empty(); ++run) {
      for (uint32_t i : missing) (*run)->prefetch_slot(hashes[i]);
      std::erase_if(missing, [&](uint32_t i) {
        Delta::Value value;
        if (!(*run)->find_hashed(full_keys[i], hashes[i], &value)) return false;
        if (!value.tombstone) found->values[i] = value.bytes;
        return true;
      });
    }
    found->owners.push_back(newest);
  }
  if (missing.empty()) return Status::ok();
  std::sort(missing.begin(), missing.end(), [&](uint32_t a, uint32_t b) { return full_keys[a] < full_keys[b]; });
  std::vector<std::string_view> sorted(missing.size());
  for (size_t i = 0; i < missing.size(); i++) sorted[i] = full_keys[missing[i]];
  MR_ASSIGN(std::shared_ptr<FoundValues> stored, layers_.store_.multi_get(sorted));
  for (size_t i = 0; i < missing.size(); i++) found->values[missing[i]] = (*stored)[i];
  found->owners.push_back(std::move(stored));
  return Status::ok();
}

namespace {

// The runs of a lane over a range of keys, merged as they are read: of each key the newest entry.
class OverlayCursor {
 public:
  OverlayCursor(const std::vector<DeltaPtr>& oldest_first, std::string_view begin, std::string_view end) : end_(end) {
    for (auto run = oldest_first.rbegin(); run != oldest_first.rend(); ++run) {
      Position at{run->get(), (*run)->lower_bound(begin), {}};
      if (load(at)) positions_.push_back(at);
    }
    find_lowest();
  }
  bool valid() const { return lowest_ < positions_.size(); }
  std::string_view key() const { return positions_[lowest_].key; }
  Delta::Value value() const { return positions_[lowest_].run->value(positions_[lowest_].index); }
  void next() {
    const std::string_view passed = key();
    for (size_t i = lowest_; i < positions_.size();) {
      Position& at = positions_[i];
      if (at.key == passed) at.index++;
      if (at.key == passed && !load(at)) {
        positions_.erase(positions_.begin() + static_cast<ptrdiff_t>(i));
      } else {
        i++;
      }
    }
    find_lowest();
  }

 private:
  struct Position {
    const Delta* run;
    size_t index;
    std::string_view key;
  };
  bool load(Position& at) const {
    if (at.index >= at.run->size()) return false;
    at.key = at.run->key(at.index);
    return at.key < end_;
  }
  // A lane has few runs: looking at all of them is cheaper than a heap. The newest of equal keys stands first.
  void find_lowest() {
    lowest_ = 0;
    for (size_t i = 1; i < positions_.size(); i++) {
      if (positions_[i].key < positions_[lowest_].key) lowest_ = i;
    }
  }
  std::string_view end_;
  std::vector<Position> positions_;  // newest run first
  size_t lowest_ = 0;
};

}  // namespace

Status LaneState::scan(uint16_t shard, uint16_t operator_id, std::string_view begin_user_key,
                       std::string_view end_user_key,
                       const std::function<bool(std::string_view, std::string_view)>& visit) {
  const std::string begin = full_key(shard, operator_id, begin_user_key);
  // Behind the last operator of the last shard lies only the reserved shard, which no operator uses.
  const uint32_t next = (uint32_t{shard} << 16 | operator_id) + 1;
  const std::string end = !end_user_key.empty()
                              ? full_key(shard, operator_id, end_user_key)
                              : full_key(static_cast<uint16_t>(next >> 16), static_cast<uint16_t>(next), {});
  const std::shared_ptr<const Runs> newest = runs();
  OverlayCursor overlaid(*newest, begin, end);
  bool more = true;
  const auto visit_overlaid = [&] {
    const Delta::Value value = overlaid.value();
    if (!value.tombstone) more = visit(overlaid.key().substr(kFullKeyPrefix), value.bytes);
    overlaid.next();
  };
  MR_RETURN_IF_ERROR(layers_.store_.scan(begin, end, [&](std::string_view key, std::string_view value) {
    while (more && overlaid.valid() && overlaid.key() < key) visit_overlaid();
    if (!more) return false;
    if (overlaid.valid() && overlaid.key() == key) {
      visit_overlaid();
    } else {
      more = visit(key.substr(kFullKeyPrefix), value);
    }
    return more;
  }));
  while (more && overlaid.valid()) visit_overlaid();
  return Status::ok();
}

struct StateLayers::Target {
  uint64_t epoch = 0;
  std::string progress;
  int64_t changes_since_ms = 0;   // when the oldest decided change that is not in the store was decided
  int64_t progress_since_ms = 0;  // the same of progress
};

struct StateLayers::Work {
  std::mutex mutex;
  std::condition_variable wake;  // the background thread
  std::condition_variable done;  // flush()
  Target target;                 // guarded by mutex, like all below
  uint64_t decided = 0;
  uint64_t ingested = 0;
  bool any_decided = false;  // since the last ingest
  bool any_changes = false;
  bool flush_wanted = false;
  bool stop = false;
  Status error;
  std::function<void(uint64_t)> ingested_callback;
  std::thread thread;
};

StateLayers::StateLayers(StateStore& store, size_t lanes, Options options)
    : store_(store), options_(std::move(options)), work_(std::make_unique<Work>()) {
  MR_CHECK(lanes > 0);
  if (!options_.now_ms) {
    options_.now_ms = [] {
      const auto now = std::chrono::steady_clock::now().time_since_epoch();
      return static_cast<int64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
    };
  }
  for (size_t i = 0; i < lanes; i++) lanes_.push_back(std::unique_ptr<LaneState>(new LaneState(*this)));
  if (options_.background) work_->thread = std::thread([this] { run_background(); });
}

StateLayers::~StateLayers() {
  {
    std::lock_guard lock(work_->mutex);
    work_->stop = true;
  }
  work_->wake.notify_all();
  if (work_->thread.joinable()) work_->thread.join();
}

size_t StateLayers::decided_count(const LaneState::Runs& runs, uint64_t epoch) const {
  size_t count = 0;
  while (count < runs.size() && runs[count]->last_epoch() <= epoch) count++;
  return count;
}

size_t StateLayers::decided_bytes(uint64_t epoch) const {
  size_t bytes = 0;
  for (const auto& lane : lanes_) {
    const auto runs = lane->runs();
    const size_t count = decided_count(*runs, epoch);
    for (size_t i = 0; i < count; i++) bytes += (*runs)[i]->bytes();
  }
  return bytes;
}

size_t StateLayers::held_bytes() const {
  size_t bytes = 0;
  for (const auto& lane : lanes_) {
    const auto runs = lane->runs();
    for (const DeltaPtr& run : *runs) bytes += run->bytes();
  }
  return bytes;
}

Status StateLayers::error() const {
  std::lock_guard lock(work_->mutex);
  return work_->error;
}

size_t StateLayers::pending_bytes() const {
  uint64_t decided = 0;
  {
    std::lock_guard lock(work_->mutex);
    decided = work_->decided;
  }
  return decided_bytes(decided);
}

Status StateLayers::decide(uint64_t epoch, std::string progress) {
  const int64_t now_ms = options_.now_ms();
  bool changes = false;
  for (const auto& lane : lanes_) {
    const auto runs = lane->runs();
    changes = changes || decided_count(*runs, epoch) > 0;
  }
  {
    std::lock_guard lock(work_->mutex);
    MR_CHECK(epoch >= work_->decided);
    if (!work_->any_decided) work_->target.progress_since_ms = now_ms;
    if (changes && !work_->any_changes) work_->target.changes_since_ms = now_ms;
    work_->any_decided = true;
    work_->any_changes = work_->any_changes || changes;
    work_->decided = epoch;
    work_->target.epoch = epoch;
    work_->target.progress = std::move(progress);
    if (options_.background || !work_->error.is_ok()) {
      work_->wake.notify_one();
      return work_->error;
    }
  }
  return step(false);
}

Status StateLayers::flush() {
  if (!options_.background) return step(true);
  std::unique_lock lock(work_->mutex);
  work_->flush_wanted = true;
  work_->wake.notify_one();
  work_->done.wait(lock, [this] { return !work_->error.is_ok() || !work_->any_decided; });
  return work_->error;
}

void StateLayers::on_ingested(std::function<void(uint64_t epoch)> callback) {
  std::lock_guard lock(work_->mutex);
  work_->ingested_callback = std::move(callback);
}

// Merges the newest decided runs of a lane as long as kFanIn of them are of one tier. Only this function and ingest(),
// both on one thread, take runs away, so positions found here stay right while the lane appends.
void StateLayers::merge_tiers(uint64_t epoch) {
  for (const auto& lane : lanes_) {
    for (;;) {
      const auto runs = lane->runs();
      const size_t decided = decided_count(*runs, epoch);
      if (decided < kFanIn) break;
      const size_t tier = tier_of(*(*runs)[decided - 1]);
      size_t first = decided;
      while (first > 0 && tier_of(*(*runs)[first - 1]) <= tier) first--;
      if (decided > kMaxDecidedRuns) first = std::min(first, decided - kFanIn);
      if (decided - first < kFanIn) break;
      const std::vector<DeltaPtr> inputs(runs->begin() + static_cast<ptrdiff_t>(first),
                                         runs->begin() + static_cast<ptrdiff_t>(decided));
      lane->replace(first, decided - first, Delta::merge(inputs, /*drop_tombstones=*/false));
    }
  }
}

bool StateLayers::due(const Target& target) const {
  const int64_t now_ms = options_.now_ms();
  bool any_changes = false;
  {
    std::lock_guard lock(work_->mutex);
    any_changes = work_->any_changes;
  }
  if (!any_changes) return now_ms - target.progress_since_ms >= kIdleAgeFactor * options_.max_age_ms;
  return now_ms - target.changes_since_ms >= options_.max_age_ms ||
         decided_bytes(target.epoch) >= options_.memtable_bytes;
}

Status StateLayers::ingest(const Target& target) {
  std::vector<DeltaPtr> inputs;
  std::vector<size_t> counts;
  for (const auto& lane : lanes_) {
    const auto runs = lane->runs();
    const size_t count = decided_count(*runs, target.epoch);
    inputs.insert(inputs.end(), runs->begin(), runs->begin() + static_cast<ptrdiff_t>(count));
    counts.push_back(count);
  }
  DeltaPtr merged = inputs.size() == 1 ? inputs.front() : Delta::merge(inputs, false, /*with_index=*/false);
  MR_RETURN_IF_ERROR(store_.ingest(*merged, target.progress));
  // Readers took their runs before they look into the store, so what the store holds may leave now.
  for (size_t i = 0; i < lanes_.size(); i++) {
    if (counts[i] > 0) lanes_[i]->replace(0, counts[i], nullptr);
  }
  return Status::ok();
}

// One round of background work: merge, and ingest if it is due or forced. One thread at a time.
Status StateLayers::step(bool force) {
  Target target;
  {
    std::lock_guard lock(work_->mutex);
    if (!work_->error.is_ok()) return work_->error;
    if (!work_->any_decided) return Status::ok();
    target = work_->target;
  }
  if (!force && !due(target)) {
    merge_tiers(target.epoch);
    return Status::ok();
  }
  const Status status = ingest(target);
  std::function<void(uint64_t)> callback;
  {
    std::lock_guard lock(work_->mutex);
    if (!status.is_ok()) {
      work_->error = status;
      return status;
    }
    work_->ingested = target.epoch;
    work_->any_decided = work_->decided > target.epoch;
    work_->any_changes = false;
    if (work_->any_decided) {
      // Epochs decided meanwhile: their age counts from now, and they may hold changes.
      work_->any_changes = true;
      work_->target.changes_since_ms = work_->target.progress_since_ms = options_.now_ms();
    }
    callback = work_->ingested_callback;
  }
  if (callback) callback(target.epoch);
  return Status::ok();
}

void StateLayers::run_background() {
  std::unique_lock lock(work_->mutex);
  while (!work_->stop) {
    if (!work_->any_decided) {
      work_->flush_wanted = false;
      work_->done.notify_all();
      work_->wake.wait(lock, [this] { return work_->stop || work_->any_decided || work_->flush_wanted; });
      continue;
    }
    const bool force = work_->flush_wanted;
    lock.unlock();
    const Status status = step(force);
    lock.lock();
    if (!status.is_ok()) break;
    if (work_->any_decided && !work_->flush_wanted && !work_->stop) work_->wake.wait_for(lock, kPoll);
  }
  work_->done.notify_all();
}

}  // namespace millrace
