#include "operators/hyper_log_log.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

namespace millrace {
namespace {

constexpr uint8_t kSparseFormat = 1;
constexpr uint8_t kDenseFormat = 2;
constexpr int kRankBits = 6;

template <class T>
T* zeroed(size_t n) {
  auto* memory = static_cast<T*>(std::calloc(n, sizeof(T)));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Of the highest `bits` bits of value: zeros in front of the first one, plus 1.
uint8_t rank_of(uint64_t value, int bits) {
  return static_cast<uint8_t>(std::min(value == 0 ? 64 : std::countl_zero(value), bits) + 1);
}

// Corrections for the registers at both ends of the range, in Ertl's names.
double sigma(double x) {
  if (x == 1) return std::numeric_limits<double>::infinity();
  double y = 1;
  double z = x;
  for (double before = -1; z != before;) {
    before = z;
    x *= x;
    z += x * y;
    y += y;
  }
  return z;
}

double tau(double x) {
  if (x == 0 || x == 1) return 0;
  double y = 1;
  double z = 1 - x;
  for (double before = -1; z != before;) {
    before = z;
    x = std::sqrt(x);
    y /= 2;
    z -= (1 - x) * (1 - x) * y;
  }
  return z / 3;
}

}  // namespace

void HyperLogLog::destroy() {
  if (slots_ != 0) std::free(dense() ? static_cast<void*>(registers_) : static_cast<void*>(sparse_));
}

size_t HyperLogLog::heap_bytes() const { return dense() ? sizeof(Registers) : slots_ * sizeof(uint32_t); }

void HyperLogLog::insert(uint64_t hash) {
  if (dense()) {
    return raise(static_cast<uint32_t>(hash >> (64 - kPrecision)), rank_of(hash << kPrecision, 64 - kPrecision));
  }
  const auto bucket = static_cast<uint32_t>(hash >> (64 - kSparsePrecision));
  insert_sparse(bucket << kSparseRankBits | rank_of(hash << kSparsePrecision, 64 - kSparsePrecision));
}

void HyperLogLog::insert_sparse(uint32_t entry) {
  if (slots_ == 0) grow(kFirstSlots);
  if (!place(sparse_, slots_, entry)) return;
  if (++count_ > kMaxSparse) return make_dense();
  if (count_ > slots_ / 4 * 3) grow(slots_ * 2);
}

// True: its bucket was free before.
bool HyperLogLog::place(uint32_t* slots, uint32_t n, uint32_t entry) {
  const uint32_t bucket = entry >> kSparseRankBits;
  uint32_t at = bucket & (n - 1);
  for (; slots[at] != 0; at = (at + 1) & (n - 1)) {
    if (slots[at] >> kSparseRankBits != bucket) continue;
    slots[at] = std::max(slots[at], entry);
    return false;
  }
  slots[at] = entry;
  return true;
}

void HyperLogLog::grow(uint32_t slots) {
  auto* larger = zeroed<uint32_t>(slots);
  for_each_entry([&](uint32_t entry) { place(larger, slots, entry); });
  destroy();
  sparse_ = larger;
  slots_ = slots;
}

void HyperLogLog::make_dense() {
  uint32_t* const entries = sparse_;
  const uint32_t n = slots_;
  registers_ = zeroed<Registers>(1);
  registers_->with_rank[0] = kRegisters;
  slots_ = kDense;
  count_ = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (entries[i] != 0) insert_dense(entries[i]);
  }
  std::free(entries);
}

void HyperLogLog::raise(uint32_t place, uint8_t rank) {
  uint8_t& held = registers_->ranks[place];
  if (rank <= held) return;
  registers_->with_rank[held]--;
  registers_->with_rank[rank]++;
  held = rank;
}

// What the hash of a sparse entry would have done.
void HyperLogLog::insert_dense(uint32_t entry) {
  constexpr int kMoreBits = kSparsePrecision - kPrecision;
  const uint32_t bucket = entry >> kSparseRankBits;
  const auto sparse_rank = static_cast<uint8_t>(entry & ((1u << kSparseRankBits) - 1));
  const uint64_t more = uint64_t{bucket} << (64 - kMoreBits);
  raise(bucket >> kMoreBits,
        more == 0 ? static_cast<uint8_t>(kMoreBits + sparse_rank) : rank_of(more, kMoreBits));
}

void HyperLogLog::merge(const HyperLogLog& from) {
  if (from.dense()) {
    if (!dense()) {
      if (slots_ == 0) grow(kFirstSlots);
      make_dense();
    }
    for (uint32_t i = 0; i < kRegisters; i++) raise(i, from.registers_->ranks[i]);
    return;
  }
  from.for_each_entry([this](uint32_t entry) { dense() ? insert_dense(entry) : insert_sparse(entry); });
}

int64_t HyperLogLog::estimate() const {
  if (!dense()) {
    constexpr double kBuckets = 1u << kSparsePrecision;
    return std::llround(-kBuckets * std::log1p(-static_cast<double>(count_) / kBuckets));
  }
  constexpr double m = kRegisters;
  double z = m * tau(1 - registers_->with_rank[kMaxRank] / m);
  for (int rank = kMaxRank - 1; rank >= 1; rank--) z = (z + registers_->with_rank[rank]) / 2;
  z += m * sigma(registers_->with_rank[0] / m);
  const double estimate = m * m / (2 * std::log(2.0) * z);
  return estimate < 9e18 ? std::llround(estimate) : INT64_MAX;
}

void HyperLogLog::encode(AccumulatorWriter& out) const {
  if (!dense()) {
    out.byte(kSparseFormat);
    out.varint(count_);
    uint32_t entries[kMaxSparse];
    uint32_t n = 0;
    for_each_entry([&](uint32_t entry) { entries[n++] = entry; });
    std::sort(entries, entries + n);
    uint32_t before = 0;
    for (uint32_t i = 0; i < n; i++) {
      out.varint(entries[i] - before);
      before = entries[i];
    }
    return;
  }
  out.byte(kDenseFormat);
  uint32_t bits = 0;
  int held = 0;
  for (const uint8_t rank : registers_->ranks) {
    bits |= static_cast<uint32_t>(rank) << held;
    for (held += kRankBits; held >= 8; held -= 8, bits >>= 8) out.byte(static_cast<uint8_t>(bits));
  }
}

bool HyperLogLog::decode(AccumulatorReader& in) {
  const uint8_t format = in.byte();
  if (format == kSparseFormat) {
    const uint64_t count = in.varint();
    if (count > kMaxSparse) return false;
    uint64_t entry = 0;
    for (uint64_t i = 0; i < count; i++) {
      const uint64_t step = in.varint();
      entry += step;
      const uint64_t rank = entry & ((1u << kSparseRankBits) - 1);
      if (!in.ok() || step > UINT32_MAX || entry >> (kSparsePrecision + kSparseRankBits) != 0 || rank == 0 ||
          rank > kMaxSparseRank) {
        return false;
      }
      insert_sparse(static_cast<uint32_t>(entry));
    }
    return in.ok() && count_ == count;
  }
  if (format != kDenseFormat) return false;
  grow(kFirstSlots);
  make_dense();
  uint32_t bits = 0;
  int held = 0;
  for (uint32_t i = 0; i < kRegisters; i++) {
    for (; held < kRankBits; held += 8) bits |= static_cast<uint32_t>(in.byte()) << held;
    const auto rank = static_cast<uint8_t>(bits & ((1u << kRankBits) - 1));
    if (!in.ok() || rank > kMaxRank) return false;
    raise(i, rank);
    bits >>= kRankBits;
    held -= kRankBits;
  }
  return true;
}

}  // namespace millrace
