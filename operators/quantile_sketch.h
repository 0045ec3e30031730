// QuantileSketch: quantiles of doubles with a relative error of at most 1 % (DDSketch, arXiv:1908.10693). Plain memory
// that may be moved by memcpy; create() before use, destroy() at the end.
//
// Values are counted in bins whose bounds grow by the factor 1.01/0.99; a quantile is the middle of the bin where it
// falls. Bins stand sorted, so memory grows with the bins that are in use: a few hundred for values of one to six
// orders of magnitude. Beyond 8,192 bins (the positive ints alone fill 2,184) those nearest to zero become one. What is
// held depends only on the multiset of values, not on their order, unless values were taken back after that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "operators/accumulator_bytes.h"

namespace millrace {

class QuantileSketch {
 public:
  static constexpr double kRelativeError = 0.01;

  void create() {
    counts_ = nullptr;
    bins_ = 0;
    capacity_ = 0;
    values_ = 0;
  }
  void destroy();
  uint64_t values() const { return values_; }
  // Precondition: not NaN.
  void insert(double value) { add(key_of(value), 1); }
  // Takes back a value that was inserted.
  void remove(double value);
  void merge(const QuantileSketch& from);
  // The value of rank floor(q * (values - 1)), counted from 0 in ascending order. Precondition: values() > 0 and
  // 0 <= q <= 1.
  double quantile(double q) const;
  size_t heap_bytes() const { return capacity_ * kBinBytes; }
  void encode(AccumulatorWriter& out) const;
  // Precondition: empty. False: malformed.
  bool decode(AccumulatorReader& in);

 private:
  static constexpr uint32_t kMaxBins = 8192;
  static constexpr uint32_t kFirstCapacity = 4;
  static constexpr size_t kBinBytes = sizeof(uint64_t) + sizeof(int32_t);

  // Of the bin: ascending with the values in it, 0 for zero.
  static int32_t key_of(double value);
  static double value_of(int32_t key);
  int32_t* keys() const { return reinterpret_cast<int32_t*>(counts_ + capacity_); }
  // Index of the first bin whose key is not less.
  uint32_t lower_bound(int32_t key) const;
  void add(int32_t key, uint64_t count);
  void open_bin(uint32_t at, int32_t key, uint64_t count);
  void close_bin(uint32_t at);
  // Of the bin whose values are nearest to zero. Precondition: there is one.
  uint32_t smallest() const;
  void reserve(uint32_t capacity);

  uint64_t* counts_;  // of capacity_ bins, their keys behind them; nullptr: no memory yet
  uint32_t bins_;
  uint32_t capacity_;
  uint64_t values_;
};

}  // namespace millrace
