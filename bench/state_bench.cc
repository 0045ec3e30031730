// Micro benchmarks of state/: `state_bench [delta|cache|store ...]`, all without arguments. Prints one line per figure;
// the table in docs/benchmarks.md, "State store", is made from it. Run it on a quiet machine, release build.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <set>
#include <string>

#include "state/lane_cache.h"

namespace millrace {
namespace {

constexpr uint16_t kOperator = 7;
constexpr size_t kShards = 16;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Of the process, or of this thread alone (without compaction).
double cpu_seconds(int who = RUSAGE_SELF) {
  rusage usage;
  getrusage(who, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

long status_mib(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name)) return std::strtol(line.c_str() + name.size() + 1, nullptr, 10) / 1024;
  }
  return 0;
}

std::string customer(uint64_t i) { return fmt::format("cust-{:07}", i); }
uint16_t shard_of_key(uint64_t i) { return static_cast<uint16_t>((i * 0x9e3779b97f4a7c15u >> 60) % kShards); }

void report(const std::string& what, double n, double wall, double cpu) {
  fmt::print("{:<72} {:9.1f} k/s {:8.3f} us CPU  peak {} MiB\n", what, n / wall / 1e3, cpu / n * 1e6,
             status_mib("VmHWM:"));
  std::fflush(stdout);
}

struct Sum {
  int64_t sum;
  int64_t count;
};

class SumCodec : public AccumulatorCodec {
 public:
  size_t size() const override { return sizeof(Sum); }
  void create(void* state) const override { *static_cast<Sum*>(state) = {0, 0}; }
  void destroy(void*) const override {}
  bool trivially_destructible() const override { return true; }
  void encode(const void* state, std::string& out) const override {
    out.push_back(1);
    out.append(static_cast<const char*>(state), sizeof(Sum));
  }
  Status decode(std::string_view bytes, void* state) const override {
    if (bytes.size() != 1 + sizeof(Sum)) return Status::terminal(Code::kStateCorrupt, "sum");
    std::memcpy(state, bytes.data() + 1, sizeof(Sum));
    return Status::ok();
  }
};

void bench_delta() {
  std::mt19937_64 random(1);
  for (size_t n : {100'000u, 1'000'000u}) {
    DeltaBuilder builder(1);
    for (size_t i = 0; i < n; i++) {
      const uint64_t id = random() % 5'000'000;
      builder.put(shard_of_key(id), kOperator, customer(id), "01234567890123456789");
    }
    const double from = seconds();
    const double cpu = cpu_seconds();
    const DeltaPtr delta = builder.finish();
    report(fmt::format("delta: sort and index {} entries ({:.1f} ms)", n, 1e3 * (seconds() - from)),
           static_cast<double>(n), seconds() - from, cpu_seconds() - cpu);
  }
}

void bench_cache() {
  const auto store = open_memory_store();
  StateLayers layers(*store, 1, {.memtable_bytes = 32u << 20, .max_age_ms = 2000, .background = false, .now_ms = {}});
  SumCodec codec;
  for (size_t keys : {100'000u, 1'000'000u}) {
    LaneCache cache(layers.lane(0), kOperator, codec, size_t{256} << 20);
    std::vector<std::string> names;
    for (size_t i = 0; i < keys; i++) names.push_back(customer(i));
    std::mt19937_64 random(1);
    constexpr size_t kRows = 1024;
    constexpr size_t kBatches = 512;
    // Keys as they stand in a batch: views into memory that is read in order.
    std::string text;
    std::vector<std::string_view> views;
    std::vector<uint16_t> shards;
    for (size_t i = 0; i < kRows * kBatches; i++) {
      const uint64_t id = random() % keys;
      text += names[id];
      shards.push_back(shard_of_key(id));
    }
    for (size_t i = 0; i < kRows * kBatches; i++) views.emplace_back(text.data() + i * 12, 12);
    void* states[kRows];
    const auto run = [&] {
      for (size_t b = 0; b < kBatches; b++) {
        if (!cache.lookup(&views[b * kRows], &shards[b * kRows], kRows, states).is_ok()) std::abort();
        for (void* state : states) static_cast<Sum*>(state)->sum++;
      }
    };
    run();
    for (const char* kind : {"dirty", "first clean"}) {
      if (kind[0] == 'f') {
        DeltaBuilder delta(1);
        cache.cut(delta);
      }
      const double from = seconds();
      const double cpu = cpu_seconds();
      run();
      const double n = kRows * kBatches;
      report(fmt::format("cache: lookup, {} keys, {} ({:.1f} ns)", keys, kind, 1e9 * (cpu_seconds() - cpu) / n), n,
             seconds() - from, cpu_seconds() - cpu);
    }
    const double dirty = static_cast<double>(cache.dirty_count());
    const double from = seconds();
    const double cpu = cpu_seconds();
    DeltaBuilder delta(2);
    cache.cut(delta);
    (void)delta.finish();
    report(fmt::format("cache: cut and sort, {} dirty entries", cache.entries()), dirty, seconds() - from,
           cpu_seconds() - cpu);
  }
}

DeltaPtr random_run(std::mt19937_64& random, size_t entries, size_t keys) {
  DeltaBuilder builder(1);
  for (size_t i = 0; i < entries; i++) {
    const uint64_t id = random() % keys;
    builder.put(shard_of_key(id), kOperator, customer(id), "01234567890123456789");
  }
  return builder.finish();
}

void read_uniform(StateStore& store, std::mt19937_64& random, size_t keys, size_t absent_of_ten, double for_seconds) {
  constexpr size_t kBatch = 500;
  std::vector<std::string> names(kBatch);
  std::vector<std::string_view> views(kBatch);
  double n = 0;
  const double from = seconds();
  const double cpu = cpu_seconds(RUSAGE_THREAD);
  while (seconds() - from < for_seconds) {
    for (std::string& name : names) {
      const bool absent = random() % 10 < absent_of_ten;
      const uint64_t id = random() % keys;
      name = full_key(shard_of_key(id), kOperator, customer(id) + (absent ? "x" : ""));
    }
    std::sort(names.begin(), names.end());
    for (size_t i = 0; i < kBatch; i++) views[i] = names[i];
    if (!store.multi_get(views).is_ok()) std::abort();
    n += kBatch;
  }
  report(fmt::format("store: MultiGet of 500, {} keys, {}0 % absent, {} MiB on disk", keys, absent_of_ten,
                     store.numbers().disk_bytes >> 20),
         n, seconds() - from, cpu_seconds(RUSAGE_THREAD) - cpu);
}

void load(StateStore& store, std::mt19937_64& random, size_t keys) {
  std::vector<uint64_t> order(keys);
  for (size_t i = 0; i < keys; i++) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  const double from = seconds();
  const double cpu = cpu_seconds();
  auto bulk = store.bulk_load(1);
  if (!bulk.is_ok()) std::abort();
  for (uint64_t id : order) {
    if (!(*bulk)->put(0, full_key(shard_of_key(id), kOperator, customer(id)), "01234567890123456789").is_ok())
      std::abort();
  }
  if (!(*bulk)->finish("progress").is_ok()) std::abort();
  report(fmt::format("store: bulk load, {} keys in random order ({:.2f} s)", keys, seconds() - from),
         static_cast<double>(keys), seconds() - from, cpu_seconds() - cpu);
}

void bench_store() {
  const std::string directory = fmt::format("/tmp/millrace-state-bench-{}", ::getpid());
  std::mt19937_64 random(1);
  for (size_t keys : {100'000u, 5'000'000u}) {
    auto opened = open_rocksdb_store({.directory = directory});
    if (!opened.is_ok()) std::abort();
    StateStore& store = **opened;
    load(store, random, keys);
    for (size_t absent : {0u, 0u, 10u}) read_uniform(store, random, keys, absent, 2);
    for (const auto& [entries, rounds] : {std::pair<size_t, size_t>{600'000, 8}, {10'000, 100}}) {
      double n = 0;
      const double from = seconds();
      const double cpu = cpu_seconds();
      double slowest = 0;
      for (size_t i = 0; i < rounds; i++) {
        const DeltaPtr run = random_run(random, entries, keys);
        const double begin = seconds();
        if (!store.ingest(*run, "progress").is_ok()) std::abort();
        slowest = std::max(slowest, seconds() - begin);
        n += static_cast<double>(run->size());
      }
      report(fmt::format("store: build, sort, ingest {} x {} of {} keys (slowest {:.0f} ms)", rounds, entries, keys,
                         1e3 * slowest),
             n, seconds() - from, cpu_seconds() - cpu);
      read_uniform(store, random, keys, 0, 2);
      read_uniform(store, random, keys, 0, 4);  // by then the compaction is done
      read_uniform(store, random, keys, 0, 2);
    }
    const double from = seconds();
    opened = Status::internal("closed");
    opened = open_rocksdb_store({.directory = directory});
    if (!opened.is_ok()) std::abort();
    fmt::print("store: close and open, {} keys: {:.0f} ms\n", keys, 1e3 * (seconds() - from));
  }
  (void)remove_store(directory);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  std::set<std::string> wanted(argv + 1, argv + argc);
  const auto wants = [&](const char* name) { return wanted.empty() || wanted.contains(name); };
  if (wants("delta")) millrace::bench_delta();
  if (wants("cache")) millrace::bench_cache();
  if (wants("store")) millrace::bench_store();
  return 0;
}
