// Types of the columns that flow through a pipeline and of the expressions over them. Immutable values; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

enum class TypeKind : uint8_t {
  kNull,  // the literal null only
  kBool,
  kInt,  // int64
  kDouble,
  kString,  // UTF-8
  kBytes,
  kTimestamp,  // microseconds since the epoch (int64)
  kDuration,   // microseconds (int64)
  kList,
  kStruct,
  kMap,  // string -> T; only record.headers (T = bytes)
};

// How a timestamp stands in a JSON document: what `timestamp_ms`, `_us`, `_s` and `_rfc3339` declare. Decoders only;
// two types that differ in this alone are equal.
enum class TimestampUnit : uint8_t { kMillis, kMicros, kSeconds, kRfc3339 };

struct Field;

class Type {
 public:
  Type() = default;  // null
  explicit Type(TypeKind kind) : kind_(kind) {}
  static Type timestamp(TimestampUnit unit);
  static Type list(Type element);
  static Type structure(std::vector<Field> fields);
  static Type map(Type value);
  // Of something that is in error and has been reported: while a file is checked it stands for any type, and whatever
  // depends on it is not reported again. Never in a plan that runs. Its kind is kNull.
  static Type unknown();

  TypeKind kind() const { return kind_; }
  TimestampUnit unit() const { return unit_; }
  bool is_unknown() const { return unknown_; }
  // Precondition: kind() is kList or kMap.
  const Type& element() const;
  // Precondition: kind() is kStruct.
  const std::vector<Field>& fields() const;
  // Index in fields(), or -1.
  int field_index(std::string_view name) const;
  // As users write it: int, timestamp, [string], {a: int}.
  std::string to_string() const;
  friend bool operator==(const Type& a, const Type& b);

 private:
  TypeKind kind_ = TypeKind::kNull;
  TimestampUnit unit_ = TimestampUnit::kMillis;
  bool unknown_ = false;
  std::shared_ptr<const std::vector<Field>> nested_;  // element as one nameless field, or the fields
};

struct Field {
  std::string name;
  Type type;
  friend bool operator==(const Field& a, const Field& b) { return a.name == b.name && a.type == b.type; }
};

// The columns of an edge, in declared order.
using Schema = std::vector<Field>;

// True for record.key, record.topic …: columns about the record, which expressions may read but rows do not hold.
// Declared names have no dot.
bool describes_record(const Field& field);

// A column's type is unknown: nothing can be said about rows of this schema as a whole.
bool has_unknown(const Schema& schema);

// Index of the column called `name`, or -1.
int find_column(const Schema& schema, std::string_view name);

}  // namespace millrace
