// Rows as lines of text, for sinks that write files and streams: JSON objects, CSV records, values of an expression, or
// dead letters. LineFormat is the part of a sink's plan, immutable after plan(); a LineEncoder belongs to one thread.
#pragma once

#include <memory>
#include <string>
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
  Status append(const Batch& batch, const SinkContext& context, std::string& out);

 private:
  void append_dead_letters(const Batch& batch, std::string& out) const;
  bool is_dead_letters(const Batch& batch) const;

  const std::unique_ptr<RecordEncoder> encoder_;  // nullptr: only dead letters come
  const bool dead_letters_;
  const std::string header_;
  const bool multiline_;
  const Schema dead_letter_schema_;
  RowErrors errors_;
};

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
