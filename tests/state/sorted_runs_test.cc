#include "state/sorted_runs.h"

#include <thread>

#include "tests/state/model.h"

using namespace millrace::test;

namespace millrace {
namespace {

constexpr size_t kBufferBytes = 4096;

// What one feeder is given, and in `model` what must come of it. Every feeder has keys of its own.
void feed(SortedRuns::Feeder& feeder, size_t number, uint64_t seed, size_t entries, Model* model) {
  std::mt19937_64 random(seed * 10 + number);
  for (size_t i = 0; i < entries; i++) {
    const uint64_t id = random() % 300;
    std::string key = "shared prefix, longer than what is sorted by " + std::string(id % 7, 'k') + std::to_string(id);
    key += static_cast<char>('0' + number);
    if (random() % 5 == 0) {
      REQUIRE(feeder.remove(key).is_ok());
      model->erase(key);
      continue;
    }
    const size_t size = random() % 100 == 0 ? 3 * kBufferBytes : random() % 40;
    const std::string value = std::to_string(i) + std::string(size, 'v');
    REQUIRE(feeder.put(key, i % 9 == 0 ? std::string_view() : value).is_ok());
    (*model)[key] = i % 9 == 0 ? "" : value;
  }
}

Model read_all(const SortedRuns& runs, std::string_view begin, std::string_view end) {
  Model found;
  const auto reader = runs.read(begin, end);
  std::string_view key;
  std::string_view value;
  while (reader->next(&key, &value)) {
    REQUIRE((found.empty() || found.rbegin()->first < key));
    found.emplace(key, value);
  }
  REQUIRE(reader->status().is_ok());
  return found;
}

TEST_CASE("feeders on threads of their own, many runs: what a map of the last entries holds") {
  for (uint64_t seed = 1; seed <= 6; seed++) {
    TemporaryDirectory directory;
    const size_t feeders = 1 + seed % 3;
    const size_t entries = seed == 1 ? 10 : 3000;  // 10: everything stays in memory
    Model model;
    {
      SortedRuns runs(directory.path(), kBufferBytes, feeders);
      std::vector<Model> models(feeders);
      std::vector<std::thread> threads;
      for (size_t i = 0; i < feeders; i++) {
        threads.emplace_back([&, i] { feed(runs.feeder(i), i, seed, entries, &models[i]); });
      }
      for (std::thread& thread : threads) thread.join();
      for (Model& one : models) model.merge(one);
      REQUIRE(runs.seal().is_ok());
      CHECK(std::filesystem::is_empty(directory.path()) == (entries == 10));
      CHECK(read_all(runs, "", "") == model);
      Model in_parts;
      std::string begin;
      std::vector<std::string> bounds = runs.split_keys(5);
      bounds.emplace_back();
      for (const std::string& end : bounds) {
        in_parts.merge(read_all(runs, begin, end));
        begin = end;
      }
      CHECK(in_parts == model);
    }
    CHECK(std::filesystem::is_empty(directory.path()));
  }
}

TEST_CASE("nothing put, nothing read") {
  TemporaryDirectory directory;
  SortedRuns runs(directory.path(), kBufferBytes, 2);
  REQUIRE(runs.seal().is_ok());
  CHECK(read_all(runs, "", "").empty());
  CHECK(runs.split_keys(3).empty());
}

TEST_CASE("a folder that is gone fails the load") {
  TemporaryDirectory directory;
  SortedRuns runs(directory.path() + "/absent", kBufferBytes, 1);
  Status status;
  for (int i = 0; i < 1000 && status.is_ok(); i++) {
    status = runs.feeder(0).put(std::to_string(i), std::string(100, 'v'));
  }
  if (status.is_ok()) status = runs.seal();
  CHECK_FALSE(status.is_ok());
}

}  // namespace
}  // namespace millrace
