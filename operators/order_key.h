// The order of rows as bytes: keys that compare byte by byte as the rows do by several columns, each up or down. What
// ranks first is smallest. Null stands behind every value in both directions; doubles are ordered as max() sees them,
// -0.0 below 0.0 and NaN above everything; text by its bytes. The bytes are kept in states: they must not change.
#pragma once

#include <string>

#include "base/batch.h"

namespace millrace {

// Whether rows can be ordered by values of this type: bool, int, double, string, bytes, timestamp, duration.
bool is_order_type(const Type& type);

// Appends the key of one value. Keys of several columns are those of each, one behind the other: none is the beginning
// of another one.
void append_order_key(const Column& column, uint32_t row, bool descending, std::string& out);

}  // namespace millrace
