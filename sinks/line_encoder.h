// Rows as lines of text, for sinks that write files and streams: JSON objects, CSV records, values of an expression, or
// dead letters. LineFormat is the part of a sink's plan, immutable after plan(); a LineEncoder belongs to one thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sinks/record_encoder.h"
#include "sinks/sink_plan.h"

namespace millrace {

class LineEncoder {
 public:
  // dead_letters: batches of dead_letter_schema() come, alone or among others.
  // multiline: values may have line breaks in them (csv in quotes).
  LineEncoder(std::unique_ptr<RecordEncoder> encoder, bool dead_letters, std::string header = "",
              bool multiline = false);

  // The line above all others (csv), with its newline; empty if there is none.
  const std::string& header() const { return header_; }
  // Appends one line per live row. Rows that do not encode go to `refuse` (SinkContext); what that returns ends it. A
  // value with a newline in it is refused too unless multiline: a reader would see two.
  Status append(const Batch& batch, const SinkContext& context, std::string& out) {
    return for_each_line(batch, context, [&out](uint32_t row, std::string_view line) {
      (void)row;
      out.append(line);
      out.push_back('\n');
      return Status::ok();
    });
  }
  // The same with use(row, line without its end), which returns a Status.
  template <class F>
  Status for_each_line(const Batch& batch, const SinkContext& context, F&& use);

 private:
  static Status refuse_row(const SinkContext& context, const Batch& batch, uint32_t row, const std::string& why);
  void append_dead_letter(const Batch& batch, uint32_t row, std::string& out) const;
  bool is_dead_letters(const Batch& batch) const;

  const std::unique_ptr<RecordEncoder> encoder_;  // nullptr: only dead letters come
  const bool dead_letters_;
  const std::string header_;
  const bool multiline_;
  const Schema dead_letter_schema_;
  RowErrors errors_;
  std::string dead_letter_;  // scratch
};

template <class F>
Status LineEncoder::for_each_line(const Batch& batch, const SinkContext& context, F&& use) {
  if (is_dead_letters(batch)) {
    Status status;
    for_each_live(batch, [&](uint32_t row) {
      if (!status.is_ok()) return;
      dead_letter_.clear();
      append_dead_letter(batch, row, dead_letter_);
      status = use(row, std::string_view(dead_letter_));
    });
    return status;
  }
  errors_.clear();
  for (const EncodedRecord& record : encoder_->encode(batch, errors_)) {
    if (!multiline_ && record.value.find('\n') != std::string_view::npos) {
      MR_RETURN_IF_ERROR(refuse_row(context, batch, record.row, "the value has a newline in it, which ends a line"));
      continue;
    }
    MR_RETURN_IF_ERROR(use(record.row, record.value));
  }
  for (const RowErrors::Entry& error : errors_.entries) {
    MR_RETURN_IF_ERROR(refuse_row(context, batch, error.row, error.message));
  }
  return Status::ok();
}

class LineFormat {
 public:
  // `what` (a file, stdout) is for messages.
  bool plan(const char* what, const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics);
  // Preconditions of the following: plan() has returned true.
  const std::vector<bool>& needed_inputs() const { return needed_; }
  bool takes_payload() const { return options_.format == "json" && options_.value == nullptr && !dead_letters_only_; }
  void use_payload() { options_.passthrough = true; }
  std::unique_ptr<LineEncoder> make() const;

 private:
  RecordEncoderOptions options_;
  Schema schema_;
  std::vector<bool> needed_;
  bool dead_letters_ = false;
  bool dead_letters_only_ = false;
};

}  // namespace millrace
