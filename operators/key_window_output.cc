#include "operators/key_window_output.h"

#include "base/check.h"

namespace millrace {
namespace {

bool shows_more_than_once(const AggregateProgram& program) {
  const EmitSpec& emit = program.emit;
  // Rows of a window add up.
  if (emit.discarding) return false;
  if (program.gives_retractions) return true;
  if (emit.mode == EmitMode::kFinal) return false;
  if (emit.mode != EmitMode::kClose) return true;
  return emit.early() || (program.window.allowed_lateness_ms > 0 && emit.late_updates);
}

}  // namespace

KeyWindowOutput::KeyWindowOutput(const AggregateProgram& program, const AggregateFold& fold)
    : program_(program), updates_(program, fold), remembers_(shows_more_than_once(program)) {}

void KeyWindowOutput::begin(ArenaPool& arenas, const Batch* input, bool has_watermark, Collector& out,
                            uint64_t& emitted) {
  MR_CHECK(!is_open());
  arenas_ = &arenas;
  input_ = input;
  has_watermark_ = has_watermark;
  out_ = &out;
  emitted_ = &emitted;
  used_ = 0;
}

Status KeyWindowOutput::show(std::string_view key, void* block, const WindowBounds& bounds,
                             std::vector<ShownWindow>& shown, const At& at) {
  const StateHeader& header = AccumulatorSet::header(block);
  // Discarding: nothing has come since it was shown.
  if (header.rows() == 0) return Status::ok();
  if (!remembers_) shown.clear();
  for (const ShownWindow& version : shown) {
    // Under the same bounds the new row takes the place of the old one.
    if (version.bounds == bounds && !program_.gives_retractions) continue;
    MR_RETURN_IF_ERROR(take_back(key, block, version, at));
  }
  MR_RETURN_IF_ERROR(make_room());
  updates_.replace(key, block, nullptr, false, {at.watermark_ms, at.event_time_ms, &bounds, at.input_row});
  updates_.write_added();
  shown.clear();
  if (!remembers_) return Status::ok();
  ShownWindow& version = shown.emplace_back();
  version.bounds = bounds;
  version.event_time_ms = at.event_time_ms != kNoTime ? at.event_time_ms : header.event_time_ms;
  if (program_.gives_retractions) updates_.encode(block, version.values);
  return Status::ok();
}

// With the event time that it had: a window behind this one looks for it there.
Status KeyWindowOutput::take_back(std::string_view key, void* block, const ShownWindow& version, const At& at) {
  MR_RETURN_IF_ERROR(make_room());
  const int64_t time_ms = version.event_time_ms != kNoTime ? version.event_time_ms : at.event_time_ms;
  const std::string_view values = version.values;
  updates_.replace(key, block, &values, true, {at.watermark_ms, time_ms, &version.bounds, at.input_row});
  updates_.write_added();
  return Status::ok();
}

Status KeyWindowOutput::fail(std::string_view key, std::string reason, const WindowBounds& bounds, const At& at) {
  MR_RETURN_IF_ERROR(make_room());
  updates_.fail(key, std::move(reason), {at.watermark_ms, at.event_time_ms, &bounds, at.input_row});
  return Status::ok();
}

Status KeyWindowOutput::make_room() {
  if (used_ == updates_.max_keys()) MR_RETURN_IF_ERROR(flush());
  if (used_ == 0) updates_.begin(arenas_->take(), updates_.max_keys());
  used_++;
  return Status::ok();
}

Status KeyWindowOutput::flush() {
  if (used_ == 0) return Status::ok();
  used_ = 0;
  return updates_.emit(has_watermark_, input_, *out_, *emitted_).status();
}

Status KeyWindowOutput::end() {
  const Status status = flush();
  out_ = nullptr;
  return status;
}

}  // namespace millrace
