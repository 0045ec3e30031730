#include "expr/pattern.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include "expr/utf8.h"

namespace millrace::expr {
namespace {

// Of one expression: its program and the states that it remembers while it matches.
constexpr int64_t kMaxMemoryBytes = 2 << 20;

}  // namespace

Pattern::Pattern(std::unique_ptr<re2::RE2> compiled) : compiled_(std::move(compiled)) {}
Pattern::~Pattern() = default;

std::shared_ptr<const Pattern> Pattern::make(std::string_view text, std::string* error) {
  if (text.size() > kMaxBytes) {
    *error = fmt::format("a regular expression is at most {} bytes long", kMaxBytes);
    return nullptr;
  }
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxMemoryBytes);
  auto compiled = std::make_unique<re2::RE2>(re2::StringPiece(text.data(), text.size()), options);
  if (!compiled->ok()) {
    *error = fmt::format("not a regular expression: {}", shortened(compiled->error(), 100));
    return nullptr;
  }
  return std::shared_ptr<const Pattern>(new Pattern(std::move(compiled)));
}

bool Pattern::matches(std::string_view text) const {
  return compiled_->Match(re2::StringPiece(text.data(), text.size()), 0, text.size(), re2::RE2::UNANCHORED, nullptr, 0);
}

std::optional<std::string_view> Pattern::extract(std::string_view text) const {
  re2::StringPiece found[2];
  const int group = compiled_->NumberOfCapturingGroups() > 0 ? 1 : 0;
  const re2::StringPiece subject(text.data(), text.size());
  if (!compiled_->Match(subject, 0, text.size(), re2::RE2::UNANCHORED, found, group + 1)) return std::nullopt;
  if (found[group].data() == nullptr) return std::nullopt;
  return std::string_view(found[group].data(), found[group].size());
}

}  // namespace millrace::expr
