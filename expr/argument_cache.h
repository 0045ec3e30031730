// Texts that a function must read before it can use them (regular expressions, time zones, formats) and what they
// amount to. Constant ones are read by the checker and hang on the node; the others go through the cache of the
// evaluator. Internal to expr/.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "expr/pattern.h"
#include "expr/program.h"
#include "expr/time_format.h"
#include "expr/time_zone.h"

namespace millrace::expr {

// The last texts and their T::make(text, &error). Bounded: when it holds T::kMaxCached, it starts anew.
template <class T>
class TextCache {
 public:
  struct Entry {
    std::shared_ptr<const T> value;  // nullptr: `error` says why
    std::string error;
  };

  // Valid until the next call.
  const Entry& find(std::string_view text) {
    const auto found = entries_.find(text);
    if (found != entries_.end()) return found->second;
    if (entries_.size() >= T::kMaxCached) entries_.clear();
    Entry entry;
    entry.value = T::make(text, &entry.error);
    return entries_.emplace(std::string(text), std::move(entry)).first->second;
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries_;
};

// One thread.
struct ArgumentCache {
  TextCache<Pattern> patterns;
  TextCache<TimeZone> zones;
  TextCache<TimeFormat> time_formats;
};

// What a text argument amounts to, row by row.
template <class T>
class TextArgument {
 public:
  // `constant`: of the node, nullptr if the argument varies.
  TextArgument(Frame& frame, const std::shared_ptr<const T>& constant, TextCache<T>& cache, const Vector& text)
      : frame_(frame), constant_(constant.get()), cache_(cache), text_(text) {}

  // nullptr: the row has failed.
  const T* of(uint32_t row, Vector& out) {
    if (constant_) return constant_;
    const typename TextCache<T>::Entry& entry = cache_.find(text_.strings[text_.at(row)]);
    if (!entry.value) frame_.fail(out, row, frame_.keep(entry.error));
    return entry.value.get();
  }

 private:
  Frame& frame_;
  const T* constant_;
  TextCache<T>& cache_;
  const Vector& text_;
};

}  // namespace millrace::expr
