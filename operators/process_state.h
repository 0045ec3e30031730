// ProcessState: what a `process` operator keeps of one key: its fields and the due times of its timers, and the codec
// that the lane's cache stores it with. Immutable; a block belongs to its lane.
//
// Bytes: version, a byte per field (1: a value follows), a byte per timer (bit 0: due, bit 1: queued, bit 2: queued for
// the due time), times and numbers as zigzag varints, lists and structs as rows of one column (row_codec.h).
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "operators/process_program.h"
#include "operators/row_codec.h"
#include "state/lane_cache.h"

namespace millrace {

// Of one key and timer, in milliseconds; kNoTime: none. While a timer is set, an entry of the lane's queue fires at
// `queued` <= `due`; the queue has no removal, so entries may fire for nothing.
struct TimerSlot {
  int64_t due_ms;
  int64_t queued_ms;
};

class ProcessState : public AccumulatorCodec {
 public:
  explicit ProcessState(const ProcessProgram& program);

  struct Header {
    uint64_t present;  // bit per field: not null
    // Not stored. Where the rows of one key follow each other in a batch:
    uint32_t stamp;   // of the batch that `latest` refers to
    uint32_t latest;  // its latest row of the key
    uint64_t changed_in;  // the cut before which it has changed
  };
  static constexpr size_t kMaxFields = 64;
  // Of one value of text, or of a list or struct as bytes.
  static constexpr size_t kMaxValueBytes = 1 << 20;

  static Header& header(void* state) { return *static_cast<Header*>(state); }
  // To be called when fields or timers have changed: what has not is not written by the next cut.
  void note_change(void* state) const { header(state).changed_in = cuts_; }
  void note_cut() { cuts_++; }
  TimerSlot& timer(void* state, size_t timer) const { return slots(state)[timer]; }
  // The timer behind those of the program: when the fields are forgotten.
  size_t ttl_timer() const { return timers_; }
  // A column with the field of n blocks. Memory: `arena`.
  ColumnPtr load_field(size_t field, void* const* states, uint32_t n, const ArenaPtr& arena);
  // The due times as timestamps, null if not set.
  ColumnPtr load_timer(size_t timer, void* const* states, uint32_t n, const ArenaPtr& arena) const;
  void store_field(size_t field, const ColumnPtr& column, uint32_t row, void* state);
  void reset_fields(void* state);
  // Nothing that a new key would not have: it may leave the state.
  bool is_initial(const void* state) const;
  // Bytes that the value takes, as far as they are bounded by kMaxValueBytes.
  size_t value_bytes(size_t field, const ColumnPtr& column, uint32_t row);

  size_t size() const override { return size_; }
  void create(void* state) const override;
  void destroy(void* state) const override;
  bool trivially_destructible() const override { return trivial_; }
  void encode(const void* state, std::string& out) const override;
  Status decode(std::string_view bytes, void* state) const override;
  size_t extra_bytes(const void* state) const override;
  bool is_unchanged(const void* state) const override {
    return static_cast<const Header*>(state)->changed_in != cuts_;
  }

 private:
  enum class Form : uint8_t { kInt, kDouble, kBool, kText, kNested };
  struct Slot {
    Form form = Form::kInt;
    Type type;
    size_t offset = 0;
    bool has_initial = false;
    uint64_t initial_bits = 0;            // kInt, kDouble, kBool
    std::string initial_text;             // kText, kNested
    std::unique_ptr<RowCodec> codec;      // kNested
    std::unique_ptr<RowColumns> decoded;  // kNested
  };
  TimerSlot* slots(void* state) const {
    return reinterpret_cast<TimerSlot*>(static_cast<char*>(state) + sizeof(Header));
  }
  const TimerSlot* slots(const void* state) const {
    return reinterpret_cast<const TimerSlot*>(static_cast<const char*>(state) + sizeof(Header));
  }
  void set_initial(const Slot& slot, size_t field, void* state) const;
  bool is_initial(const Slot& slot, size_t field, const void* state) const;
  // What the text of a block holds for a value that is text, a list or a struct.
  std::string_view text_of(const Slot& slot, const ColumnPtr& column, uint32_t row);
  ColumnPtr load_nested(size_t field, void* const* states, uint32_t n, const ArenaPtr& arena);

  std::vector<Slot> fields_;
  size_t timers_ = 0;       // of the program
  size_t timer_slots_ = 0;  // with that of the ttl
  size_t size_ = 0;
  bool trivial_ = true;
  uint64_t cuts_ = 1;
  std::string scratch_;
};

}  // namespace millrace
