// What the tests of connectors share: a folder of their own, and a source read to its end.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "sources/source.h"

namespace millrace {

struct TestFolder {
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "millrace-test-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary | std::ios::trunc) << content;
    return *this / name;
  }
  std::string path;
};

struct ReadRow {
  uint32_t partition;
  int64_t offset;
  std::string payload;
  friend bool operator==(const ReadRow&, const ReadRow&) = default;
};

// One poll, its rows appended to `rows`. The payloads are copied when the source has gone on already, as in a pipeline.
inline Status poll_once(Source& source, const SourceLimits& limits, std::vector<ReadRow>* rows, bool* end,
                        uint32_t* too_large = nullptr) {
  SourcePoll poll;
  poll.arena = std::make_shared<Arena>();
  MR_RETURN_IF_ERROR(source.poll(limits, 0, &poll));
  CHECK(poll.count <= limits.max_rows);
  size_t bytes = 0;
  for (uint32_t i = 0; i < poll.count; i++) {
    bytes += poll.rows->payload[i].size();
    CHECK(poll.rows->timestamp_ms[i] == kNoTime);
    rows->push_back({poll.rows->partition[i], poll.rows->offset[i], std::string(poll.rows->payload[i])});
  }
  CHECK(bytes == poll.bytes);
  if (poll.count > 1) CHECK(bytes <= limits.max_bytes);
  if (too_large != nullptr) *too_large += static_cast<uint32_t>(poll.skipped_too_large.size());
  *end = poll.end_of_input;
  return Status::ok();
}

inline std::vector<ReadRow> read_to_end(Source& source, const SourceLimits& limits = {},
                                        uint32_t* too_large = nullptr) {
  std::vector<ReadRow> rows;
  bool end = false;
  for (int polls = 0; !end; polls++) {
    REQUIRE(polls < 1'000'000);
    const Status status = poll_once(source, limits, &rows, &end, too_large);
    REQUIRE_MESSAGE(status.is_ok(), status.to_string());
  }
  return rows;
}

}  // namespace millrace
