// ProcessProgram: a checked `process` operator, compiled: typed fields and timers per key, and the steps on a record
// and on each timer. Immutable; shared by the instances of all lanes.
//
// The expressions of steps read columns of one layout: the input's columns, the fields of the state, the due times of
// the timers, `event_time`, `watermark`, `now`, and the parts of the key. In the steps of a timer the input's columns
// are missing; in those of a record the parts of the key are the input's columns.
#pragma once

#include <string>
#include <vector>

#include "base/type.h"
#include "expr/expression.h"

namespace millrace {

// Fields and timers stand sorted by name, so that their order in the configuration may change.
struct ProcessField {
  std::string name;
  Type type;
  ColumnPtr initial;  // one row; nullptr: null
};

struct ProcessTimer {
  std::string name;
  bool processing_time = false;
};

struct ProcessStep {
  enum class Kind { kWhen, kSet, kSetTimer, kClear, kClearTimer, kEmit };
  struct Value {
    int target = 0;  // field, timer or output column
    ExpressionPtr expression;
  };
  Kind kind = Kind::kSet;
  std::vector<Value> values;  // kSet, kSetTimer, kEmit (in the order of the output's columns)
  std::vector<int> targets;   // kClear: fields, kClearTimer: timers
  // kWhen
  ExpressionPtr condition;
  std::string condition_text;
  std::vector<ProcessStep> then, otherwise;
};

// The steps on a record or on one timer, and what they touch.
struct ProcessHandler {
  std::vector<ProcessStep> steps;
  std::vector<bool> reads_columns;  // by column of the layout
  std::vector<bool> sets_fields;
  std::vector<bool> sets_timers;  // or clears them
  std::vector<bool> arms_timers;
  // On a timer: those that it may set and that may, directly or through others, set it again.
  std::vector<bool> repeats_timers;
  bool sets_event_timers = false;
  size_t max_emits = 0;  // per record or timer
};

struct ProcessProgram {
  Schema input;
  std::vector<int> keys;  // columns of the input
  std::vector<ProcessField> fields;
  std::vector<ProcessTimer> timers;
  int64_t ttl_ms = 0;             // 0: fields are kept for ever
  bool reads_event_time = false;  // an expression asks for event_time or watermark
  ProcessHandler on_record;
  std::vector<ProcessHandler> on_timer;  // by timer
  Schema output;

  size_t field_column(size_t field) const { return input.size() + field; }
  size_t timer_column(size_t timer) const { return input.size() + fields.size() + timer; }
  size_t event_time_column() const { return input.size() + fields.size() + timers.size(); }
  size_t watermark_column() const { return event_time_column() + 1; }
  size_t now_column() const { return event_time_column() + 2; }
  size_t key_column(size_t part) const { return event_time_column() + 3 + part; }
  size_t columns() const { return event_time_column() + 3 + keys.size(); }
  // Does the handler need the value of the field before its steps?
  bool loads_field(const ProcessHandler& handler, size_t field) const {
    return handler.sets_fields[field] || handler.reads_columns[field_column(field)];
  }
  bool loads_timer(const ProcessHandler& handler, size_t timer) const {
    return handler.sets_timers[timer] || handler.reads_columns[timer_column(timer)];
  }
};

}  // namespace millrace
