#include "operators/hopping_operator.h"

#include <algorithm>
#include <map>

#include "operators/moving_windows.h"
#include "operators/pane_operator.h"
#include "operators/projection.h"

namespace millrace {
namespace {

using Finds = WindowRows::Finds;

// Keys of slices that have changed after they were merged; beyond, everything is merged anew.
constexpr size_t kMaxStaleKeys = 4096;
constexpr size_t kReadSlice = 1024;  // entries of a slice read at a time

class HoppingOperator : public PaneOperator {
 public:
  explicit HoppingOperator(std::shared_ptr<const AggregateProgram> program);
  ~HoppingOperator() override { release_blocks(); }
  Status open(const OperatorContext& context) override;

 protected:
  Status fold_pairs(const Batch& batch, RowErrors& failed, Collector& out) override;
  int64_t next_end(size_t shard) const override;
  const std::string& resume(size_t shard) const override { return walks_[shard].resume; }
  Status start(size_t shard, int64_t fired_end_ms, const std::string& resume) override;
  Status fire(int64_t end_ms, int64_t due_ms, size_t limit, size_t* fired, Collector& out) override;
  void pass(int64_t fired_end_ms) override;

 private:
  struct Walk {
    int64_t fired_end_ms = kNoTime;  // of the last window that has fired
    std::string resume;              // the key that the firing of the next one has got to; empty: it has not begun
    MovingWindows windows;           // a cache
    int64_t uncached_until_ms = kNoTime;
    explicit Walk(const AccumulatorSet& set) : windows(set) {}
  };

  void fold_range(const Batch& batch, size_t begin, size_t end, RowErrors& failed);
  Status fold_late(const Batch& batch, size_t i, RowErrors& failed, Collector& out);
  Status show_late(const Batch& batch, size_t i, const std::vector<int64_t>& ends, const std::vector<void*>& before,
                   Collector& out);
  std::vector<int64_t> fired_ends(const Batch& batch, size_t i) const;
  void note_changed(size_t i);

  int64_t last_end(int64_t end_ms) const;
  Status fire_shard(size_t index, int64_t end_ms, size_t limit);
  Status finish(size_t index, int64_t end_ms);
  // Fills and moves the cache; false: the shard has too much for it.
  Result<bool> prepare(size_t index, int64_t end_ms);
  Status push_slice(size_t index, int64_t end_ms);
  Status replace_stale(size_t index, int64_t end_ms);
  Status fire_cached(size_t index, int64_t end_ms, size_t limit);
  Status fire_from_state(size_t index, int64_t end_ms, size_t limit);
  WindowBounds window_of(int64_t end_ms) const { return {end_ms - program_->window.size_ms, end_ms}; }
  // The slices of one key in a stretch of time, in order; nullptr where there is none.
  Status read_slices(std::string_view key, uint16_t shard, const WindowBounds& stretch);
  // Those of them that a window has. False: they do not fit.
  bool merge_read(const WindowBounds& window, void* block) const;
  void add_result(std::string_view key, int64_t end_ms, void* block, bool fits);
  void* take_block();
  void release_blocks();
  std::vector<WindowBounds> slices_of(const WindowBounds& stretch) const;
  void begin_output(size_t rows);

  AggregateOutput output_;
  std::vector<Walk> walks_;
  int64_t passed_end_ms_ = kNoTime;  // windows up to this one have fired in every shard

  int64_t due_ms_ = 0;  // of the firing under way
  std::vector<std::unique_ptr<uint64_t[]>> blocks_;
  size_t blocks_used_ = 0;
  std::vector<void*> shown_;
  std::vector<uint32_t> shown_rows_;
  std::vector<WindowBounds> read_bounds_;
  std::vector<const void*> read_;
  std::vector<WindowTable::Entry> entries_;
  ArenaPtr keys_arena_;
};

HoppingOperator::HoppingOperator(std::shared_ptr<const AggregateProgram> program)
    : PaneOperator(std::move(program), /*sliced=*/true, {}), output_(*program_) {}

Status HoppingOperator::open(const OperatorContext& context) {
  walks_.clear();
  for (size_t shard = context.lane; shard < context.shards; shard += context.lanes) walks_.emplace_back(fold_.set());
  return PaneOperator::open(context);
}

int64_t HoppingOperator::last_end(int64_t end_ms) const {
  return end_ms == kNoTime || end_ms >= kGlobalEndMs - 1 ? end_ms : times_.last_window_end(end_ms);
}

Status HoppingOperator::start(size_t shard, int64_t fired_end_ms, const std::string& resume) {
  walks_[shard].fired_end_ms = last_end(fired_end_ms);
  walks_[shard].resume = resume;
  return table_.start_walk(shard, times_.last_pane_end(fired_end_ms), "");
}

void HoppingOperator::pass(int64_t fired_end_ms) {
  PaneOperator::pass(fired_end_ms);
  passed_end_ms_ = std::max(passed_end_ms_, last_end(fired_end_ms));
}

int64_t HoppingOperator::next_end(size_t shard) const {
  const int64_t slice_end_ms = table_.next_end(shard);
  if (slice_end_ms == kNoEnd) return kNoEnd;
  const int64_t first_ms = times_.first_end(times_.slice_of(slice_end_ms - 1));
  const int64_t fired_ms = std::max(walks_[shard].fired_end_ms, passed_end_ms_);
  if (fired_ms == kNoTime || first_ms > fired_ms) return first_ms;
  return fired_ms + program_->window.every_ms;
}

Status HoppingOperator::fold_pairs(const Batch& batch, RowErrors& failed, Collector& out) {
  const std::vector<Finds>& finds = rows_.finds();
  const size_t n = rows_.size();
  for (size_t begin = 0; begin < n;) {
    size_t end = begin;
    while (end < n && finds[end] != Finds::kLate) end++;
    if (end > begin) fold_range(batch, begin, end, failed);
    if (end < n) MR_RETURN_IF_ERROR(fold_late(batch, end, failed, out));
    begin = end + 1;
  }
  for (size_t i = 0; i < n; i++) {
    if (finds[i] != Finds::kOpen) note_changed(i);
  }
  sort_errors(failed);
  return Status::ok();
}

void HoppingOperator::fold_range(const Batch& batch, size_t begin, size_t end, RowErrors& failed) {
  fold_.bind(batch, rows_.rows().data() + begin, states_.data() + begin, end - begin);
  fold_.for_each_range(failed, [this](size_t from, size_t to) { fold_.fold(from, to); });
}

// What was merged of this slice is not right any more.
void HoppingOperator::note_changed(size_t i) {
  const WindowTable::Entry slice = table_.entry(states_[i]);
  MovingWindows& windows = walks_[table_.index_of(slice.shard)].windows;
  if (!windows.filled() || slice.window.end_ms > windows.end_ms()) return;
  windows.invalidate(slice.key);
  if (windows.stale().size() > kMaxStaleKeys) windows.drop();
}

// Ends of the windows of a late row that have fired and are still open for it.
std::vector<int64_t> HoppingOperator::fired_ends(const Batch& batch, size_t i) const {
  const uint32_t row = rows_.rows()[i];
  const int64_t found_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : time_ms_;
  const int64_t watermark_ms = shard_times_.of(batch.shards[row], found_ms);
  const WindowBounds& slice = rows_.windows()[i];
  std::vector<int64_t> ends;
  const int64_t last_ms = std::min(times_.last_end(slice), watermark_ms + 1);
  for (int64_t end_ms = times_.first_end(slice); end_ms <= last_ms; end_ms += program_->window.every_ms) {
    if (end_ms - 1 + times_.lateness_ms() > watermark_ms) ends.push_back(end_ms);
  }
  return ends;
}

Status HoppingOperator::fold_late(const Batch& batch, size_t i, RowErrors& failed, Collector& out) {
  const WindowTable::Entry slice = table_.entry(states_[i]);
  std::vector<void*> before;
  release_blocks();
  const std::vector<int64_t> ends = fired_ends(batch, i);
  if (program_->gives_retractions && !ends.empty()) {
    MR_RETURN_IF_ERROR(read_slices(slice.key, slice.shard, {window_of(ends.front()).start_ms, ends.back()}));
    for (const int64_t end_ms : ends) {
      void* block = take_block();
      const bool fits = merge_read(window_of(end_ms), block);
      before.push_back(fits && AccumulatorSet::header(block).rows() > 0 ? block : nullptr);
    }
  }
  const size_t failed_before = failed.entries.size();
  fold_range(batch, i, i + 1, failed);
  return failed.entries.size() > failed_before ? Status::ok() : show_late(batch, i, ends, before, out);
}

Status HoppingOperator::show_late(const Batch& batch, size_t i, const std::vector<int64_t>& ends,
                                  const std::vector<void*>& before, Collector& out) {
  const WindowTable::Entry slice = table_.entry(states_[i]);
  const uint32_t row = rows_.rows()[i];
  const int64_t watermark_ms = batch.watermark_ms != nullptr ? batch.watermark_ms[row] : time_ms_;
  const auto add = [&](int64_t end_ms, Change change) {
    const uint32_t added = output_.add_row(slice.key, change, end_ms - 1, watermark_ms, row);
    output_.set_window(added, window_of(end_ms));
    return added;
  };
  if (ends.empty()) return Status::ok();
  // Once: the windows have most of them in common.
  MR_RETURN_IF_ERROR(read_slices(slice.key, slice.shard, {window_of(ends.front()).start_ms, ends.back()}));
  const size_t piece = AggregateOutput::kMaxRows / rows_per_key();
  for (size_t begin = 0; begin < ends.size(); begin += piece) {
    begin_output(std::min(piece, ends.size() - begin) * rows_per_key());
    for (size_t w = begin; w < std::min(ends.size(), begin + piece); w++) {
      if (w < before.size() && before[w] != nullptr) {
        shown_.push_back(before[w]);
        shown_rows_.push_back(add(ends[w], Change::kRetract));
      }
      void* block = take_block();
      const bool fits = merge_read(window_of(ends[w]), block);
      const uint32_t added = add(ends[w], Change::kInsert);
      if (fits) {
        shown_.push_back(block);
        shown_rows_.push_back(added);
      } else {
        output_.fail_row(added, "the window does not fit");
      }
    }
    fold_.write(shown_.data(), shown_rows_.data(), shown_.size(), output_);
    MR_RETURN_IF_ERROR(output_.emit(batch.watermark_ms != nullptr, &batch, out, counters_.out));
    counters_.absorbed -= output_.reported();  // accounted for as failed
  }
  return Status::ok();
}

std::vector<WindowBounds> HoppingOperator::slices_of(const WindowBounds& stretch) const {
  std::vector<WindowBounds> slices;
  for (int64_t start_ms = stretch.start_ms; start_ms < stretch.end_ms;) {
    slices.push_back(times_.slice_of(start_ms));
    start_ms = slices.back().end_ms;
  }
  return slices;
}

Status HoppingOperator::read_slices(std::string_view key, uint16_t shard, const WindowBounds& stretch) {
  read_bounds_ = slices_of(stretch);
  const std::vector<std::string_view> keys(read_bounds_.size(), key);
  const std::vector<uint16_t> shards(read_bounds_.size(), shard);
  read_.assign(read_bounds_.size(), nullptr);
  table_.release();
  return table_.peek(keys.data(), shards.data(), read_bounds_.data(), read_bounds_.size(), read_.data());
}

bool HoppingOperator::merge_read(const WindowBounds& window, void* block) const {
  for (size_t i = 0; i < read_.size(); i++) {
    if (read_[i] == nullptr || read_bounds_[i].start_ms < window.start_ms) continue;
    if (read_bounds_[i].start_ms >= window.end_ms) break;
    if (!fold_.set().merge(block, read_[i])) return false;
  }
  return true;
}

void* HoppingOperator::take_block() {
  if (blocks_used_ == blocks_.size()) {
    blocks_.push_back(std::make_unique<uint64_t[]>(fold_.set().size() / sizeof(uint64_t)));
  }
  void* block = blocks_[blocks_used_++].get();
  fold_.set().create(block);
  return block;
}

void HoppingOperator::release_blocks() {
  while (blocks_used_ > 0) fold_.set().destroy(blocks_[--blocks_used_].get());
}

void HoppingOperator::begin_output(size_t rows) {
  keys_arena_ = context_.arenas->take();
  output_.begin(context_.arenas->take(), static_cast<uint32_t>(rows));
  shown_.clear();
  shown_rows_.clear();
}

Status HoppingOperator::fire(int64_t end_ms, int64_t due_ms, size_t limit, size_t* fired, Collector& out) {
  due_ms_ = due_ms;
  release_blocks();
  begin_output(limit);
  for (size_t i = 0; i < walks_.size() && output_.rows() < limit; i++) {
    if (next_end(i) == end_ms) MR_RETURN_IF_ERROR(fire_shard(i, end_ms, limit));
  }
  *fired = output_.rows();
  counters_.fired += *fired;
  if (*fired == 0) return Status::ok();
  fold_.write(shown_.data(), shown_rows_.data(), shown_.size(), output_);
  return output_.emit(has_watermark_, nullptr, out, counters_.out);
}

Status HoppingOperator::fire_shard(size_t index, int64_t end_ms, size_t limit) {
  MR_ASSIGN(const bool cached, prepare(index, end_ms));
  return cached ? fire_cached(index, end_ms, limit) : fire_from_state(index, end_ms, limit);
}

Status HoppingOperator::finish(size_t index, int64_t end_ms) {
  walks_[index].fired_end_ms = end_ms;
  walks_[index].resume.clear();
  return table_.skip(index, times_.last_pane_end(end_ms));
}

void HoppingOperator::add_result(std::string_view key, int64_t end_ms, void* block, bool fits) {
  const uint32_t row = output_.add_row(key, Change::kInsert, end_ms - 1, stamp_ms(due_ms_));
  output_.set_window(row, window_of(end_ms));
  if (!fits) return output_.fail_row(row, "the window does not fit");
  shown_.push_back(block);
  shown_rows_.push_back(row);
}

Result<bool> HoppingOperator::prepare(size_t index, int64_t end_ms) {
  Walk& walk = walks_[index];
  MovingWindows& windows = walk.windows;
  if (windows.filled() && windows.end_ms() == end_ms && windows.stale().empty()) return true;
  if (end_ms <= walk.uncached_until_ms) return false;
  const size_t budget = context_.cache_bytes / 2 / std::max<size_t>(walks_.size(), 1);
  const int64_t start_ms = end_ms - program_->window.size_ms;
  for (const WindowBounds& slice : slices_of(window_of(end_ms))) {
    if (windows.filled() && slice.end_ms <= windows.end_ms()) continue;
    MR_RETURN_IF_ERROR(push_slice(index, slice.end_ms));
    if (windows.bytes() <= budget) continue;
    // Tried again when the window has moved on by its size.
    windows.drop();
    walk.uncached_until_ms = end_ms + program_->window.size_ms;
    return false;
  }
  windows.move_to(start_ms, end_ms);
  MR_RETURN_IF_ERROR(replace_stale(index, end_ms));
  return true;
}

Status HoppingOperator::push_slice(size_t index, int64_t end_ms) {
  std::string after;
  for (bool done = false; !done;) {
    entries_.clear();
    table_.release();
    MR_RETURN_IF_ERROR(table_.read(index, end_ms, after, kReadSlice, &entries_, &done));
    for (const WindowTable::Entry& entry : entries_) {
      if (AccumulatorSet::header(entry.state).rows() > 0) walks_[index].windows.push(entry.key, end_ms, entry.state);
    }
    if (!entries_.empty()) after = entries_.back().key;
  }
  return Status::ok();
}

Status HoppingOperator::replace_stale(size_t index, int64_t end_ms) {
  MovingWindows& windows = walks_[index].windows;
  for (const std::string& key : windows.stale()) {
    MR_RETURN_IF_ERROR(read_slices(key, table_.shard_id(index), window_of(end_ms)));
    SliceQueue& queue = windows.replace(key);
    for (size_t i = 0; i < read_.size(); i++) {
      if (read_[i] == nullptr || AccumulatorSet::header(read_[i]).rows() == 0) continue;
      queue.push(read_bounds_[i].end_ms, read_[i]);
    }
  }
  windows.clear_stale();
  return Status::ok();
}

Status HoppingOperator::fire_cached(size_t index, int64_t end_ms, size_t limit) {
  Walk& walk = walks_[index];
  const auto& keys = walk.windows.keys();
  for (size_t i = walk.resume.empty() ? 0 : walk.windows.first_behind(walk.resume); i < keys.size(); i++) {
    const MovingWindows::Key& key = *keys[i];
    if (key.slices.empty()) continue;
    if (output_.rows() == limit) return Status::ok();
    void* block = take_block();
    bool fits = key.slices.read(block);
    if (!fits) {
      MR_RETURN_IF_ERROR(read_slices(key.key, table_.shard_id(index), window_of(end_ms)));
      block = take_block();
      fits = merge_read(window_of(end_ms), block);
    }
    add_result(key.key, end_ms, block, fits);
    walk.resume = key.key;
  }
  return finish(index, end_ms);
}

// A page of keys: what each slice has of the next ones, as far as every slice has been read.
Status HoppingOperator::fire_from_state(size_t index, int64_t end_ms, size_t limit) {
  Walk& walk = walks_[index];
  struct Result {
    void* block;
    bool fits;
  };
  std::map<std::string, Result, std::less<>> page;
  const size_t room = limit - output_.rows();
  bool bounded = false;
  std::string bound;
  const auto lower_bound_to = [&](std::string_view key) {
    if (bounded && bound <= key) return;
    bounded = true;
    bound = key;
  };
  for (const WindowBounds& slice : slices_of(window_of(end_ms))) {
    bool done = false;
    entries_.clear();
    table_.release();
    MR_RETURN_IF_ERROR(table_.read(index, slice.end_ms, walk.resume, room, &entries_, &done));
    for (const WindowTable::Entry& entry : entries_) {
      if (bounded && entry.key > bound) break;
      if (AccumulatorSet::header(entry.state).rows() == 0) continue;
      auto found = page.find(entry.key);
      if (found == page.end()) found = page.emplace(entry.key, Result{take_block(), true}).first;
      found->second.fits = found->second.fits && fold_.set().merge(found->second.block, entry.state);
    }
    if (!done) lower_bound_to(entries_.back().key);
    while (page.size() > room || (bounded && !page.empty() && page.rbegin()->first > bound)) {
      page.erase(std::prev(page.end()));
      if (page.size() == room) lower_bound_to(page.rbegin()->first);
    }
  }
  for (const auto& [key, result] : page) add_result(keys_arena_->copy(key), end_ms, result.block, result.fits);
  if (!bounded) return finish(index, end_ms);
  walk.resume = bound;
  return Status::ok();
}

}  // namespace

bool is_sliced(const AggregateProgram& program) {
  const EmitSpec& emit = program.emit;
  return program.window.kind == WindowSpec::Kind::kHopping &&
         (emit.mode == EmitMode::kClose || emit.mode == EmitMode::kFinal) && !emit.early() && !emit.discarding;
}

std::unique_ptr<Operator> make_hopping_operator(std::shared_ptr<const AggregateProgram> program) {
  return std::make_unique<HoppingOperator>(std::move(program));
}

}  // namespace millrace
