#include "operators/key_window_output.h"

#include <algorithm>

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

// An old version that is announced fails like the new one did, and no row goes out. A delete cannot fail; and only
// sessions change their bounds, so that they delete.
bool deletes_what_may_fail(const AggregateProgram& program) {
  if (program.gives_retractions || program.window.kind != WindowSpec::Kind::kSession) return false;
  return std::any_of(program.fields.begin(), program.fields.end(),
                     [](const ExpressionPtr& field) { return field->plain_column() < 0; });
}

}  // namespace

// Hands everything on and notes what fails.
class KeyWindowOutput::Watch : public Collector {
 public:
  explicit Watch(KeyWindowOutput& output) : output_(output), out_(*output.out_) {}
  Status emit(Batch batch) override { return out_.emit(std::move(batch)); }
  Status emit_side(const std::string& port, Batch batch) override { return out_.emit_side(port, std::move(batch)); }
  Status fail_rows(const Batch& batch, const RowErrors& errors) override {
    output_.note_failed(errors, &batch == output_.input_);
    return out_.fail_rows(batch, errors);
  }
  Status fail_results(const Batch& batch, const RowErrors& errors) override {
    output_.note_failed(errors, false);
    return out_.fail_results(batch, errors);
  }

 private:
  KeyWindowOutput& output_;
  Collector& out_;
};

KeyWindowOutput::KeyWindowOutput(const AggregateProgram& program, const AggregateFold& fold)
    : program_(program),
      updates_(program, fold),
      remembers_(shows_more_than_once(program)),
      watches_(remembers_ && deletes_what_may_fail(program)) {}

void KeyWindowOutput::begin(ArenaPool& arenas, const Batch* input, bool has_watermark, Collector& out,
                            OperatorCounters& counters) {
  MR_CHECK(!is_open());
  arenas_ = &arenas;
  input_ = input;
  has_watermark_ = has_watermark;
  out_ = &out;
  counters_ = &counters;
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
  const uint32_t row = rows_++;
  if (!remembers_) return Status::ok();
  ShownWindow& version = shown.emplace_back();
  version.bounds = bounds;
  version.event_time_ms = at.event_time_ms != kNoTime ? at.event_time_ms : header.event_time_ms;
  if (program_.gives_retractions) updates_.encode(block, version.values);
  if (watches_) {
    pending_.push_back({row, at.input_row});
    version.ticket = last_ticket_ + pending_.size();
  }
  return Status::ok();
}

// With the event time that it had: a window behind this one looks for it there.
Status KeyWindowOutput::take_back(std::string_view key, void* block, const ShownWindow& version, const At& at) {
  // Whether there is something to take back shows when it is emitted.
  if (version.ticket > last_ticket_) MR_RETURN_IF_ERROR(flush());
  if (has_failed(version)) return Status::ok();
  MR_RETURN_IF_ERROR(make_room());
  const int64_t time_ms = version.event_time_ms != kNoTime ? version.event_time_ms : at.event_time_ms;
  const std::string_view values = version.values;
  updates_.replace(key, block, &values, true, {at.watermark_ms, time_ms, &version.bounds, at.input_row});
  updates_.write_added();
  rows_++;
  return Status::ok();
}

Status KeyWindowOutput::fail(std::string_view key, std::string reason, const WindowBounds& bounds, const At& at) {
  MR_RETURN_IF_ERROR(make_room());
  updates_.fail(key, std::move(reason), {at.watermark_ms, at.event_time_ms, &bounds, at.input_row});
  rows_++;
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
  Watch watch(*this);
  const Status status = updates_.emit(has_watermark_, input_, watch, counters_->out).status();
  rows_ = 0;
  last_ticket_ += pending_.size();
  pending_.clear();
  return status;
}

// errors: by row of the input, or of the output; ascending.
void KeyWindowOutput::note_failed(const RowErrors& errors, bool of_input) {
  if (of_input) counters_->absorbed -= errors.entries.size();  // accounted for as failed
  const auto failed = [&](uint32_t row) {
    const auto at = std::lower_bound(errors.entries.begin(), errors.entries.end(), row,
                                     [](const RowErrors::Entry& entry, uint32_t wanted) { return entry.row < wanted; });
    return at != errors.entries.end() && at->row == row;
  };
  for (size_t i = 0; i < pending_.size(); i++) {
    const bool answers = input_ != nullptr && pending_[i].input_row != kNoRow;
    if (answers != of_input || !failed(of_input ? pending_[i].input_row : pending_[i].output_row)) continue;
    failed_.push_back(last_ticket_ + i + 1);
  }
  std::sort(failed_.begin(), failed_.end());
}

bool KeyWindowOutput::has_failed(const ShownWindow& version) const {
  return std::binary_search(failed_.begin(), failed_.end(), version.ticket);
}

void KeyWindowOutput::forget_failed(KeyWindows& windows) const {
  for (KeyWindow& window : windows.windows) {
    std::erase_if(window.shown, [this](const ShownWindow& version) { return has_failed(version); });
  }
}

Status KeyWindowOutput::end() {
  const Status status = flush();
  out_ = nullptr;
  return status;
}

}  // namespace millrace
