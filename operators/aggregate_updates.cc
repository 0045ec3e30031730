#include "operators/aggregate_updates.h"

namespace millrace {
namespace {

// Marks that a key had been shown before, when nobody needs its old values.
constexpr std::string_view kShown;

}  // namespace

AggregateUpdates::AggregateUpdates(const AggregateProgram& program, const AggregateFold& fold)
    : program_(program), fold_(fold), rows_per_key_(program.gives_retractions ? 2 : 1), output_(program) {
  if (program.gives_retractions) previous_blocks_.resize(max_keys() * fold.values().size() / sizeof(uint64_t));
}

void AggregateUpdates::remember(void* const* states, size_t n) {
  if (!program_.gives_retractions && !program_.takes_retractions && program_.ttl_ms == 0) return;
  for (size_t i = 0; i < n; i++) {
    StateHeader& header = AccumulatorSet::header(states[i]);
    if (header.changed() || header.rows() == 0 || header.previous != nullptr) continue;
    if (!program_.gives_retractions) {
      header.previous = &kShown;
      continue;
    }
    encoded_.clear();
    encode(states[i], encoded_);
    auto* view = static_cast<std::string_view*>(previous_arena_.allocate(sizeof(std::string_view)));
    header.previous = new (view) std::string_view(previous_arena_.copy(encoded_));
  }
}

void AggregateUpdates::begin(ArenaPtr arena, size_t keys) {
  MR_CHECK(keys <= max_keys());
  output_.begin(std::move(arena), static_cast<uint32_t>(keys * rows_per_key_));
  states_.clear();
  rows_.clear();
  previous_count_ = 0;
}

uint32_t AggregateUpdates::add_row(std::string_view key, Change change, int64_t newest_ms, const Stamp& stamp) {
  const int64_t time_ms = stamp.event_time_ms != kNoTime ? stamp.event_time_ms : newest_ms;
  const uint32_t row = output_.add_row(key, change, time_ms, stamp.watermark_ms, stamp.input_row);
  if (stamp.window != nullptr) output_.set_window(row, *stamp.window);
  return row;
}

void AggregateUpdates::add(std::string_view key, void* state, const Stamp& stamp) {
  StateHeader& header = AccumulatorSet::header(state);
  const std::string_view* previous = header.previous;
  header.previous = nullptr;
  if (header.changed()) replace(key, state, previous, false, stamp);
}

void AggregateUpdates::replace(std::string_view key, void* state, const std::string_view* shown, bool gone,
                               const Stamp& stamp) {
  StateHeader& header = AccumulatorSet::header(state);
  header.clear_changed();
  if (shown != nullptr && program_.gives_retractions) {
    void* old = decode_previous(*shown);
    states_.push_back(old);
    rows_.push_back(add_row(key, Change::kRetract, AccumulatorSet::header(old).event_time_ms, stamp));
  }
  if (header.rows() > 0 && !gone) {
    states_.push_back(state);
    rows_.push_back(add_row(key, Change::kInsert, header.event_time_ms, stamp));
  } else if (shown != nullptr && !program_.gives_retractions) {
    add_row(key, Change::kDelete, header.event_time_ms, stamp);
  }
}

void AggregateUpdates::fail(std::string_view key, std::string reason, const Stamp& stamp) {
  output_.fail_row(add_row(key, Change::kInsert, kNoTime, stamp), std::move(reason));
}

void* AggregateUpdates::decode_previous(std::string_view bytes) {
  MR_CHECK(previous_count_ < max_keys());
  void* block = previous_blocks_.data() + previous_count_ * fold_.values().size() / sizeof(uint64_t);
  previous_count_++;
  fold_.values().create(block);
  const Status status = fold_.values().decode(bytes, block);
  MR_CHECK(status.is_ok());
  return block;
}

void AggregateUpdates::write_added() {
  fold_.write(states_.data(), rows_.data(), states_.size(), output_);
  states_.clear();
  rows_.clear();
  for (size_t i = 0; i < previous_count_; i++) {
    fold_.values().destroy(previous_blocks_.data() + i * fold_.values().size() / sizeof(uint64_t));
  }
  previous_count_ = 0;
}

Result<uint64_t> AggregateUpdates::emit(bool has_watermark, const Batch* input, Collector& out, uint64_t& emitted) {
  write_added();
  if (output_.rows() == 0) return uint64_t{0};
  MR_RETURN_IF_ERROR(output_.emit(has_watermark, input, out, emitted));
  return output_.reported();
}

}  // namespace millrace
