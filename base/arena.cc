#include "base/arena.h"

#include <algorithm>
#include <mutex>

namespace millrace {

void Arena::grow(size_t bytes) {
  const size_t block = std::max(bytes, next_block_bytes_);
  next_block_bytes_ = std::min<size_t>(std::max(next_block_bytes_ * 2, block), size_t{1} << 20);
  blocks_.push_back({std::unique_ptr<char[]>(new char[block]), block});
  cursor_ = blocks_.back().memory.get();
  end_ = cursor_ + block;
  bytes_ += block;
}

void Arena::reset() {
  if (blocks_.empty()) return;
  auto largest = std::max_element(blocks_.begin(), blocks_.end(),
                                  [](const Block& a, const Block& b) { return a.bytes < b.bytes; });
  Block kept = std::move(*largest);
  blocks_.clear();
  bytes_ = kept.bytes;
  cursor_ = kept.memory.get();
  end_ = cursor_ + kept.bytes;
  blocks_.push_back(std::move(kept));
}

struct ArenaPool::Shelf {
  std::mutex mutex;
  std::vector<std::unique_ptr<Arena>> free;
  size_t max_free;
  size_t max_arena_bytes;
};

ArenaPool::ArenaPool(size_t max_free, size_t max_arena_bytes) : shelf_(std::make_shared<Shelf>()) {
  shelf_->max_free = max_free;
  shelf_->max_arena_bytes = max_arena_bytes;
}

ArenaPtr ArenaPool::take() {
  std::unique_ptr<Arena> arena;
  {
    std::lock_guard lock(shelf_->mutex);
    if (!shelf_->free.empty()) {
      arena = std::move(shelf_->free.back());
      shelf_->free.pop_back();
    }
  }
  if (!arena) arena = std::make_unique<Arena>();
  return ArenaPtr(arena.release(), [shelf = shelf_](Arena* raw) {
    std::unique_ptr<Arena> returned(raw);
    if (returned->bytes() > shelf->max_arena_bytes) return;
    returned->reset();
    std::lock_guard lock(shelf->mutex);
    if (shelf->free.size() < shelf->max_free) shelf->free.push_back(std::move(returned));
  });
}

}  // namespace millrace
