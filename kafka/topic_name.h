// What Kafka allows as the name of a topic. Pure; any thread.
#pragma once

#include <algorithm>
#include <string_view>

namespace millrace {

inline constexpr size_t kMaxTopicName = 249;
inline constexpr const char* kTopicNameRule = "letters, digits, '.', '_' and '-', at most 249 of them";

inline bool is_topic_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxTopicName || name == "." || name == "..") return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace millrace
