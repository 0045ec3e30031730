// Cost per record of the keyed aggregate: `aggregate_bench [keys [records]]`. Batches of 1,024 rows, uniform string
// keys, memory store, an epoch every 64 batches; prints process(), flush() with cut, and key encoding apart.
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
constexpr size_t kBatchesPerEpoch = 64;

const Schema kSchema = {
    {"customer", Type(TypeKind::kString)}, {"amount", Type(TypeKind::kInt)}, {"status", Type(TypeKind::kString)}};

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

// A ring of batches larger than the caches of the processor.
std::vector<Batch> make_batches(uint64_t keys, size_t count) {
  std::vector<Batch> batches(count);
  uint64_t state = 1;
  for (Batch& batch : batches) {
    const auto arena = std::make_shared<Arena>();
    ColumnBuilder customer(kSchema[0].type, arena, kRows);
    ColumnBuilder amount(kSchema[1].type, arena, kRows);
    ColumnBuilder status(kSchema[2].type, arena, kRows);
    auto* times = arena->array<int64_t>(kRows);
    for (uint32_t i = 0; i < kRows; i++) {
      state = state * 6364136223846793005 + 1442695040888963407;
      customer.strings[i] = arena->copy(fmt::format("cust-{:07}", (state >> 33) % keys));
      amount.ints[i] = static_cast<int64_t>(state >> 50);
      status.strings[i] = (state >> 40) & 1 ? "paid" : "open";
      times[i] = 1'700'000'000'000 + i;
    }
    batch.rows = kRows;
    for (ColumnBuilder* column : {&customer, &amount, &status}) batch.columns.push_back(column->finish(kRows));
    batch.event_time_ms = times;
    batch.owners.push_back(arena);
  }
  return batches;
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

// CPU time of this thread: other load on the machine matters less.
double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

struct Times {
  double encode = 0, process = 0, flush = 0;
};

void end_epoch(Operator& op, StateLayers& layers, uint64_t epoch, Collector& out) {
  for (bool done = false; !done;) {
    const auto flushed = op.flush(epoch, 4096, out);
    MR_CHECK(flushed.is_ok());
    done = *flushed;
  }
  DeltaBuilder delta(epoch);
  op.cut(delta);
  layers.lane(0).add_undecided(delta.finish());
  MR_CHECK(layers.decide(epoch, "progress").is_ok());
}

void measure(const std::string& name, const std::string& yaml, const std::vector<Batch>& batches, size_t records) {
  const auto plan = make_plan(yaml);
  const auto store = open_memory_store();
  const auto since = [](double start) { return cpu_seconds() - start; };
  StateLayers::Options options;
  options.now_ms = [] { return int64_t{0}; };
  StateLayers layers(*store, 1, options);
  ArenaPool arenas;
  CountingCollector out;
  const auto op = plan->make();
  OperatorContext context;
  context.arenas = &arenas;
  context.state = &layers.lane(0);
  context.cache_bytes = 256 << 20;
  MR_CHECK(op->open(context).is_ok());
  KeyEncoder encoder(*plan->key(), kSchema, 16);
  Times times;
  uint64_t epoch = 0;
  size_t measured = 0;
  for (size_t i = 0; measured < records; i++) {
    const bool warm = i < batches.size();  // the first pass creates the keys
    const Batch& batch = batches[i % batches.size()];
    RowErrors errors;
    auto start = cpu_seconds();
    const Batch keyed = encoder.encode(batch, arenas.take(), errors);
    times.encode += warm ? 0 : since(start);
    start = cpu_seconds();
    MR_CHECK(op->process(keyed, 0, out).is_ok());
    times.process += warm ? 0 : since(start);
    if (i % kBatchesPerEpoch == kBatchesPerEpoch - 1) {
      start = cpu_seconds();
      end_epoch(*op, layers, ++epoch, out);
      times.flush += warm ? 0 : since(start);
    }
    measured += warm ? 0 : kRows;
  }
  const double scale = 1e9 / static_cast<double>(measured);
  fmt::print("{:<24} encode {:6.1f}  process {:6.1f}  flush+cut {:6.1f}  ns CPU/record  ({} rows out)\n", name,
             times.encode * scale, times.process * scale, times.flush * scale, out.rows);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  const uint64_t keys = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000;
  const size_t records = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 3'000'000;
  const std::vector<Batch> batches = make_batches(keys, 512);
  const std::string head = "key_by: customer\nfields:\n  customer: key(customer)\n";
  measure("count+sum update", head + "  n: count()\n  s: sum(amount)\n", batches, records);
  measure("count+sum each", head + "  n: count()\n  s: sum(amount)\nemit: each\n", batches, records);
  measure("sum if paid", head + "  s: sum(amount, status == \"paid\")\n", batches, records);
  measure("average as expression", head + "  a: double(sum(amount)) / double(count())\n", batches, records);
  measure("min max last avg", head + "  a: min(amount)\n  b: max(amount)\n  c: last(status)\n  d: avg(amount)\n",
          batches, records);
  return 0;
}
