// HyperLogLog: about how many different values were inserted (approx_distinct), by hashes of 64 bits. Plain memory that
// may be moved by memcpy; create() before use, destroy() at the end.
//
// Up to 768 values are kept sparsely, each by 25 bits of its hash and the number of zeros behind them, and counted
// nearly exactly; beyond that there are 4,096 registers (precision 12), whose estimate has a standard error of 1.6 %.
// What is held, encoded and estimated depends only on the set of values, not on their order.
//
// Estimates: linear counting over 2^25 places while sparse; else O. Ertl's improved raw estimator (arXiv:1702.01284,
// section 4.3), which needs no tables of corrections and is unbiased over the whole range.
#pragma once

#include <cstddef>
#include <cstdint>

#include "operators/accumulator_bytes.h"

namespace millrace {

class HyperLogLog {
 public:
  void create() {
    count_ = 0;
    slots_ = 0;
    sparse_ = nullptr;
  }
  void destroy();
  // The hash is stored: it must be a stable, well-mixed function of the value.
  void insert(uint64_t hash);
  void merge(const HyperLogLog& from);
  int64_t estimate() const;
  size_t heap_bytes() const;
  void encode(AccumulatorWriter& out) const;
  // Precondition: empty. False: malformed.
  bool decode(AccumulatorReader& in);

 private:
  static constexpr int kPrecision = 12;
  static constexpr uint32_t kRegisters = 1u << kPrecision;
  static constexpr uint8_t kMaxRank = 64 - kPrecision + 1;
  static constexpr int kSparsePrecision = 25;
  static constexpr int kSparseRankBits = 6;
  static constexpr uint8_t kMaxSparseRank = 64 - kSparsePrecision + 1;
  static constexpr uint32_t kMaxSparse = 768;
  static constexpr uint32_t kFirstSlots = 4;
  static constexpr uint32_t kDense = UINT32_MAX;  // as slots_

  struct Registers {
    uint8_t ranks[kRegisters];
    uint16_t with_rank[kMaxRank + 1];  // how many registers have each rank
  };

  bool dense() const { return slots_ == kDense; }
  // The bucket of 25 bits, then the rank of the other 39, at least 1: never 0.
  void insert_sparse(uint32_t entry);
  bool place(uint32_t* slots, uint32_t n, uint32_t entry);
  void grow(uint32_t slots);
  void make_dense();
  void raise(uint32_t place, uint8_t rank);
  void insert_dense(uint32_t entry);
  template <class Visit>
  void for_each_entry(Visit&& visit) const {
    for (uint32_t i = 0; i < slots_; i++) {
      if (sparse_[i] != 0) visit(sparse_[i]);
    }
  }

  uint32_t count_;  // sparse entries
  uint32_t slots_;  // sparse: of the table, a power of two, 0: none
  union {
    uint32_t* sparse_;  // open addressing by bucket; 0: free
    Registers* registers_;
  };
};

}  // namespace millrace
