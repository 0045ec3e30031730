#include "operators/accumulator_set.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr uint8_t kCodecVersion = 1;

char* slot(void* state, size_t offset) { return static_cast<char*>(state) + offset; }
const char* slot(const void* state, size_t offset) { return static_cast<const char*>(state) + offset; }

}  // namespace

AccumulatorSet::AccumulatorSet(std::vector<AggregatePtr> aggregates) : aggregates_(std::move(aggregates)) {
  for (const AggregatePtr& aggregate : aggregates_) {
    MR_CHECK(aggregate->size() % 8 == 0);
    offsets_.push_back(size_);
    size_ += aggregate->size();
    trivial_ = trivial_ && aggregate->trivially_destructible();
  }
}

bool AccumulatorSet::can_retract() const {
  return std::all_of(aggregates_.begin(), aggregates_.end(),
                     [](const AggregatePtr& aggregate) { return aggregate->can_retract(); });
}

bool AccumulatorSet::merge(void* into, const void* from) const {
  for (size_t i = 0; i < aggregates_.size(); i++) {
    if (!aggregates_[i]->can_merge(slot(static_cast<const void*>(into), offsets_[i]), slot(from, offsets_[i]))) {
      return false;
    }
  }
  header(into).add_rows_of(header(from));
  for (size_t i = 0; i < aggregates_.size(); i++) {
    const bool merged = aggregates_[i]->merge(slot(into, offsets_[i]), slot(from, offsets_[i]));
    MR_CHECK(merged);
  }
  return true;
}

void AccumulatorSet::create(void* state) const {
  header(state) = {kNoTime, 0, nullptr};
  for (size_t i = 0; i < aggregates_.size(); i++) aggregates_[i]->create(slot(state, offsets_[i]));
}

void AccumulatorSet::destroy(void* state) const {
  if (trivial_) return;
  for (size_t i = 0; i < aggregates_.size(); i++) aggregates_[i]->destroy(slot(state, offsets_[i]));
}

void AccumulatorSet::encode(const void* state, std::string& out) const {
  AccumulatorWriter writer(out);
  writer.byte(kCodecVersion);
  writer.zigzag(header(state).event_time_ms);
  writer.varint(header(state).rows());
  for (size_t i = 0; i < aggregates_.size(); i++) aggregates_[i]->encode(slot(state, offsets_[i]), writer);
}

Status AccumulatorSet::decode(std::string_view bytes, void* state) const {
  AccumulatorReader reader(bytes);
  if (reader.byte() != kCodecVersion) {
    return Status::terminal(Code::kStateCorrupt, "an accumulator is of an unknown version");
  }
  header(state).event_time_ms = reader.zigzag();
  const uint64_t rows = reader.varint();
  header(state).rows_and_changed = rows << 1;
  for (size_t i = 0; i < aggregates_.size(); i++) {
    MR_RETURN_IF_ERROR(aggregates_[i]->decode(reader, slot(state, offsets_[i])));
  }
  if (!reader.finished() || rows >> 63 != 0) {
    return Status::terminal(Code::kStateCorrupt, "an accumulator does not decode");
  }
  return Status::ok();
}

size_t AccumulatorSet::extra_bytes(const void* state) const {
  if (trivial_) return 0;
  size_t bytes = 0;
  for (size_t i = 0; i < aggregates_.size(); i++) bytes += aggregates_[i]->extra_bytes(slot(state, offsets_[i]));
  return bytes;
}

}  // namespace millrace
