// Which rows a sink shows for which rows a test expects. Pure functions; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pipeline/testing/test_expectation.h"
#include "sinks/memory_sink.h"

namespace millrace {

inline constexpr size_t kNoRow = static_cast<size_t>(-1);

// One line of a comparison: an expected row, a row that came, or both.
struct AlignedRow {
  size_t expected = kNoRow;            // in Expectation::rows
  size_t found = kNoRow;               // in Alignment::found
  std::vector<std::string> differing;  // both: columns that are not as expected; empty: the rows match
  bool matches() const { return expected != kNoRow && found != kNoRow && differing.empty(); }
};

struct Alignment {
  std::vector<nlohmann::ordered_json> found;  // the rows that were compared, record.* columns included
  std::vector<AlignedRow> rows;               // in the order in which to show them
  bool good = true;                           // the expectation is met
};

// The columns of a row, then record.key, record.value and record.timestamp where it has them, record.deleted if so.
nlohmann::ordered_json row_of(const MemoryRow& row);

// Compares. Rows that do not match are paired with the nearest, so that a difference can be named: most columns alike,
// at least one.
Alignment align(const Expectation& expectation, const std::vector<MemoryRow>& rows);

}  // namespace millrace
