// Bump allocator behind the columns of a batch. Not thread-safe while it is being filled; once the batch that owns it
// is handed on, it is only read, from any thread, and freed with the last reference. Memory is never freed piecemeal.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>
#include <vector>

namespace millrace {

class Arena {
 public:
  explicit Arena(size_t first_block_bytes = 16 * 1024) : next_block_bytes_(first_block_bytes) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Uninitialised memory, aligned for any scalar; never null. Lives as long as the arena.
  void* allocate(size_t bytes) {
    bytes = bytes == 0 ? 16 : (bytes + 15) & ~size_t{15};
    if (bytes > static_cast<size_t>(end_ - cursor_)) grow(bytes);
    char* memory = cursor_;
    cursor_ += bytes;
    return memory;
  }
  // n uninitialised values of a trivial type.
  template <class T>
  T* array(size_t n) {
    static_assert(std::is_trivially_destructible_v<T>);
    return static_cast<T*>(allocate(n * sizeof(T)));
  }
  // n values set to all-zero bytes.
  template <class T>
  T* zeroed(size_t n) {
    T* values = array<T>(n);
    std::memset(static_cast<void*>(values), 0, n * sizeof(T));
    return values;
  }
  std::string_view copy(std::string_view text) {
    char* memory = static_cast<char*>(allocate(text.size() + 1));
    std::memcpy(memory, text.data(), text.size());
    return {memory, text.size()};
  }
  // Bytes taken from the system.
  size_t bytes() const { return bytes_; }
  // Forgets everything and keeps the largest block. Precondition: nobody reads what was allocated.
  void reset();

 private:
  void grow(size_t bytes);
  struct Block {
    std::unique_ptr<char[]> memory;
    size_t bytes;
  };
  std::vector<Block> blocks_;
  char* cursor_ = nullptr;
  char* end_ = nullptr;
  size_t next_block_bytes_;
  size_t bytes_ = 0;
};

using ArenaPtr = std::shared_ptr<Arena>;

// Arenas that return to a bounded free list when their last reference goes, so that a steady pipeline does not call
// malloc per batch. Thread-safe; the arenas may outlive the pool.
class ArenaPool {
 public:
  explicit ArenaPool(size_t max_free = 64, size_t max_arena_bytes = 1 << 20);
  ArenaPtr take();

 private:
  struct Shelf;
  std::shared_ptr<Shelf> shelf_;
};

}  // namespace millrace
