#include "operators/quantile_sketch.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "base/check.h"

namespace millrace {
namespace {

constexpr uint8_t kFormat = 1;
constexpr double kGamma = (1 + QuantileSketch::kRelativeError) / (1 - QuantileSketch::kRelativeError);
const double kLogGamma = std::log(kGamma);
// Bin i holds (gamma^(i-1), gamma^i]; the doubles lie in -37,300 < i < 35,500. Its key is i + kBinOffset, with the sign
// of the values.
constexpr int32_t kBinOffset = 40'000;
constexpr int32_t kInfinity = 2 * kBinOffset;

}  // namespace

int32_t QuantileSketch::key_of(double value) {
  if (value == 0) return 0;
  const double magnitude = std::fabs(value);
  const int32_t key = std::isinf(magnitude)
                          ? kInfinity
                          : static_cast<int32_t>(std::ceil(std::log(magnitude) / kLogGamma)) + kBinOffset;
  return value < 0 ? -key : key;
}

double QuantileSketch::value_of(int32_t key) {
  if (key == 0) return 0;
  const int32_t distance = std::abs(key);
  double magnitude = std::numeric_limits<double>::infinity();
  if (distance != kInfinity) {
    magnitude = std::exp((distance - kBinOffset) * kLogGamma + std::log(2 / (1 + kGamma)));
    magnitude = std::min(magnitude, std::numeric_limits<double>::max());
  }
  return key < 0 ? -magnitude : magnitude;
}

void QuantileSketch::destroy() { std::free(counts_); }

uint32_t QuantileSketch::lower_bound(int32_t key) const {
  return static_cast<uint32_t>(std::lower_bound(keys(), keys() + bins_, key) - keys());
}

void QuantileSketch::add(int32_t key, uint64_t count) {
  values_ += count;
  uint32_t at = lower_bound(key);
  if (at < bins_ && keys()[at] == key) {
    counts_[at] += count;
    return;
  }
  if (bins_ == kMaxBins) {
    const uint32_t victim = smallest();
    if (std::abs(key) < std::abs(keys()[victim])) {
      counts_[victim] += count;
      return;
    }
    // The bin nearest to zero joins the next one.
    const uint64_t moved = counts_[victim];
    close_bin(victim);
    counts_[smallest()] += moved;
    at = lower_bound(key);
  }
  open_bin(at, key, count);
}

void QuantileSketch::remove(double value) {
  const int32_t key = key_of(value);
  if (bins_ == 0) return;
  uint32_t at = lower_bound(key);
  if (at == bins_ || keys()[at] != key) at = smallest();
  values_--;
  if (--counts_[at] == 0) close_bin(at);
}

void QuantileSketch::merge(const QuantileSketch& from) {
  for (uint32_t i = 0; i < from.bins_; i++) add(from.keys()[i], from.counts_[i]);
}

double QuantileSketch::quantile(double q) const {
  MR_CHECK(values_ > 0);
  const auto last = static_cast<double>(values_ - 1);
  auto rank = static_cast<uint64_t>(std::min(std::floor(q * last), last));
  for (uint32_t i = 0; i < bins_; i++) {
    if (rank < counts_[i]) return value_of(keys()[i]);
    rank -= counts_[i];
  }
  return value_of(keys()[bins_ - 1]);
}

uint32_t QuantileSketch::smallest() const {
  const uint32_t positive = lower_bound(0);
  if (positive == 0) return 0;
  if (positive == bins_) return bins_ - 1;
  // Of two that are equally near: the negative one.
  return std::abs(keys()[positive]) < std::abs(keys()[positive - 1]) ? positive : positive - 1;
}

void QuantileSketch::open_bin(uint32_t at, int32_t key, uint64_t count) {
  if (bins_ == capacity_) reserve(capacity_ == 0 ? kFirstCapacity : capacity_ * 2);
  std::copy_backward(counts_ + at, counts_ + bins_, counts_ + bins_ + 1);
  std::copy_backward(keys() + at, keys() + bins_, keys() + bins_ + 1);
  counts_[at] = count;
  keys()[at] = key;
  bins_++;
}

void QuantileSketch::close_bin(uint32_t at) {
  std::copy(counts_ + at + 1, counts_ + bins_, counts_ + at);
  std::copy(keys() + at + 1, keys() + bins_, keys() + at);
  bins_--;
}

void QuantileSketch::reserve(uint32_t capacity) {
  if (capacity <= capacity_) return;
  auto* counts = static_cast<uint64_t*>(std::malloc(capacity * kBinBytes));
  if (counts == nullptr) throw std::bad_alloc();
  if (bins_ > 0) {
    std::memcpy(counts, counts_, bins_ * sizeof(uint64_t));
    std::memcpy(counts + capacity, keys(), bins_ * sizeof(int32_t));
  }
  std::free(counts_);
  counts_ = counts;
  capacity_ = capacity;
}

void QuantileSketch::encode(AccumulatorWriter& out) const {
  out.byte(kFormat);
  out.varint(bins_);
  int32_t before = 0;
  for (uint32_t i = 0; i < bins_; i++) {
    out.zigzag(int64_t{keys()[i]} - before);
    out.varint(counts_[i]);
    before = keys()[i];
  }
}

bool QuantileSketch::decode(AccumulatorReader& in) {
  if (in.byte() != kFormat) return false;
  const uint64_t bins = in.varint();
  if (!in.ok() || bins > kMaxBins) return false;
  reserve(static_cast<uint32_t>(bins));
  int64_t key = 0;
  for (uint64_t i = 0; i < bins; i++) {
    const int64_t step = in.zigzag();
    const uint64_t count = in.varint();
    if (!in.ok() || std::abs(step) > 2 * kInfinity || (i > 0 && step <= 0) || count == 0) return false;
    key += step;
    if (std::abs(key) > kInfinity || count > UINT64_MAX / 2 - values_) return false;
    keys()[i] = static_cast<int32_t>(key);
    counts_[i] = count;
    bins_++;
    values_ += count;
  }
  return true;
}

}  // namespace millrace
