#include "operators/process_output.h"

#include <algorithm>

#include "base/check.h"
#include "operators/cells.h"

namespace millrace {

void ProcessOutput::begin(uint32_t items) {
  parts_.clear();
  shown_.clear();
  items_ = items;
}

void ProcessOutput::add(std::vector<ColumnPtr> columns, const std::vector<uint32_t>& items,
                        const std::vector<uint32_t>* rows) {
  const auto part = static_cast<uint32_t>(parts_.size());
  const auto n = static_cast<uint32_t>(items.size());
  if (rows != nullptr) {
    for (uint32_t row : *rows) shown_.push_back({items[row], part, row});
  } else {
    for (uint32_t row = 0; row < n; row++) shown_.push_back({items[row], part, row});
  }
  parts_.push_back({std::move(columns), n, &items});
}

// Leaves out what does not count and brings the rest into the order of the items; steps of an item keep theirs.
void ProcessOutput::order(const Items& items, uint32_t end) {
  ordered_.clear();
  bool sorted = true;
  for (const Shown& shown : shown_) {
    if (shown.item >= end || items.failed[shown.item] != 0) continue;
    sorted = sorted && (ordered_.empty() || ordered_.back().item <= shown.item);
    ordered_.push_back(shown);
  }
  if (sorted) return;
  shown_.swap(ordered_);
  ordered_.resize(shown_.size());
  size_t counted = 0;
  starts_.assign(items_ + 1, 0);
  for (const Shown& shown : shown_) {
    if (shown.item < end && items.failed[shown.item] == 0) starts_[shown.item + 1]++;
  }
  for (uint32_t item = 0; item < items_; item++) starts_[item + 1] += starts_[item];
  for (const Shown& shown : shown_) {
    if (shown.item >= end || items.failed[shown.item] != 0) continue;
    ordered_[starts_[shown.item]++] = shown;
    counted++;
  }
  ordered_.resize(counted);
}

// The columns of a single step leave as they are.
bool ProcessOutput::single_part() const {
  if (parts_.size() != 1 || parts_[0].rows > kMaxRows) return false;
  for (size_t i = 0; i < schema_.size(); i++) {
    if (parts_[0].columns[i]->type.kind() != schema_[i].type.kind()) return false;  // the literal null
  }
  return true;
}

Batch ProcessOutput::part_of_one(const Items& items, const ArenaPtr& arena) {
  const Part& part = parts_[0];
  Batch batch;
  batch.rows = part.rows;
  batch.columns = part.columns;
  auto* event_time_ms = arena->array<int64_t>(part.rows);
  auto* watermark_ms = arena->array<int64_t>(part.rows);
  for (uint32_t row = 0; row < part.rows; row++) {
    event_time_ms[row] = items.event_time_ms[(*part.items)[row]];
    watermark_ms[row] = items.watermark_ms[(*part.items)[row]];
  }
  batch.event_time_ms = event_time_ms;
  batch.watermark_ms = watermark_ms;
  if (ordered_.size() < part.rows) {
    auto rows = std::make_shared<std::vector<uint32_t>>();
    rows->reserve(ordered_.size());
    for (const Shown& shown : ordered_) rows->push_back(shown.row);
    batch.selection = std::move(rows);
  }
  return batch;
}

Batch ProcessOutput::gathered(const Items& items, size_t begin, size_t count, const ArenaPtr& arena) const {
  const auto n = static_cast<uint32_t>(count);
  Batch batch;
  batch.rows = n;
  auto* event_time_ms = arena->array<int64_t>(n);
  auto* watermark_ms = arena->array<int64_t>(n);
  for (uint32_t i = 0; i < n; i++) {
    event_time_ms[i] = items.event_time_ms[ordered_[begin + i].item];
    watermark_ms[i] = items.watermark_ms[ordered_[begin + i].item];
  }
  batch.event_time_ms = event_time_ms;
  batch.watermark_ms = watermark_ms;
  std::vector<ColumnCell> cells(n);
  for (size_t c = 0; c < schema_.size(); c++) {
    for (uint32_t i = 0; i < n; i++) {
      const Shown& shown = ordered_[begin + i];
      cells[i] = {parts_[shown.part].columns[c].get(), shown.row};
    }
    std::shared_ptr<Column> column = column_of_cells(schema_[c].type, cells.data(), n, arena);
    for (const Part& part : parts_) column->owners.push_back(part.columns[c]);
    batch.columns.push_back(std::move(column));
  }
  return batch;
}

Status ProcessOutput::emit(const Items& items, uint32_t end, const ArenaPtr& arena, Collector& out,
                           uint64_t& emitted) {
  order(items, end);
  const bool as_it_is = single_part();
  for (size_t begin = 0; begin < ordered_.size();) {
    const size_t count = as_it_is ? ordered_.size() : std::min<size_t>(ordered_.size() - begin, kMaxRows);
    Batch batch = as_it_is ? part_of_one(items, arena) : gathered(items, begin, count, arena);
    batch.owners.push_back(arena);
    batch.bytes = arena->bytes() * count / ordered_.size();
    begin += count;
    emitted += count;
    MR_RETURN_IF_ERROR(out.emit(std::move(batch)));
  }
  begin(0);
  return Status::ok();
}

}  // namespace millrace
