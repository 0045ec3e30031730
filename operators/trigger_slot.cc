#include "operators/trigger_slot.h"

#include <memory>

namespace millrace {
namespace {

// Nothing is folded in, merged or shown.
class OwnSlot : public Aggregate {
 public:
  const Type& type() const override { return type_; }
  void add(const AggregateRows&) const override {}
  void add_running(const AggregateRows&, const RunningRows&) const override {}
  bool can_retract() const override { return true; }
  bool merge(void*, const void*) const override { return true; }
  void write(void* const*, size_t, size_t, const uint32_t*, ColumnBuilder&) const override {}

 private:
  const Type type_;
};

class TriggerSlot : public OwnSlot {
 public:
  size_t size() const override { return sizeof(TriggerState); }
  void create(void* slot) const override { new (slot) TriggerState(); }
  void encode(const void* slot, AccumulatorWriter& out) const override {
    const auto& state = *static_cast<const TriggerState*>(slot);
    out.varint(state.rows_since);
    write_time(state.due_ms, out);
    write_time(state.shown_ms, out);
  }
  Status decode(AccumulatorReader& in, void* slot) const override {
    auto& state = *static_cast<TriggerState*>(slot);
    state.rows_since = in.varint();
    state.due_ms = read_time(in);
    state.shown_ms = read_time(in);
    return in.ok() ? Status::ok() : Status::terminal(Code::kStateCorrupt, "the trigger of a window does not decode");
  }

 private:
  static void write_time(int64_t time_ms, AccumulatorWriter& out) {
    out.byte(time_ms == kNoTime ? 0 : 1);
    if (time_ms != kNoTime) out.zigzag(time_ms);
  }
  static int64_t read_time(AccumulatorReader& in) { return in.boolean() ? in.zigzag() : kNoTime; }
};

class KeptBytesSlot : public OwnSlot {
 public:
  size_t size() const override { return sizeof(KeptBytes); }
  void create(void* slot) const override { new (slot) KeptBytes(); }
  void destroy(void* slot) const override { delete static_cast<KeptBytes*>(slot)->bytes; }
  bool trivially_destructible() const override { return false; }
  size_t extra_bytes(const void* slot) const override {
    const std::string* bytes = static_cast<const KeptBytes*>(slot)->bytes;
    return bytes == nullptr ? 0 : sizeof(std::string) + bytes->capacity();
  }
  void encode(const void* slot, AccumulatorWriter& out) const override {
    const std::string* bytes = static_cast<const KeptBytes*>(slot)->bytes;
    out.string(bytes == nullptr ? std::string_view() : std::string_view(*bytes));
  }
  Status decode(AccumulatorReader& in, void* slot) const override {
    const std::string_view bytes = in.string();
    if (!in.ok()) return Status::terminal(Code::kStateCorrupt, "what was shown of a window does not decode");
    if (!bytes.empty()) static_cast<KeptBytes*>(slot)->bytes = new std::string(bytes);
    return Status::ok();
  }
};

}  // namespace

AggregatePtr make_trigger_slot() { return std::make_shared<TriggerSlot>(); }
AggregatePtr make_kept_bytes_slot() { return std::make_shared<KeptBytesSlot>(); }

}  // namespace millrace
