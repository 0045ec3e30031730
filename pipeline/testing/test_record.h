// Records of the step `send`: rows as maps, payloads as text, or either with what a record has beside its payload.
// Pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/type.h"
#include "formats/format_options.h"
#include "sources/memory_source.h"

namespace millrace {

// What a source takes.
struct RecordShape {
  std::string source;
  Format format;  // as in the pipeline; generated rows: json
  Schema schema;
  bool kafka = false;  // records have key, headers, timestamp and topic
  std::vector<std::string> topics;
};

// One record as it is written. The partition is still a name, because the number of partitions depends on the test.
struct WrittenRecord {
  PartitionName partition;
  Location partition_at;
  bool has_timestamp = false;
  MemoryRecord record;
};

// nullopt after an error.
std::optional<WrittenRecord> read_record(const ConfigNode& node, const RecordShape& shape, Diagnostics& diagnostics);

}  // namespace millrace
