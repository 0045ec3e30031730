#include "sinks/blackhole_sink.h"

#include <utility>

namespace millrace {
namespace {

class BlackholeSink : public Sink {
 public:
  explicit BlackholeSink(std::string name) : name_(std::move(name)) {}

  Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) override {
    (void)context, (void)first_start, (void)progress;
    return Status::ok();
  }
  Result<Written> write(const Batch& batch, uint32_t* cursor) override {
    *cursor = batch.live();
    return Written::kOk;
  }
  Status flush(uint64_t epoch) override {
    (void)epoch;
    return Status::ok();
  }
  Result<SinkProgress> prepare(uint64_t epoch) override {
    (void)epoch;
    return SinkProgress{name_, ""};
  }
  Status commit(uint64_t epoch) override {
    (void)epoch;
    return Status::ok();
  }

 private:
  const std::string name_;
};

class BlackholeSinkPlan : public SinkPlan {
 public:
  bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) override {
    (void)diagnostics;  // format, value and key_format of the sink it stands in for may stay
    name_ = context.sink;
    columns_ = input.schema.size();
    return true;
  }
  // All of them, so that a pipeline does the same work as with another sink.
  std::vector<bool> needed_inputs() const override { return std::vector<bool>(columns_, true); }
  SinkGuarantee guarantee() const override { return SinkGuarantee::kNothing; }
  std::string describe() const override { return "blackhole"; }
  std::unique_ptr<Sink> make() const override { return std::make_unique<BlackholeSink>(name_); }

 private:
  std::string name_;
  size_t columns_ = 0;
};

}  // namespace

void register_blackhole_sink(SinkRegistry& registry) {
  registry.add("blackhole", [](const ConfigNode& body, Diagnostics& diagnostics) -> std::unique_ptr<SinkPlan> {
    const size_t errors = diagnostics.error_count();
    MapReader(body, diagnostics).finish();
    if (diagnostics.error_count() != errors) return nullptr;
    return std::make_unique<BlackholeSinkPlan>();
  });
}

}  // namespace millrace
