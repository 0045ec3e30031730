// TopList: the best rows of a key (or of a window), in order. A row is opaque bytes beside its order key
// (operators/order_key.h: what ranks first is smallest) and its event time. The list knows which of its rows were shown
// at which rank, and keeps those that have left since until changes are taken: so what changed can be said without a
// second copy of it. Where rows may be taken out again it holds those behind the best as well, to move up. Plain memory
// that may be moved by memcpy, as accumulators are. Belongs to its lane.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "operators/accumulator_bytes.h"

namespace millrace {

// What is best: the first n rows, and with ties all that rank equal to the n-th.
struct TopRule {
  uint32_t n = 1;
  bool ties = false;
  bool keeps_all = false;  // rows behind the best stay in the list
  // Rows of one list, ties included; n is less.
  static constexpr uint32_t kMaxRows = 10'000;
};

class TopList {
 public:
  struct Entry {
    std::string bytes;  // order key, then the row
    uint32_t order_bytes = 0;
    uint32_t shown_rank = 0;  // 0: not shown
    int64_t event_time_ms = 0;
    std::string_view order() const { return std::string_view(bytes).substr(0, order_bytes); }
    std::string_view row() const { return std::string_view(bytes).substr(order_bytes); }
  };

  const std::vector<Entry>& entries() const { return entries_; }
  // How many of the entries, from the first on, are the best: all of them unless the rule keeps others.
  size_t best(const TopRule& rule) const;
  // Whether the list has a place for a row of this order. Of equal ones the earlier arrival ranks first.
  bool takes(std::string_view order, const TopRule& rule) const;
  // Whether the list is as long as it may be, and a row that it takes would make it longer.
  bool is_full(std::string_view order, const TopRule& rule) const;
  // Puts a row in. Precondition: takes(order) and not is_full(order).
  void insert(std::string_view order, std::string_view row, int64_t event_time_ms, const TopRule& rule);
  // Takes a row out. Of those with these bytes one of this event time, if there is any; of those the latest arrival.
  // False: there is none. Precondition: the rule keeps all.
  bool remove(std::string_view order, std::string_view row, int64_t event_time_ms);
  void remove_at(size_t index);
  // 1, 2, 3 …; with ties equal rows have one rank, and as many ranks behind it are left out.
  uint32_t rank(size_t index, const TopRule& rule) const;

  // No entry from here on was shown.
  size_t shown_end() const { return shown_end_; }
  // Entries that were shown and have left, in no order.
  const std::vector<Entry>& gone() const;
  // Those of them that have come back, with the same event time, and are among the best count as never gone.
  void reunite(const TopRule& rule);
  // Everything is shown as it stands.
  void mark_shown(const TopRule& rule);

  void encode(AccumulatorWriter& out) const;
  // Into an empty list. False: malformed.
  bool decode(AccumulatorReader& in);
  // Memory on the heap, counted as it changes.
  size_t heap_bytes() const { return heap_bytes_ + entries_.capacity() * sizeof(Entry); }

 private:
  void drop_last();
  void keep_gone(Entry& entry);
  static size_t heap_bytes_of(const Entry& entry);

  std::vector<Entry> entries_;                // by order, then arrival
  std::unique_ptr<std::vector<Entry>> gone_;  // nullptr: none
  size_t heap_bytes_ = 0;                     // of the entries' text, here and gone
  size_t shown_end_ = 0;
};

}  // namespace millrace
