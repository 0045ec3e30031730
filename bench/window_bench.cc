// Cost per record of windows beside the plain aggregate: `window_bench [keys [records [epoch_records]]]`. Rows a
// millisecond apart, uniform string keys, watermark one second behind, memory store; prints CPU of consume (with what
// fires in it) and of flush and cut, per record.
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "operators/key_encoder.h"
#include "operators/registration.h"
#include "state/state_layers.h"

namespace millrace {
namespace {

constexpr uint32_t kRows = 1024;
constexpr int64_t kFirstMs = 1'700'000'000'000;
constexpr int64_t kBehindMs = 1000;

const Schema kSchema = {{"customer", Type(TypeKind::kString)}, {"amount", Type(TypeKind::kInt)}};

class CountingCollector : public Collector {
 public:
  Status emit(Batch batch) override {
    rows += batch.live();
    return Status::ok();
  }
  Status emit_side(const std::string&, Batch) override { return Status::internal("no side output"); }
  Status fail_rows(const Batch&, const RowErrors&) override { return Status::internal("a row failed"); }
  uint64_t rows = 0;
};

double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Rows [first, first + kRows) of the stream, with the watermark that each finds.
Batch make_batch(uint64_t first, uint64_t keys, uint64_t* random, ArenaPool& arenas) {
  const ArenaPtr arena = arenas.take();
  ColumnBuilder customer(kSchema[0].type, arena, kRows);
  ColumnBuilder amount(kSchema[1].type, arena, kRows);
  auto* times = arena->array<int64_t>(kRows);
  auto* watermarks = arena->array<int64_t>(kRows);
  char text[16];
  for (uint32_t i = 0; i < kRows; i++) {
    *random = *random * 6364136223846793005 + 1442695040888963407;
    const auto end = fmt::format_to(text, "c{:06}", (*random >> 33) % keys);
    customer.strings[i] = arena->copy({text, static_cast<size_t>(end - text)});
    amount.ints[i] = static_cast<int64_t>(*random >> 50);
    times[i] = kFirstMs + static_cast<int64_t>(first + i);
    watermarks[i] = times[i] - 1 - kBehindMs - 1;
  }
  Batch batch;
  batch.rows = kRows;
  for (ColumnBuilder* column : {&customer, &amount}) batch.columns.push_back(column->finish(kRows));
  batch.event_time_ms = times;
  batch.watermark_ms = watermarks;
  batch.owners.push_back(arena);
  return batch;
}

std::unique_ptr<OperatorPlan> make_plan(const std::string& yaml) {
  OperatorRegistry registry;
  register_aggregate(registry, builtin_aggregates());
  Diagnostics diagnostics;
  const ConfigNode body = ConfigNode::parse(
      "bench.yaml", yaml, [](const std::string&) { return std::nullopt; }, diagnostics);
  auto plan = (*registry.find("aggregate"))(body, diagnostics);
  const bool planned = plan && plan->plan({{kSchema, EdgeType::kAppend, {}}}, diagnostics);
  if (!planned) fmt::print(stderr, "{}\n", diagnostics.render_text());
  MR_CHECK(planned);
  return plan;
}

void consume(Operator& op, const Batch& batch, Collector& out) {
  for (uint32_t begin = 0; begin < batch.live();) {
    const auto next = op.consume(batch, begin, 0, out);
    MR_CHECK(next.is_ok());
    begin = *next;
    for (bool done = begin == batch.live(); !done;) {
      const auto advanced = op.advance(batch.watermark_ms[begin], 8192, out);
      MR_CHECK(advanced.is_ok());
      done = *advanced;
    }
  }
}

void end_epoch(Operator& op, StateLayers& layers, uint64_t epoch, Collector& out) {
  for (bool done = false; !done;) {
    const auto flushed = op.flush(epoch, 8192, out);
    MR_CHECK(flushed.is_ok());
    done = *flushed;
  }
  DeltaBuilder delta(epoch);
  op.cut(delta);
  layers.lane(0).add_undecided(delta.finish());
  MR_CHECK(layers.decide(epoch, "progress").is_ok());
}

struct Settings {
  uint64_t keys = 100'000;
  uint64_t records = 3'000'000;
  uint64_t epoch_records = 100'000;
};

void measure(const std::string& name, const std::string& yaml, const Settings& settings) {
  const auto plan = make_plan(yaml);
  const auto store = open_memory_store();
  StateLayers layers(*store, 1, {});
  ArenaPool arenas;
  CountingCollector out;
  const auto op = plan->make();
  OperatorContext context;
  context.arenas = &arenas;
  context.state = &layers.lane(0);
  context.cache_bytes = 64 << 20;
  context.shards = 16;
  MR_CHECK(op->open(context).is_ok());
  KeyEncoder encoder(*plan->key(), kSchema, 16);
  double consuming = 0;
  double cutting = 0;
  uint64_t epoch = 0;
  uint64_t random = 1;
  for (uint64_t n = 0; n < settings.records; n += kRows) {
    const Batch batch = make_batch(n, settings.keys, &random, arenas);
    RowErrors errors;
    const Batch keyed = encoder.encode(batch, arenas.take(), errors);
    double start = cpu_seconds();
    consume(*op, keyed, out);
    consuming += cpu_seconds() - start;
    if (n / settings.epoch_records == (n + kRows) / settings.epoch_records && !op->is_full()) continue;
    start = cpu_seconds();
    end_epoch(*op, layers, ++epoch, out);
    cutting += cpu_seconds() - start;
  }
  const double scale = 1e9 / static_cast<double>(settings.records);
  fmt::print("{:<28} consume {:6.1f}  flush+cut {:6.1f}  sum {:6.1f} ns CPU/record  ({} rows out, {} epochs)\n", name,
             consuming * scale, cutting * scale, (consuming + cutting) * scale, out.rows, epoch);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  Settings settings;
  if (argc > 1) settings.keys = std::strtoull(argv[1], nullptr, 10);
  if (argc > 2) settings.records = std::strtoull(argv[2], nullptr, 10);
  if (argc > 3) settings.epoch_records = std::strtoull(argv[3], nullptr, 10);
  const std::string fields = "key_by: customer\nfields: {c: key(customer), revenue: sum(amount), orders: count()}\n";
  measure("plain, update", fields, settings);
  measure("tumbling 5m, close", fields + "window: {tumbling: {size: 5m}}\n", settings);
  measure("tumbling 5m, lateness 1m", fields + "window: {tumbling: {size: 5m}}\nallowed_lateness: 1m\n", settings);
  measure("hopping 5m every 5s", fields + "window: {hopping: {size: 5m, every: 5s}}\n", settings);
}
