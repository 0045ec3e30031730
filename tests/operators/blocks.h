// State blocks for tests of aggregate functions: fold literal values in, read results.
#pragma once

#include <string>
#include <vector>

#include "operators/accumulator_set.h"
#include "rows.h"

namespace millrace {

// The function `name` over a value of this type (or over none, if it takes none).
AggregatePtr make_aggregate(const std::string& name, TypeKind kind, const std::vector<AggregateNumber>& numbers = {});

// A block with its memory.
struct Block {
  explicit Block(const AccumulatorSet& set) : set(set), memory(set.size() / 8) { set.create(memory.data()); }
  ~Block() { set.destroy(memory.data()); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* state() { return memory.data(); }
  std::string bytes() {
    std::string out;
    set.encode(state(), out);
    return out;
  }
  const AccumulatorSet& set;
  std::vector<uint64_t> memory;
};

// Folds values into one slot of the block; the header stays.
void fold(Block& block, size_t aggregate, const Type& type, const std::vector<Cell>& cells);
// The result of one slot.
Cell result(Block& block, size_t aggregate);

}  // namespace millrace
