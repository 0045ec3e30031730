#include "operators/window_table.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr StateTable kTable = StateTable::kWindows;

std::string end_prefix(int64_t end_ms) {
  std::string key(1, static_cast<char>(kTable));
  append_time_key(end_ms, key);
  return key;
}

int64_t end_of(std::string_view full_key) { return read_time_key(full_key, 1); }

std::string behind(std::string key) {
  key.push_back('\0');
  return key;
}

uint64_t ordered_word(std::string_view key, size_t from) {
  uint64_t word = 0;
  if (key.size() > from) std::memcpy(&word, key.data() + from, std::min<size_t>(8, key.size() - from));
  return __builtin_bswap64(word);
}

}  // namespace

Status WindowTable::open(const OperatorContext& context, const AccumulatorSet& set) {
  MR_CHECK(context.state != nullptr && context.lane < context.lanes);
  set_ = &set;
  state_ = context.state;
  operator_id_ = context.operator_id;
  lane_ = context.lane;
  lanes_ = context.lanes;
  cache_ = std::make_unique<LaneCache>(*state_, operator_id_, set, context.cache_bytes);
  shards_.clear();
  shards_.resize(context.shards > lane_ ? (context.shards - lane_ + lanes_ - 1) / lanes_ : 0);
  for (size_t i = 0; i < shards_.size(); i++) {
    std::string key;
    MR_RETURN_IF_ERROR(first_stored(i, std::string(1, static_cast<char>(kTable)), &key));
    if (key.empty()) continue;
    shards_[i].lowest = shards_[i].stored_next = end_of(key);
    find_next(shards_[i]);
  }
  return stored_.open(context, shards_.size(), context.cache_bytes / 8);
}

// The first stored key at or behind `from`; empty: there is none.
Status WindowTable::first_stored(size_t index, const std::string& from, std::string* key) {
  key->clear();
  return state_->scan(shard_id(index), operator_id_, from, table_end(kTable),
                      [&](std::string_view found, std::string_view) {
                        key->assign(found);
                        return false;
                      });
}

void WindowTable::build_keys(const std::string_view* keys, const WindowBounds* windows, size_t n) {
  size_t bytes = n * prefix_bytes();
  for (size_t i = 0; i < n; i++) bytes += keys[i].size();
  if (key_bytes_.size() < bytes) key_bytes_.resize(bytes + bytes / 2);
  if (keys_.size() < n) keys_.resize(n);
  char* at = key_bytes_.data();
  for (size_t i = 0; i < n; i++) {
    char* const begin = at;
    *at++ = static_cast<char>(kTable);
    write_time_key(windows[i].end_ms, at);
    at += kTimeKeyBytes;
    if (with_start_) {
      write_time_key(windows[i].start_ms, at);
      at += kTimeKeyBytes;
    }
    if (!keys[i].empty()) std::memcpy(at, keys[i].data(), keys[i].size());
    at += keys[i].size();
    keys_[i] = {begin, static_cast<size_t>(at - begin)};
  }
}

Status WindowTable::look_up(const std::string_view* keys, const uint16_t* shards, const WindowBounds* windows, size_t n,
                            void** states) {
  build_keys(keys, windows, n);
  if (first_touch_.size() < n) first_touch_.resize(n);
  if (!keeps_removed_) cache_->drop_removed();
  MR_RETURN_IF_ERROR(cache_->lookup(keys_.data(), shards, n, states, first_touch_.data(), &stored_));
  for (size_t i = 0; i < n; i++) {
    if (first_touch_[i] != 0) touch(shards[i], windows[i].end_ms, states[i]);
  }
  return Status::ok();
}

void WindowTable::touch(uint16_t id, int64_t end_ms, void* state) {
  Shard& shard = shards_[index_of(id)];
  if (shard.recent == nullptr || shard.recent_end != end_ms) {
    shard.recent_end = end_ms;
    shard.recent = &shard.touched[end_ms];
    if (end_ms > passed(shard)) shard.next_end = std::min(shard.next_end, end_ms);
  }
  shard.recent->states.push_back(state);
}

Status WindowTable::peek(const std::string_view* keys, const uint16_t* shards, const WindowBounds* windows, size_t n,
                         const void** states) {
  build_keys(keys, windows, n);
  std::vector<void*> cached(n);
  cache_->find(keys_.data(), n, cached.data());
  std::vector<std::string> full_keys;
  std::vector<size_t> missing;
  for (size_t i = 0; i < n; i++) {
    states[i] = cached[i];
    if (cached[i] != nullptr) continue;
    missing.push_back(i);
    full_keys.push_back(full_key(shards[i], operator_id_, keys_[i]));
  }
  if (missing.empty()) return Status::ok();
  MR_RETURN_IF_ERROR(state_->multi_get({full_keys.begin(), full_keys.end()}, &found_));
  for (size_t i = 0; i < missing.size(); i++) {
    if (found_.values[i].data() == nullptr) continue;
    void* block = take_block();
    MR_RETURN_IF_ERROR(set_->decode(found_.values[i], block));
    states[missing[i]] = block;
  }
  found_.owners.clear();
  return Status::ok();
}

WindowTable::Entry WindowTable::parse(std::string_view full_key) const {
  Entry entry;
  entry.full_key = full_key;
  entry.window.end_ms = end_of(full_key);
  if (with_start_) entry.window.start_ms = read_time_key(full_key, 1 + kTimeKeyBytes);
  entry.key = full_key.substr(prefix_bytes());
  return entry;
}

WindowTable::Entry WindowTable::entry(void* state) const {
  const LaneCache::EntryView view = cache_->view(state);
  Entry entry = parse(view.key);
  entry.shard = view.shard;
  entry.state = state;
  entry.dirty = true;
  return entry;
}

void WindowTable::remove(void* state) {
  cache_->mark_removed(state);
  keeps_removed_ = true;
}

void WindowTable::note_removed(Shard& shard, std::string_view key) {
  shard.removed.add(key);
  removed_bytes_ += key.size() + sizeof(uint32_t);
}

void WindowTable::find_next(Shard& shard) const {
  const auto touched = shard.touched.upper_bound(passed(shard));
  shard.next_end = std::min(shard.stored_next, touched == shard.touched.end() ? kNoEnd : touched->first);
}

Status WindowTable::start_walk(size_t index, int64_t passed_ms, std::string resume) {
  Shard& shard = shards_[index];
  shard.passed_ms = passed_ms;
  std::string from(1, static_cast<char>(kTable));
  if (!resume.empty()) {
    from = behind(resume);
  } else if (passed_ms != kNoTime) {
    from = end_prefix(passed_ms + 1);
  }
  std::string key;
  MR_RETURN_IF_ERROR(first_stored(index, from, &key));
  shard.stored_next = key.empty() ? kNoEnd : end_of(key);
  // The end that was interrupted may have had no more windows.
  if (!resume.empty() && shard.stored_next == end_of(resume)) shard.resume = std::move(resume);
  find_next(shard);
  return Status::ok();
}

// By key; 16 bytes behind the window decide nearly every comparison.
void WindowTable::sort(Touched& touched) const {
  if (touched.sorted == touched.states.size()) return;
  struct Item {
    uint64_t words[2];
    void* state;
  };
  std::vector<Item> items;
  items.reserve(touched.states.size() - touched.next);
  const size_t prefix = 1 + kTimeKeyBytes;
  for (size_t i = touched.next; i < touched.states.size(); i++) {
    const std::string_view key = cache_->view(touched.states[i]).key;
    items.push_back({{ordered_word(key, prefix), ordered_word(key, prefix + 8)}, touched.states[i]});
  }
  std::sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
    if (a.words[0] != b.words[0]) return a.words[0] < b.words[0];
    if (a.words[1] != b.words[1]) return a.words[1] < b.words[1];
    return cache_->view(a.state).key < cache_->view(b.state).key;
  });
  for (size_t i = 0; i < items.size(); i++) touched.states[touched.next + i] = items[i].state;
  touched.sorted = touched.states.size();
}

void WindowTable::add_touched(Touched& touched, bool and_remove, std::vector<Entry>* entries) {
  void* state = touched.states[touched.next++];
  if (LaneCache::is_removed(state)) return;
  entries->push_back(entry(state));
  if (and_remove) cache_->mark_removed(state);
}

Status WindowTable::add_stored(Shard& shard, uint16_t id, std::string_view key, std::string_view value, bool and_remove,
                               std::vector<Entry>* entries) {
  Entry entry = parse(visited_keys_.copy(key));
  entry.shard = id;
  entry.state = take_block();
  MR_RETURN_IF_ERROR(set_->decode(value, entry.state));
  entries->push_back(entry);
  if (and_remove) note_removed(shard, key);
  return Status::ok();
}

WindowTable::Touched* WindowTable::touched_of(Shard& shard, int64_t end_ms) {
  const auto found = shard.touched.find(end_ms);
  if (found == shard.touched.end()) return nullptr;
  sort(found->second);
  return &found->second;
}

Status WindowTable::visit(size_t index, size_t limit, bool and_remove, std::vector<Entry>* entries, bool* done) {
  Shard& shard = shards_[index];
  const int64_t end_ms = shard.next_end;
  const size_t before = entries->size();
  MR_CHECK(end_ms != kNoEnd && limit > before);
  Walk walk{end_ms, shard.resume.empty() ? end_prefix(end_ms) : behind(shard.resume), touched_of(shard, end_ms),
            and_remove};
  if (shard.stored_next == end_ms) {
    MR_RETURN_IF_ERROR(walk_both(index, limit, walk, entries));
    if (!walk.full) shard.stored_next = walk.behind;
  }
  const auto left = [&] { return walk.touched != nullptr && walk.touched->next < walk.touched->states.size(); };
  while (shard.stored_next != end_ms && left() && entries->size() < limit) {
    add_touched(*walk.touched, and_remove, entries);
  }
  *done = shard.stored_next != end_ms && !left();
  if (*done) {
    finish_end(index, and_remove);
  } else if (entries->size() > before) {
    shard.resume = entries->back().full_key;
  }
  return Status::ok();
}

// As far as the stored windows of the end go, or the limit. What has been touched stands for what is stored of it.
Status WindowTable::walk_both(size_t index, size_t limit, Walk& walk, std::vector<Entry>* entries) {
  Shard& shard = shards_[index];
  Touched none;
  Touched& touched = walk.touched == nullptr ? none : *walk.touched;
  const auto touched_key = [&] { return cache_->view(touched.states[touched.next]).key; };
  Status status;
  MR_RETURN_IF_ERROR(state_->scan(
      shard_id(index), operator_id_, walk.from, table_end(kTable), [&](std::string_view key, std::string_view value) {
        if (end_of(key) != walk.end_ms) {
          walk.behind = end_of(key);
          return false;
        }
        while (touched.next < touched.states.size() && touched_key() < key && entries->size() < limit) {
          add_touched(touched, walk.and_remove, entries);
        }
        walk.full = entries->size() >= limit;
        if (walk.full) return false;
        if (touched.next < touched.states.size() && touched_key() == key) {
          add_touched(touched, walk.and_remove, entries);
        } else {
          status = add_stored(shard, shard_id(index), key, value, walk.and_remove, entries);
        }
        return status.is_ok();
      }));
  return status;
}

Status WindowTable::read(size_t index, int64_t end_ms, std::string_view after, size_t limit,
                         std::vector<Entry>* entries, bool* done) {
  Shard& shard = shards_[index];
  std::string from = end_prefix(end_ms);
  if (!after.empty()) from.append(after).push_back('\0');
  Walk walk{end_ms, from, touched_of(shard, end_ms), false};
  if (walk.touched != nullptr) {
    std::vector<void*>& states = walk.touched->states;
    const auto first = std::lower_bound(states.begin(), states.end(), from, [&](void* state, const std::string& key) {
      return cache_->view(state).key < key;
    });
    walk.touched->next = static_cast<size_t>(first - states.begin());
  }
  if (stored_.may_hold_any(index, end_ms)) MR_RETURN_IF_ERROR(walk_both(index, limit, walk, entries));
  const auto left = [&] { return walk.touched != nullptr && walk.touched->next < walk.touched->states.size(); };
  while (!walk.full && left() && entries->size() < limit) add_touched(*walk.touched, false, entries);
  *done = !walk.full && !left();
  if (walk.touched != nullptr) walk.touched->next = 0;
  return Status::ok();
}

Status WindowTable::skip(size_t index, int64_t passed_ms) {
  Shard& shard = shards_[index];
  shard.passed_ms = std::max(shard.passed_ms, passed_ms);
  if (shard.stored_next <= shard.passed_ms) {
    std::string key;
    MR_RETURN_IF_ERROR(first_stored(index, end_prefix(shard.passed_ms + 1), &key));
    shard.stored_next = key.empty() ? kNoEnd : end_of(key);
  }
  find_next(shard);
  return Status::ok();
}

void WindowTable::finish_end(size_t index, bool removed) {
  Shard& shard = shards_[index];
  const int64_t end_ms = shard.next_end;
  shard.passed_ms = end_ms;
  shard.resume.clear();
  if (removed) {
    shard.touched.erase(end_ms);
    stored_.forget(index, end_ms);
    if (shard.recent_end == end_ms) shard.recent = nullptr;
    if (shard.lowest == end_ms) shard.lowest = shard.stored_next;
  }
  find_next(shard);
}

Result<bool> WindowTable::expire(int64_t end_ms, size_t limit) {
  size_t removed = 0;
  for (size_t i = 0; i < shards_.size(); i++) {
    expire_touched(shards_[i], end_ms);
    stored_.forget(i, end_ms);
    if (shards_[i].lowest > end_ms) continue;
    if (removed >= limit) return false;
    MR_ASSIGN(const size_t more, expire_stored(i, end_ms, limit - removed));
    removed += more;
    if (shards_[i].lowest <= end_ms) return false;
  }
  return true;
}

void WindowTable::expire_touched(Shard& shard, int64_t end_ms) {
  auto touched = shard.touched.begin();
  while (touched != shard.touched.end() && touched->first <= end_ms) {
    for (void* state : touched->second.states) {
      if (!LaneCache::is_removed(state)) cache_->mark_removed(state);
    }
    if (shard.recent_end == touched->first) shard.recent = nullptr;
    touched = shard.touched.erase(touched);
  }
}

Result<size_t> WindowTable::expire_stored(size_t index, int64_t end_ms, size_t limit) {
  Shard& shard = shards_[index];
  size_t removed = 0;
  int64_t lowest = kNoEnd;
  std::string from = end_prefix(shard.lowest);
  if (shard.expired >= from) from = behind(shard.expired);
  MR_RETURN_IF_ERROR(
      state_->scan(shard_id(index), operator_id_, from, table_end(kTable), [&](std::string_view key, std::string_view) {
        if (end_of(key) > end_ms || removed == limit) {
          lowest = end_of(key);
          return false;
        }
        note_removed(shard, key);
        if (++removed == limit) shard.expired = key;
        return true;
      }));
  shard.lowest = lowest;
  return removed;
}

// What the cut is going to write for the first time.
void WindowTable::note_stored() {
  for (size_t i = 0; i < shards_.size(); i++) {
    for (const auto& [end_ms, touched] : shards_[i].touched) {
      for (void* state : touched.states) {
        if (!LaneCache::is_removed(state) && !cache_->view(state).existed) {
          stored_.add(i, end_ms, LaneCache::hash_of(state));
        }
      }
    }
  }
  stored_.trim();
}

void WindowTable::cut(DeltaBuilder& delta) {
  note_stored();
  cache_->cut(delta);
  keeps_removed_ = false;
  for (size_t i = 0; i < shards_.size(); i++) {
    Shard& shard = shards_[i];
    const char* key = shard.removed.bytes.data();
    for (const uint32_t bytes : shard.removed.sizes) {
      delta.remove(shard_id(i), operator_id_, {key, bytes});
      key += bytes;
    }
    shard.removed = {};
    for (const auto& [end_ms, touched] : shard.touched) {
      if (end_ms > passed(shard)) shard.stored_next = std::min(shard.stored_next, end_ms);
      shard.lowest = std::min(shard.lowest, end_ms);
    }
    shard.touched.clear();
    shard.recent = nullptr;
    find_next(shard);
  }
  removed_bytes_ = 0;
}

void* WindowTable::take_block() {
  if (blocks_used_ == blocks_.size()) {
    blocks_.push_back(std::make_unique<uint64_t[]>(set_->size() / sizeof(uint64_t)));
  }
  void* block = blocks_[blocks_used_++].get();
  set_->create(block);
  return block;
}

void WindowTable::release() {
  while (blocks_used_ > 0) set_->destroy(blocks_[--blocks_used_].get());
  visited_keys_.reset();
}

}  // namespace millrace
