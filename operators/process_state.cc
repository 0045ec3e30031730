#include "operators/process_state.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "operators/accumulator_bytes.h"
#include "operators/held_value.h"

namespace millrace {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kDue = 1, kQueued = 2, kQueuedForDue = 4;
constexpr int64_t kMicrosPerMilli = 1000;

uint64_t& scalar(void* state, size_t offset) {
  return *reinterpret_cast<uint64_t*>(static_cast<char*>(state) + offset);
}
uint64_t scalar(const void* state, size_t offset) {
  return *reinterpret_cast<const uint64_t*>(static_cast<const char*>(state) + offset);
}
HeldText& held(void* state, size_t offset) {
  return *reinterpret_cast<HeldText*>(static_cast<char*>(state) + offset);
}
const HeldText& held(const void* state, size_t offset) {
  return *reinterpret_cast<const HeldText*>(static_cast<const char*>(state) + offset);
}

// The bits of a scalar in a column.
uint64_t bits_of(const Column& column, uint32_t row) {
  if (column.ints != nullptr) return static_cast<uint64_t>(column.ints[row]);
  if (column.doubles != nullptr) return std::bit_cast<uint64_t>(column.doubles[row]);
  return column.bools[row];
}

}  // namespace

ProcessState::ProcessState(const ProcessProgram& program)
    : timers_(program.timers.size()), timer_slots_(timers_ + (program.ttl_ms > 0 ? 1 : 0)) {
  MR_CHECK(program.fields.size() <= kMaxFields);
  size_ = sizeof(Header) + timer_slots_ * sizeof(TimerSlot);
  for (const ProcessField& field : program.fields) {
    Slot slot;
    slot.type = field.type;
    switch (field.type.kind()) {
      case TypeKind::kInt:
      case TypeKind::kTimestamp:
      case TypeKind::kDuration: slot.form = Form::kInt; break;
      case TypeKind::kDouble: slot.form = Form::kDouble; break;
      case TypeKind::kBool: slot.form = Form::kBool; break;
      case TypeKind::kString:
      case TypeKind::kBytes: slot.form = Form::kText; break;
      default:
        slot.form = Form::kNested;
        slot.codec = std::make_unique<RowCodec>(std::vector<Type>{field.type});
        slot.decoded = std::make_unique<RowColumns>(std::vector<Type>{field.type});
    }
    const bool text = slot.form == Form::kText || slot.form == Form::kNested;
    slot.offset = size_;
    size_ += text ? sizeof(HeldText) : sizeof(uint64_t);
    trivial_ = trivial_ && !text;
    slot.has_initial = field.initial != nullptr && !field.initial->is_null(0);
    if (slot.has_initial && text) slot.initial_text = text_of(slot, field.initial, 0);
    if (slot.has_initial && !text) slot.initial_bits = bits_of(*field.initial, 0);
    fields_.push_back(std::move(slot));
  }
}

std::string_view ProcessState::text_of(const Slot& slot, const ColumnPtr& column, uint32_t row) {
  if (slot.form == Form::kText) return column->strings[row];
  scratch_.clear();
  slot.codec->encode({column}, row, scratch_);
  return scratch_;
}

void ProcessState::create(void* state) const {
  std::memset(state, 0, size_);
  for (size_t i = 0; i < timer_slots_; i++) slots(state)[i] = {kNoTime, kNoTime};
  for (size_t i = 0; i < fields_.size(); i++) {
    const Slot& slot = fields_[i];
    if (slot.form == Form::kText || slot.form == Form::kNested) held(state, slot.offset).create();
    set_initial(slot, i, state);
  }
}

void ProcessState::destroy(void* state) const {
  for (const Slot& slot : fields_) {
    if (slot.form == Form::kText || slot.form == Form::kNested) held(state, slot.offset).destroy();
  }
}

void ProcessState::set_initial(const Slot& slot, size_t field, void* state) const {
  const uint64_t bit = uint64_t{1} << field;
  header(state).present = slot.has_initial ? header(state).present | bit : header(state).present & ~bit;
  if (slot.form == Form::kText || slot.form == Form::kNested) {
    held(state, slot.offset).set(slot.initial_text);
  } else {
    scalar(state, slot.offset) = slot.initial_bits;
  }
}

void ProcessState::reset_fields(void* state) {
  for (size_t i = 0; i < fields_.size(); i++) set_initial(fields_[i], i, state);
}

bool ProcessState::is_initial(const Slot& slot, size_t field, const void* state) const {
  const bool present = (static_cast<const Header*>(state)->present >> field & 1) != 0;
  if (present != slot.has_initial) return false;
  if (!present) return true;
  if (slot.form == Form::kText || slot.form == Form::kNested) {
    return held(state, slot.offset).view() == slot.initial_text;
  }
  return scalar(state, slot.offset) == slot.initial_bits;
}

// Entries of the queue that are left behind fire for nothing.
bool ProcessState::is_initial(const void* state) const {
  for (size_t i = 0; i < timers_; i++) {
    if (slots(state)[i].due_ms != kNoTime) return false;
  }
  for (size_t i = 0; i < fields_.size(); i++) {
    if (!is_initial(fields_[i], i, state)) return false;
  }
  return true;
}

ColumnPtr ProcessState::load_field(size_t field, void* const* states, uint32_t n, const ArenaPtr& arena) {
  const Slot& slot = fields_[field];
  if (slot.form == Form::kNested) return load_nested(field, states, n, arena);
  auto column = std::make_shared<Column>();
  column->type = slot.type;
  column->rows = n;
  column->owners.push_back(arena);
  auto* nulls = arena->array<uint8_t>(n);
  uint64_t all_present = 1;
  for (uint32_t i = 0; i < n; i++) {
    const uint64_t present = header(states[i]).present >> field & 1;
    nulls[i] = static_cast<uint8_t>(present ^ 1);
    all_present &= present;
  }
  if (all_present == 0) column->nulls = nulls;
  const auto load = [&]<class T>(const T*& values, const auto& value) {
    T* loaded = arena->array<T>(n);
    for (uint32_t i = 0; i < n; i++) loaded[i] = value(states[i]);
    values = loaded;
  };
  const size_t at = slot.offset;
  switch (slot.form) {
    case Form::kInt: load(column->ints, [at](void* s) { return static_cast<int64_t>(scalar(s, at)); }); break;
    case Form::kDouble: load(column->doubles, [at](void* s) { return std::bit_cast<double>(scalar(s, at)); }); break;
    case Form::kBool: load(column->bools, [at](void* s) { return static_cast<uint8_t>(scalar(s, at)); }); break;
    default: load(column->strings, [at, &arena](void* s) { return arena->copy(held(s, at).view()); });
  }
  return column;
}

ColumnPtr ProcessState::load_nested(size_t field, void* const* states, uint32_t n, const ArenaPtr& arena) {
  static constexpr std::string_view kNullRow("\1", 1);
  const Slot& slot = fields_[field];
  slot.decoded->begin(arena);
  for (uint32_t i = 0; i < n; i++) {
    const bool present = (header(states[i]).present >> field & 1) != 0;
    const bool decodes = slot.decoded->add(present ? held(states[i], slot.offset).view() : kNullRow);
    MR_CHECK(decodes);  // it was checked when it came from the state
  }
  return slot.decoded->finish().front();
}

ColumnPtr ProcessState::load_timer(size_t timer, void* const* states, uint32_t n, const ArenaPtr& arena) const {
  auto column = std::make_shared<Column>();
  column->type = Type(TypeKind::kTimestamp);
  column->rows = n;
  column->owners.push_back(arena);
  auto* nulls = arena->array<uint8_t>(n);
  auto* due_us = arena->array<int64_t>(n);
  for (uint32_t i = 0; i < n; i++) {
    const int64_t due_ms = slots(states[i])[timer].due_ms;
    nulls[i] = due_ms == kNoTime ? 1 : 0;
    due_us[i] = due_ms == kNoTime ? 0 : due_ms * kMicrosPerMilli;
  }
  column->nulls = nulls;
  column->ints = due_us;
  return column;
}

void ProcessState::store_field(size_t field, const ColumnPtr& column, uint32_t row, void* state) {
  const Slot& slot = fields_[field];
  const uint64_t bit = uint64_t{1} << field;
  if (column->is_null(row)) {
    header(state).present &= ~bit;
    return;
  }
  header(state).present |= bit;
  if (slot.form == Form::kText || slot.form == Form::kNested) {
    held(state, slot.offset).set(text_of(slot, column, row));
  } else {
    scalar(state, slot.offset) = bits_of(*column, row);
  }
}

size_t ProcessState::value_bytes(size_t field, const ColumnPtr& column, uint32_t row) {
  const Slot& slot = fields_[field];
  if ((slot.form != Form::kText && slot.form != Form::kNested) || column->is_null(row)) return 0;
  return text_of(slot, column, row).size();
}

void ProcessState::encode(const void* state, std::string& out) const {
  AccumulatorWriter writer(out);
  writer.byte(kVersion);
  const uint64_t present = static_cast<const Header*>(state)->present;
  for (size_t i = 0; i < fields_.size(); i++) {
    const Slot& slot = fields_[i];
    const bool has_value = (present >> i & 1) != 0;
    writer.byte(has_value ? 1 : 0);
    if (!has_value) continue;
    switch (slot.form) {
      case Form::kInt: writer.zigzag(static_cast<int64_t>(scalar(state, slot.offset))); break;
      case Form::kDouble: writer.fixed(std::bit_cast<double>(scalar(state, slot.offset))); break;
      case Form::kBool: writer.byte(static_cast<uint8_t>(scalar(state, slot.offset))); break;
      default: writer.string(held(state, slot.offset).view());
    }
  }
  for (size_t i = 0; i < timer_slots_; i++) {
    const TimerSlot& slot = slots(state)[i];
    const bool due = slot.due_ms != kNoTime;
    const bool queued = slot.queued_ms != kNoTime;
    const bool same = due && slot.queued_ms == slot.due_ms;
    writer.byte(static_cast<uint8_t>((due ? kDue : 0) | (queued ? kQueued : 0) | (same ? kQueuedForDue : 0)));
    if (due) writer.zigzag(slot.due_ms);
    if (queued && !same) writer.zigzag(slot.queued_ms);
  }
}

Status ProcessState::decode(std::string_view bytes, void* state) const {
  AccumulatorReader in(bytes);
  bool ok = in.byte() == kVersion;
  Header& head = header(state);
  for (size_t i = 0; ok && i < fields_.size(); i++) {
    const Slot& slot = fields_[i];
    const uint64_t bit = uint64_t{1} << i;
    head.present &= ~bit;
    if (!in.boolean()) continue;
    head.present |= bit;
    switch (slot.form) {
      case Form::kInt: scalar(state, slot.offset) = static_cast<uint64_t>(in.zigzag()); break;
      case Form::kDouble: scalar(state, slot.offset) = std::bit_cast<uint64_t>(in.fixed()); break;
      case Form::kBool: scalar(state, slot.offset) = in.boolean() ? 1 : 0; break;
      default: held(state, slot.offset).set(in.string());
    }
    if (in.ok() && slot.form == Form::kNested) {
      slot.decoded->begin(std::make_shared<Arena>(1024));
      ok = slot.decoded->add(held(state, slot.offset).view());
    }
  }
  for (size_t i = 0; ok && i < timer_slots_; i++) {
    TimerSlot& slot = slots(state)[i];
    const uint8_t flags = in.byte();
    ok = flags <= (kDue | kQueued | kQueuedForDue) && (flags & kQueuedForDue) <= (flags & kDue) * kQueuedForDue;
    slot.due_ms = flags & kDue ? in.zigzag() : kNoTime;
    slot.queued_ms = flags & kQueuedForDue ? slot.due_ms : (flags & kQueued ? in.zigzag() : kNoTime);
  }
  if (ok && in.finished()) return Status::ok();
  return Status::terminal(Code::kStateCorrupt, "the state of a key does not decode");
}

size_t ProcessState::extra_bytes(const void* state) const {
  size_t bytes = 0;
  for (const Slot& slot : fields_) {
    if (slot.form == Form::kText || slot.form == Form::kNested) bytes += held(state, slot.offset).extra_bytes();
  }
  return bytes;
}

}  // namespace millrace
