#include "rows.h"

#include <fmt/format.h>

namespace millrace {
namespace {

void set_cell(ColumnBuilder& column, uint32_t row, const Cell& cell) {
  if (std::holds_alternative<std::monostate>(cell)) return column.set_null(row);
  if (column.bools != nullptr) column.bools[row] = std::get<bool>(cell);
  if (column.ints != nullptr) column.ints[row] = std::get<int64_t>(cell);
  if (column.doubles != nullptr) column.doubles[row] = std::get<double>(cell);
  if (column.strings != nullptr) column.strings[row] = column.arena().copy(std::get<std::string>(cell));
}

Cell get_cell(const Column& column, uint32_t row) {
  if (column.is_null(row)) return {};
  if (column.bools != nullptr) return column.bools[row] != 0;
  if (column.ints != nullptr) return column.ints[row];
  if (column.doubles != nullptr) return column.doubles[row];
  if (column.strings != nullptr) return std::string(column.strings[row]);
  const Span span = column.spans[row];
  Row items;
  for (uint32_t i = 0; i < span.count; i++) items.push_back(get_cell(*column.children[0], span.begin + i));
  return "[" + to_text(items) + "]";
}

OperatorRegistry all_operators() {
  OperatorRegistry registry;
  register_aggregate(registry, builtin_aggregates());
  register_deduplicate(registry);
  register_drop(registry);
  register_extend(registry);
  register_filter(registry);
  register_flat_map(registry);
  register_process(registry);
  register_select(registry);
  register_top_n(registry);
  return registry;
}

}  // namespace

std::string to_text(const Row& row) {
  std::string text;
  for (const Cell& cell : row) {
    if (!text.empty()) text += " ";
    if (std::holds_alternative<std::monostate>(cell)) text += "null";
    if (const auto* value = std::get_if<int64_t>(&cell)) text += fmt::format("{}", *value);
    if (const auto* value = std::get_if<double>(&cell)) text += fmt::format("{}", *value);
    if (const auto* value = std::get_if<bool>(&cell)) text += *value ? "true" : "false";
    if (const auto* value = std::get_if<std::string>(&cell)) text += *value;
  }
  return text;
}

std::string to_text(const std::vector<Shown>& rows) {
  std::string text;
  for (const Shown& row : rows) {
    if (!text.empty()) text += " | ";
    text += (row.change == Change::kInsert ? "" : row.change == Change::kDelete ? "delete " : "-") + to_text(row.row);
  }
  return text;
}

Batch make_batch(const Schema& schema, const std::vector<Row>& rows, const std::vector<int64_t>& times,
                 const std::vector<Change>& changes) {
  const auto arena = std::make_shared<Arena>();
  const auto n = static_cast<uint32_t>(rows.size());
  Batch batch;
  batch.rows = n;
  for (size_t c = 0; c < schema.size(); c++) {
    ColumnBuilder column(schema[c].type, arena, n);
    for (uint32_t r = 0; r < n; r++) set_cell(column, r, rows[r][c]);
    batch.columns.push_back(column.finish(n));
  }
  auto* event_times = arena->array<int64_t>(n);
  for (uint32_t r = 0; r < n; r++) event_times[r] = times.empty() ? r : times[r];
  batch.event_time_ms = event_times;
  if (!changes.empty()) {
    auto* copied = arena->array<Change>(n);
    std::copy(changes.begin(), changes.end(), copied);
    batch.changes = copied;
  }
  batch.owners.push_back(arena);
  return batch;
}

Batch with_watermarks(Batch batch, const std::vector<int64_t>& watermarks) {
  const auto arena = std::make_shared<Arena>();
  auto* copied = arena->array<int64_t>(watermarks.size());
  std::copy(watermarks.begin(), watermarks.end(), copied);
  batch.watermark_ms = copied;
  batch.owners.push_back(arena);
  return batch;
}

std::vector<Shown> read_batch(const Schema& schema, const Batch& batch) {
  REQUIRE(batch.columns.size() == schema.size());
  std::vector<Shown> rows;
  for_each_live(batch, [&](uint32_t row) {
    Shown shown{batch.change(row), batch.event_time_ms[row], {}};
    for (size_t c = 0; c < schema.size(); c++) {
      CHECK(batch.columns[c]->type == schema[c].type);
      shown.row.push_back(get_cell(*batch.columns[c], row));
    }
    rows.push_back(std::move(shown));
  });
  return rows;
}

Status RecordingCollector::emit(Batch batch) {
  for (Shown& row : read_batch(schema_, batch)) shown.push_back(std::move(row));
  largest_batch = std::max<size_t>(largest_batch, batch.rows);
  batches.push_back(std::move(batch));
  return Status::ok();
}

Status RecordingCollector::emit_side(const std::string& port, Batch batch) {
  REQUIRE(port == "late");
  for (Shown& row : read_batch(late_schema, batch)) late.push_back(std::move(row));
  return Status::ok();
}

Status RecordingCollector::fail_rows(const Batch& batch, const RowErrors& errors) {
  for (const auto& entry : errors.entries) {
    REQUIRE(entry.row < batch.rows);
    failed.push_back(entry.message);
    failed_times.push_back(batch.event_time_ms[entry.row]);
  }
  return Status::ok();
}

std::unique_ptr<OperatorPlan> plan_operator(const std::string& yaml, const Edge& input, Diagnostics& diagnostics,
                                            bool retractions) {
  static const OperatorRegistry registry = all_operators();
  diagnostics.add_file("t.yaml", yaml);
  const ConfigNode document = ConfigNode::parse(
      "t.yaml", yaml, [](const std::string&) { return std::nullopt; }, diagnostics);
  if (!document.is_mapping() || document.size() != 1) return nullptr;
  const OperatorFactory* factory = registry.find(document.key_at(0));
  REQUIRE(factory != nullptr);
  std::unique_ptr<OperatorPlan> plan = (*factory)(document.at(0), diagnostics);
  if (!plan || !plan->plan({input}, diagnostics)) return nullptr;
  if (retractions) REQUIRE(plan->enable_retractions());
  return plan;
}

std::unique_ptr<OperatorPlan> planned(const std::string& yaml, const Edge& input, bool retractions) {
  Diagnostics diagnostics;
  auto plan = plan_operator(yaml, input, diagnostics, retractions);
  INFO(diagnostics.render_text());
  REQUIRE(plan != nullptr);
  REQUIRE(!diagnostics.has_errors());
  return plan;
}

std::string first_error(const std::string& yaml, const Edge& input) {
  Diagnostics diagnostics;
  const auto plan = plan_operator(yaml, input, diagnostics);
  CHECK(diagnostics.has_errors());
  if (diagnostics.all().empty()) return "";
  const Diagnostic& first = diagnostics.all().front();
  return fmt::format("MR{}@{}:{} {}; {}", static_cast<int>(first.code), first.at.line, first.at.column, first.message,
                     first.hint);
}

KeyedLane::KeyedLane(const OperatorPlan& plan, const Schema& input, Options options)
    : out(plan.output().schema),
      plan_(plan),
      options_(options),
      store_(open_memory_store()),
      encoder_(*plan.key(), input, options.shards) {
  if (plan.late_output() != nullptr) out.late_schema = plan.late_output()->schema;
  restart();
}

void KeyedLane::restart() {
  operator_.reset();
  if (layers_) REQUIRE(layers_->flush().is_ok());
  StateLayers::Options layers;
  layers.background = false;
  layers.memtable_bytes = 64 << 10;
  layers.now_ms = [] { return int64_t{0}; };
  layers_ = std::make_unique<StateLayers>(*store_, 1, layers);
  operator_ = plan_.make();
  OperatorContext context;
  context.arenas = &arenas_;
  context.state = &layers_->lane(0);
  context.operator_id = 7;
  context.cache_bytes = options_.cache_bytes;
  context.emit_per_batch = options_.emit_per_batch;
  context.shards = options_.shards;
  context.clock = &clock;
  REQUIRE(operator_->open(context).is_ok());
}

void KeyedLane::process(const Batch& batch) {
  RowErrors errors;
  const ArenaPtr arena = arenas_.take();
  const Batch keyed = encoder_.encode(batch, arena, errors);
  if (!errors.empty()) REQUIRE(out.fail_rows(batch, errors).is_ok());
  for (uint32_t begin = 0; begin < keyed.live();) {
    const Result<uint32_t> next = operator_->consume(keyed, begin, 0, out);
    REQUIRE(next.is_ok());
    if (options_.cut_within) cut_within_epoch();
    if (*next < keyed.live()) advance(keyed.watermark_ms[keyed.row(*next)]);
    begin = *next;
  }
}

void KeyedLane::advance(int64_t watermark_ms) {
  for (bool done = false; !done;) {
    const size_t before = out.shown.size();
    const Result<bool> advanced = operator_->advance(watermark_ms, options_.advance_rows, out);
    REQUIRE(advanced.is_ok());
    CHECK(out.shown.size() - before <= std::max<size_t>(options_.advance_rows, 2) * options_.rows_per_result);
    done = *advanced;
    if (options_.cut_within) cut_within_epoch();
  }
}

void KeyedLane::advance_clock(int64_t now_ms) {
  clock.set_wall_ms(now_ms);
  for (bool done = false; !done;) {
    const Result<bool> advanced = operator_->advance_clock(now_ms, options_.advance_rows, out);
    REQUIRE(advanced.is_ok());
    done = *advanced;
  }
}

void KeyedLane::flush() {
  for (bool done = false; !done;) {
    const size_t before = out.shown.size();
    const Result<bool> flushed = operator_->flush(epoch_, options_.flush_rows, out);
    REQUIRE(flushed.is_ok());
    CHECK(out.shown.size() - before <= std::max<size_t>(options_.flush_rows, 2) * options_.rows_per_result);
    done = *flushed;
  }
}

void KeyedLane::cut_within_epoch() {
  flush();
  DeltaBuilder delta(epoch_);
  operator_->cut(delta);
  layers_->lane(0).add_undecided(delta.finish());
}

void KeyedLane::end_epoch() {
  cut_within_epoch();
  REQUIRE(layers_->decide(epoch_, fmt::format("progress {}", epoch_)).is_ok());
  epoch_++;
}

}  // namespace millrace
