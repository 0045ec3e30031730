#include "sources/generator_source.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "expr/expression.h"

namespace millrace {
namespace {

constexpr int64_t kMaxRate = 1'000'000'000;
constexpr int64_t kBurstUs = 20'000;
constexpr int64_t kRecord = 1'000'000;  // credit that one record costs, in record·microseconds per second

// Columns of an expression over the index.
const Schema& index_schema() {
  static const Schema schema{{"index", Type(TypeKind::kInt)}};
  return schema;
}

struct GeneratorSettings {
  std::optional<int64_t> rate;  // records per second
  std::optional<int64_t> count;
  int64_t seed = 1;
  std::vector<std::string> names;          // of the schema
  std::vector<ExpressionPtr> expressions;  // one per name
};

// Lets `rate` records per second through, at most 20 ms worth (or one) at once: what a slow reader has missed is not
// made up for in a burst.
class Pacer {
 public:
  Pacer(int64_t rate, const Clock& clock)
      : rate_(rate),
        burst_(std::max<int64_t>(1, rate * kBurstUs / kRecord)),
        clock_(clock),
        last_us_(clock.monotonic_us()) {}

  // Records that may pass now, at most `wanted`; they count as passed.
  uint32_t take(uint32_t wanted) {
    const int64_t now_us = clock_.monotonic_us();
    // A second at most, so that the product cannot overflow.
    const int64_t elapsed_us = std::min<int64_t>(now_us - last_us_, 1'000'000 + kRecord / rate_);
    last_us_ = now_us;
    credit_ += elapsed_us * rate_;
    // The fraction stays, so that slow rates are exact.
    if (credit_ / kRecord > burst_) credit_ = burst_ * kRecord + credit_ % kRecord;
    const uint32_t taken = static_cast<uint32_t>(std::min<int64_t>(wanted, credit_ / kRecord));
    credit_ -= taken * kRecord;
    return taken;
  }
  // Until the next record may pass; at least 1, so that high rates come in batches.
  int64_t wait_ms() const { return std::max<int64_t>(1, (kRecord - credit_ + rate_ * 1000 - 1) / (rate_ * 1000)); }

 private:
  const int64_t rate_;
  const int64_t burst_;  // records
  const Clock& clock_;
  int64_t last_us_;
  int64_t credit_ = 0;
};

class GeneratorSource : public Source {
 public:
  GeneratorSource(std::shared_ptr<const GeneratorSettings> settings, const SourceContext& context)
      : settings_(std::move(settings)),
        clock_(*context.clock),
        partitions_(std::make_shared<const std::vector<PartitionName>>(std::vector<PartitionName>{{"generator", 0}})) {
    for (const ExpressionPtr& expression : settings_->expressions) evaluators_.push_back(make_evaluator(expression));
  }

  Status open(const std::vector<SourcePosition>& resume, const SourceNeeds& needs) override {
    (void)needs;
    next_ = resume.empty() ? 0 : resume.front().position;
    if (settings_->rate) pacer_.emplace(*settings_->rate, clock_);
    return Status::ok();
  }
  Status poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) override;
  std::vector<SourcePosition> positions() override { return {{partitions_->front(), "", next_}}; }

 private:
  uint32_t rows_now(const SourceLimits& limits, int timeout_ms);
  bool at_end() const { return settings_->count && next_ >= *settings_->count; }

  const std::shared_ptr<const GeneratorSettings> settings_;
  const Clock& clock_;
  const std::shared_ptr<const std::vector<PartitionName>> partitions_;
  std::vector<std::unique_ptr<Evaluator>> evaluators_;
  std::optional<Pacer> pacer_;
  RowErrors errors_;
  int64_t next_ = 0;
};

uint32_t GeneratorSource::rows_now(const SourceLimits& limits, int timeout_ms) {
  int64_t wanted = limits.max_rows;
  if (settings_->count) wanted = std::min(wanted, std::max<int64_t>(0, *settings_->count - next_));
  const auto rows = static_cast<uint32_t>(wanted);
  if (rows == 0 || !pacer_) return rows;
  uint32_t taken = pacer_->take(rows);
  if (taken == 0 && timeout_ms > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min<int64_t>(timeout_ms, pacer_->wait_ms())));
    taken = pacer_->take(rows);
  }
  return taken;
}

Status GeneratorSource::poll(const SourceLimits& limits, int timeout_ms, SourcePoll* poll) {
  const uint32_t count = rows_now(limits, timeout_ms);
  poll->count = 0;
  poll->columns.clear();
  poll->end_of_input = at_end();
  if (count == 0) return Status::ok();
  Arena& arena = *poll->arena;
  auto* index = arena.array<int64_t>(count);
  std::iota(index, index + count, next_);
  auto* timestamps = arena.array<int64_t>(count);
  std::fill(timestamps, timestamps + count, kNoTime);

  auto rows = std::make_shared<SourceRows>();
  rows->partitions = partitions_;
  rows->partition = arena.zeroed<uint32_t>(count);
  rows->offset = index;
  rows->timestamp_ms = timestamps;
  rows->owners.push_back(poll->arena);

  auto column = std::make_shared<Column>();
  column->type = Type(TypeKind::kInt);
  column->rows = count;
  column->ints = index;
  column->owners.push_back(poll->arena);
  Batch batch;
  batch.rows = count;
  batch.columns.push_back(std::move(column));
  batch.event_time_ms = timestamps;

  for (size_t i = 0; i < evaluators_.size(); i++) {
    errors_.clear();
    poll->columns.push_back(evaluators_[i]->evaluate(batch, poll->arena, errors_));
    if (!errors_.empty()) {
      const RowErrors::Entry& error = errors_.entries.front();
      return Status::user(Code::kEvaluation, fmt::format("generator field {} at index {}: {}", settings_->names[i],
                                                         index[error.row], error.message));
    }
  }
  next_ += count;
  poll->count = count;
  poll->bytes = count * evaluators_.size() * sizeof(int64_t);
  poll->rows = std::move(rows);
  poll->end_of_input = at_end();
  return Status::ok();
}

class GeneratorSourcePlan : public SourcePlan {
 public:
  GeneratorSourcePlan(ConfigNode body, ConfigNode fields, GeneratorSettings settings)
      : body_(std::move(body)), fields_(std::move(fields)), settings_(std::move(settings)) {}

  bool plan(const SourcePlanContext& context, Diagnostics& diagnostics) override;
  bool makes_columns() const override { return true; }
  bool bounded() const override { return settings_.count.has_value(); }
  std::string describe() const override {
    std::string text = "generator";
    if (settings_.count) text += fmt::format(" {} records", *settings_.count);
    if (settings_.rate) text += fmt::format(" at {}/s", *settings_.rate);
    return text;
  }
  std::unique_ptr<Source> make(const SourceContext& context) const override {
    MR_CHECK(planned_ != nullptr);
    return std::make_unique<GeneratorSource>(planned_, context);
  }

 private:
  ExpressionPtr compile(const Field& field, const ConfigNode& node, Diagnostics& diagnostics) const;

  const ConfigNode body_;
  const ConfigNode fields_;
  const GeneratorSettings settings_;
  std::shared_ptr<const GeneratorSettings> planned_;
};

ExpressionPtr GeneratorSourcePlan::compile(const Field& field, const ConfigNode& node, Diagnostics& diagnostics) const {
  Scope scope;
  scope.schema = &index_schema();
  scope.random_seed = static_cast<uint64_t>(settings_.seed);
  scope.random_index_column = 0;
  ExpressionPtr expression = compile_node(node, scope, diagnostics);
  if (expression == nullptr || field.type.is_unknown() || expression->type() == field.type) return expression;
  std::string hint;
  const TypeKind have = expression->type().kind();
  if (field.type.kind() == TypeKind::kTimestamp && have == TypeKind::kInt) {
    hint = "timestamp(SECONDS), or timestamp(SECONDS) + duration(string(MILLISECONDS) + \"ms\")";
  } else if (field.type.kind() == TypeKind::kDouble && have == TypeKind::kInt) {
    hint = "use double(…)";
  } else if (field.type.kind() == TypeKind::kString) {
    hint = "use string(…)";
  }
  diagnostics.error(LintCode::kExpressionType, node.location(),
                    fmt::format("field {} is declared as {}, but this expression is {}", field.name,
                                field.type.to_string(), expression->type().to_string()),
                    hint);
  return nullptr;
}

bool GeneratorSourcePlan::plan(const SourcePlanContext& context, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  auto planned = std::make_shared<GeneratorSettings>(settings_);
  std::vector<std::string> declared;
  for (const Field& field : context.schema) declared.push_back(field.name);
  for (size_t i = 0; i < fields_.size(); i++) {
    if (find_column(context.schema, fields_.key_at(i)) < 0) {
      diagnostics.error(LintCode::kUnknownField, fields_.at(i).key_location(),
                        fmt::format("field {} is not declared in the schema", fields_.key_at(i)),
                        did_you_mean(fields_.key_at(i), declared));
    }
  }
  for (const Field& field : context.schema) {
    const std::optional<ConfigNode> node = fields_.find(field.name);
    if (!node) {
      diagnostics.error(LintCode::kMissingKey, fields_.key_location(),
                        fmt::format("field {} of the schema has no expression", field.name));
      continue;
    }
    planned->names.push_back(field.name);
    planned->expressions.push_back(compile(field, *node, diagnostics));
  }
  if (diagnostics.error_count() != errors) return false;
  planned_ = std::move(planned);
  return true;
}

std::unique_ptr<SourcePlan> read_generator_source(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors = diagnostics.error_count();
  GeneratorSettings settings;
  MapReader map(body, diagnostics);
  if (map.has("rate")) settings.rate = map.int_or("rate", 1, 1, kMaxRate);
  if (map.has("count")) settings.count = map.int_or("count", 0, 0, INT64_MAX);
  settings.seed = map.int_or("seed", 1, 0, INT64_MAX);
  const std::optional<ConfigNode> fields = map.required_child("fields");
  if (fields && !fields->is_mapping()) {
    diagnostics.error(LintCode::kWrongType, fields->location(), "fields must map column names to expressions");
  }
  map.finish();
  if (diagnostics.error_count() != errors) return nullptr;
  return std::make_unique<GeneratorSourcePlan>(body, *fields, std::move(settings));
}

}  // namespace

void register_generator_source(SourceRegistry& registry) { registry.add("generator", read_generator_source); }

}  // namespace millrace
