// Regular expressions in RE2's syntax: linear in the text, no back references. Immutable once made; any thread.
// Internal to expr/, and the only user of RE2.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace millrace::expr {

class Pattern {
 public:
  // nullptr with *error: not a regular expression, longer than kMaxBytes, or too large when compiled.
  static std::shared_ptr<const Pattern> make(std::string_view text, std::string* error);
  ~Pattern();

  // Does it match anywhere in the text?
  bool matches(std::string_view text) const;
  // What its first group matches, or all of it if it has none; nullopt: no match, or the group takes no part in it.
  std::optional<std::string_view> extract(std::string_view text) const;

  static constexpr size_t kMaxBytes = 4096;
  static constexpr size_t kMaxCached = 16;  // of a few megabytes at most

 private:
  explicit Pattern(std::unique_ptr<re2::RE2> compiled);
  std::unique_ptr<re2::RE2> compiled_;
};

}  // namespace millrace::expr
