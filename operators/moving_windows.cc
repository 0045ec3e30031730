#include "operators/moving_windows.h"

#include <algorithm>

namespace millrace {

void MovingWindows::drop() {
  filled_ = false;
  keys_.clear();
  keys_.shrink_to_fit();
  new_keys_.clear();
  stale_.clear();
  pushing_ms_ = INT64_MIN;
  bytes_ = 0;
}

std::vector<std::unique_ptr<MovingWindows::Key>>::iterator MovingWindows::find(std::string_view key) {
  return std::lower_bound(keys_.begin(), keys_.end(), key,
                          [](const std::unique_ptr<Key>& a, std::string_view b) { return a->key < b; });
}

size_t MovingWindows::first_behind(std::string_view key) const {
  const auto found = std::upper_bound(keys_.begin(), keys_.end(), key,
                                      [](std::string_view a, const std::unique_ptr<Key>& b) { return a < b->key; });
  return static_cast<size_t>(found - keys_.begin());
}

void MovingWindows::push(std::string_view key, int64_t end_ms, const void* block) {
  if (end_ms != pushing_ms_) {
    add_new();
    pushing_ms_ = end_ms;
  }
  // Slices come in the order of keys: most are the next one's.
  while (pushed_ < keys_.size() && keys_[pushed_]->key < key) pushed_++;
  if (pushed_ == keys_.size() || keys_[pushed_]->key != key) {
    new_keys_.push_back(std::unique_ptr<Key>(new Key{std::string(key), SliceQueue(*set_)}));
    new_keys_.back()->slices.push(end_ms, block);
  } else {
    keys_[pushed_]->slices.push(end_ms, block);
  }
  bytes_ += set_->size() + sizeof(int64_t) + set_->extra_bytes(block);
}

void MovingWindows::add_new() {
  pushed_ = 0;
  if (new_keys_.empty()) return;
  const auto middle = static_cast<ptrdiff_t>(keys_.size());
  keys_.insert(keys_.end(), std::make_move_iterator(new_keys_.begin()), std::make_move_iterator(new_keys_.end()));
  new_keys_.clear();
  std::inplace_merge(keys_.begin(), keys_.begin() + middle, keys_.end(),
                     [](const std::unique_ptr<Key>& a, const std::unique_ptr<Key>& b) { return a->key < b->key; });
}

void MovingWindows::move_to(int64_t start_ms, int64_t end_ms) {
  add_new();
  pushing_ms_ = INT64_MIN;
  bytes_ = 0;
  std::erase_if(keys_, [&](const std::unique_ptr<Key>& key) {
    key->slices.evict(start_ms);
    if (key->slices.empty()) return true;
    bytes_ += sizeof(Key) + key->key.capacity() + key->slices.bytes() + sizeof(void*);
    return false;
  });
  filled_ = true;
  end_ms_ = end_ms;
}

SliceQueue& MovingWindows::replace(std::string_view key) {
  auto found = find(key);
  if (found != keys_.end() && (*found)->key == key) {
    found->reset(new Key{std::string(key), SliceQueue(*set_)});
  } else {
    found = keys_.insert(found, std::unique_ptr<Key>(new Key{std::string(key), SliceQueue(*set_)}));
  }
  return (*found)->slices;
}

void MovingWindows::clear_stale() { stale_.clear(); }

}  // namespace millrace
