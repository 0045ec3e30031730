#include "operators/top_aggregate.h"

#include <new>

#include "base/check.h"

namespace millrace {
namespace {

class TopAggregate : public Aggregate {
 public:
  TopAggregate(const TopRule& rule, const std::vector<Type>& kept)
      : rule_(rule), codec_(kept), type_(TypeKind::kBytes) {}
  size_t size() const override { return sizeof(TopList); }
  const Type& type() const override { return type_; }
  void create(void* slot) const override { new (slot) TopList; }
  void destroy(void* slot) const override { list_of(slot).~TopList(); }
  bool trivially_destructible() const override { return false; }
  size_t extra_bytes(const void* slot) const override { return list_of(slot).heap_bytes(); }

  void add(const AggregateRows& rows) const override {
    std::string encoded;
    for (size_t i = 0; i < rows.n; i++) add_row(rows, i, encoded);
  }
  void add_running(const AggregateRows& rows, const RunningRows& out) const override {
    std::string encoded;
    for (size_t i = 0; i < rows.n; i++) {
      const TopList& list = list_at(rows, i);
      if (out.before != nullptr && out.before[i] != kNoRow) put(list, *out.column, out.before[i], encoded);
      add_row(rows, i, encoded);
      if (out.after[i] != kNoRow) put(list, *out.column, out.after[i], encoded);
    }
  }
  bool cannot_fail(const AggregateRows& rows) const override {
    if (!rule_.ties) return true;
    for (size_t i = 0; i < rows.n; i++) {
      if (list_at(rows, i).entries().size() + rows.n > TopRule::kMaxRows) return false;
    }
    return true;
  }
  bool can_fold(const AggregateRows& rows, size_t i) const override {
    const TopList& list = list_at(rows, i);
    const std::string_view order = order_of(rows, i);
    return !list.takes(order, rule_) || !list.is_full(order, rule_);
  }

  bool merge(void* into, const void* from) const override {
    TopList& list = list_of(into);
    const TopList& other = list_of(from);
    if (!rule_.ties || list.entries().size() + other.entries().size() <= TopRule::kMaxRows) {
      return merge_lists(list, other);
    }
    TopList merged;
    copy(list, merged);
    if (!merge_lists(merged, other)) return false;
    list = std::move(merged);
    return true;
  }
  bool can_merge(const void* into, const void* from) const override {
    const TopList& list = list_of(into);
    const TopList& other = list_of(from);
    if (!rule_.ties || list.entries().size() + other.entries().size() <= TopRule::kMaxRows) return true;
    TopList merged;
    copy(list, merged);
    return merge_lists(merged, other);
  }

  void write(void* const* states, size_t offset, size_t n, const uint32_t* out_rows,
             ColumnBuilder& out) const override {
    std::string encoded;
    for (size_t i = 0; i < n; i++) put(list_of(static_cast<char*>(states[i]) + offset), out, out_rows[i], encoded);
  }
  void encode(const void* slot, AccumulatorWriter& out) const override { list_of(slot).encode(out); }
  Status decode(AccumulatorReader& in, void* slot) const override {
    if (list_of(slot).decode(in)) return Status::ok();
    return Status::terminal(Code::kStateCorrupt, "the best rows of a window do not decode");
  }

 private:
  static TopList& list_of(void* slot) { return *static_cast<TopList*>(slot); }
  static const TopList& list_of(const void* slot) { return *static_cast<const TopList*>(slot); }
  static TopList& list_at(const AggregateRows& rows, size_t i) {
    return list_of(static_cast<char*>(rows.states[i]) + rows.offset);
  }
  static std::string_view order_of(const AggregateRows& rows, size_t i) {
    return rows.value->children[0]->strings[rows.rows[i]];
  }

  void add_row(const AggregateRows& rows, size_t i, std::string& encoded) const {
    TopList& list = list_at(rows, i);
    const std::string_view order = order_of(rows, i);
    if (!list.takes(order, rule_)) return;
    encoded.clear();
    codec_.encode(rows.value->children[1]->children, rows.rows[i], encoded);
    list.insert(order, encoded, 0, rule_);  // rows of a window have the window's time
  }
  bool merge_lists(TopList& into, const TopList& from) const {
    for (const TopList::Entry& entry : from.entries()) {
      if (!into.takes(entry.order(), rule_)) break;
      if (into.is_full(entry.order(), rule_)) return false;
      into.insert(entry.order(), entry.row(), entry.event_time_ms, rule_);
    }
    return true;
  }
  void copy(const TopList& from, TopList& to) const {
    for (const TopList::Entry& entry : from.entries()) {
      to.insert(entry.order(), entry.row(), entry.event_time_ms, rule_);
    }
  }
  static void put(const TopList& list, ColumnBuilder& out, uint32_t row, std::string& encoded) {
    encoded.clear();
    AccumulatorWriter writer(encoded);
    list.encode(writer);
    out.strings[row] = out.arena().copy(encoded);
  }

  const TopRule rule_;
  const RowCodec codec_;
  const Type type_;
};
static_assert(sizeof(TopList) % 8 == 0 && alignof(TopList) <= 8);

}  // namespace

ColumnPtr arrival_column(ColumnPtr order, std::vector<ColumnPtr> kept) {
  auto row = std::make_shared<Column>();
  row->type = Type(TypeKind::kStruct);
  row->rows = order->rows;
  row->children = std::move(kept);
  auto arrival = std::make_shared<Column>();
  arrival->type = Type(TypeKind::kStruct);
  arrival->rows = order->rows;
  arrival->children = {std::move(order), std::move(row)};
  return arrival;
}

AggregatePtr make_top_aggregate(const TopRule& rule, const std::vector<Type>& kept) {
  return std::make_shared<TopAggregate>(rule, kept);
}

bool read_top_list(std::string_view bytes, const TopRule& rule, std::vector<TopRow>& rows) {
  AccumulatorReader in(bytes);
  const uint64_t count = in.varint();
  const size_t first = rows.size();
  for (uint64_t i = 0; i < count && in.ok(); i++) {
    in.zigzag();  // event time
    const uint64_t order_bytes = in.varint();
    const std::string_view entry = in.string();
    if (order_bytes > entry.size()) return false;
    TopRow row{entry.substr(0, order_bytes), entry.substr(order_bytes), static_cast<uint32_t>(i + 1)};
    if (rule.ties && i > 0 && rows.back().order == row.order) row.rank = rows.back().rank;
    rows.push_back(row);
  }
  return in.finished() && rows.size() - first == count;
}

}  // namespace millrace
