#include "operators/late_rows.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr const char* kAdded[] = {"window_start", "window_end", "watermark"};

bool is_added(const std::string& name) {
  return std::find(std::begin(kAdded), std::end(kAdded), name) != std::end(kAdded);
}

}  // namespace

Edge LateRows::edge(const Schema& input) {
  Edge edge;
  const Type timestamp(TypeKind::kTimestamp);
  for (const Field& field : input) edge.schema.push_back({field.name, is_added(field.name) ? timestamp : field.type});
  for (const char* name : kAdded) {
    if (find_column(input, name) < 0) edge.schema.push_back({name, timestamp});
  }
  return edge;
}

LateRows::LateRows(const Schema& input) {
  const Edge late = edge(input);
  for (size_t i = 0; i < late.schema.size(); i++) {
    const auto added = std::find(std::begin(kAdded), std::end(kAdded), late.schema[i].name);
    sources_.push_back(added == std::end(kAdded) ? static_cast<int>(i) : -1 - static_cast<int>(added - kAdded));
  }
}

void LateRows::add(const Batch& batch, const ArenaPtr& arena, uint32_t row, const WindowBounds& last,
                   int64_t watermark_ms) {
  if (!rows_) {
    const Type timestamp(TypeKind::kTimestamp);
    arena_ = arena;
    rows_ = std::make_shared<std::vector<uint32_t>>();
    starts_ = std::make_unique<ColumnBuilder>(timestamp, arena, batch.rows);
    ends_ = std::make_unique<ColumnBuilder>(timestamp, arena, batch.rows);
    watermarks_ = std::make_unique<ColumnBuilder>(timestamp, arena, batch.rows);
  }
  rows_->push_back(row);
  starts_->ints[row] = last.start_ms * 1000;
  ends_->ints[row] = last.end_ms * 1000;
  // The end of the input has no place in time.
  const int64_t limit_ms = INT64_MAX / 1000;
  watermarks_->ints[row] = std::clamp(watermark_ms, -limit_ms, limit_ms) * 1000;
}

Status LateRows::emit(const Batch& batch, Collector& out) {
  if (!rows_) return Status::ok();
  Batch late = batch;
  late.columns.clear();
  const ColumnPtr added[] = {starts_->finish(batch.rows), ends_->finish(batch.rows), watermarks_->finish(batch.rows)};
  for (int source : sources_) {
    late.columns.push_back(source >= 0 ? batch.columns[static_cast<size_t>(source)] : added[-1 - source]);
  }
  late.selection = std::move(rows_);
  late.key_bytes = nullptr;
  late.shards = nullptr;
  late.owners.push_back(arena_);
  rows_.reset();
  arena_.reset();
  return out.emit_side("late", std::move(late));
}

}  // namespace millrace
