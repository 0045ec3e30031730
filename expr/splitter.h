// Cuts a text at a separator, or into code points if the separator is empty, part by part. Pure; any thread.
// Internal to expr/.
#pragma once

#include <optional>
#include <string_view>

#include "expr/utf8.h"

namespace millrace::expr {

class Splitter {
 public:
  Splitter(std::string_view text, std::string_view separator)
      : rest_(text), separator_(separator), done_(separator.empty() && text.empty()) {}

  // The next part; nullopt: there is none. An empty text is one empty part, unless the separator is empty too.
  std::optional<std::string_view> next() {
    if (done_) return std::nullopt;
    const size_t size = separator_.empty() ? character_bytes(rest_) : rest_.find(separator_);
    if (size >= rest_.size()) return remainder();
    const std::string_view part = rest_.substr(0, size);
    rest_.remove_prefix(size + separator_.size());
    return part;
  }
  // All that is left as one part; nullopt: nothing is.
  std::optional<std::string_view> remainder() {
    if (done_) return std::nullopt;
    done_ = true;
    return rest_;
  }

 private:
  std::string_view rest_;
  std::string_view separator_;
  bool done_;
};

}  // namespace millrace::expr
