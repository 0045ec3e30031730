#include "operators/row_output.h"

#include "base/check.h"

namespace millrace {

RowOutput::RowOutput(const std::vector<Type>& types, bool with_rank, const std::vector<int>& key_columns)
    : with_rank_(with_rank), is_key_(types.size()), columns_(types) {
  for (int column : key_columns) {
    if (static_cast<size_t>(column) < types.size()) is_key_[static_cast<size_t>(column)] = true;
  }
}

void RowOutput::begin() {
  arena_ = arenas_->take();
  rows_ = 0;
  only_inserts_ = true;
  changes_ = arena_->array<Change>(kMaxRows);
  event_times_ = arena_->array<int64_t>(kMaxRows);
  watermarks_ = arena_->array<int64_t>(kMaxRows);
  if (with_rank_) ranks_ = arena_->array<int64_t>(kMaxRows);
  columns_.begin(arena_);
}

Status RowOutput::make_room(uint32_t rows, bool has_watermark, Collector& out, uint64_t& emitted) {
  MR_CHECK(rows <= kMaxRows);
  if (arena_ && rows_ + rows > kMaxRows) MR_RETURN_IF_ERROR(emit(has_watermark, out, emitted));
  return Status::ok();
}

Status RowOutput::add(const Row& row) {
  if (!arena_) begin();
  MR_CHECK(rows_ < kMaxRows);
  const bool deletes = row.change == Change::kDelete;
  if (!(deletes ? columns_.add(row.bytes, is_key_) : columns_.add(row.bytes))) {
    return Status::terminal(Code::kStateCorrupt, "a stored row does not decode");
  }
  changes_[rows_] = row.change;
  event_times_[rows_] = row.event_time_ms;
  watermarks_[rows_] = row.watermark_ms;
  if (with_rank_) ranks_[rows_] = row.rank;
  if (row.change != Change::kInsert) only_inserts_ = false;
  rows_++;
  return Status::ok();
}

Status RowOutput::emit(bool has_watermark, Collector& out, uint64_t& emitted) {
  if (!arena_) return Status::ok();
  Batch batch;
  batch.rows = rows_;
  batch.columns = columns_.finish();
  if (with_rank_) {
    auto ranks = std::make_shared<Column>();
    ranks->type = Type(TypeKind::kInt);
    ranks->rows = rows_;
    ranks->ints = ranks_;
    ranks->owners.push_back(arena_);
    batch.columns.push_back(std::move(ranks));
  }
  batch.event_time_ms = event_times_;
  if (has_watermark) batch.watermark_ms = watermarks_;
  if (!only_inserts_) batch.changes = changes_;
  batch.bytes = arena_->bytes();
  batch.owners.push_back(std::move(arena_));
  arena_.reset();
  rows_ = 0;
  emitted += batch.rows;
  return out.emit(std::move(batch));
}

}  // namespace millrace
