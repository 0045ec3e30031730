#include "pipeline/fused.h"

#include <algorithm>
#include <set>

#include "base/check.h"
#include "formats/format.h"

namespace millrace {

NodeCounts& NodeCounts::operator+=(const NodeCounts& other) {
  in += other.in;
  out += other.out;
  filtered += other.filtered;
  absorbed += other.absorbed;
  dropped_decode += other.dropped_decode;
  dropped_evaluation += other.dropped_evaluation;
  dropped_too_large += other.dropped_too_large;
  dead_letters += other.dead_letters;
  dead_letters_cut += other.dead_letters_cut;
  bytes += other.bytes;
  late += other.late;
  dropped_late += other.dropped_late;
  dropped_future += other.dropped_future;
  future += other.future;
  fired += other.fired;
  cache_hits += other.cache_hits;
  cache_misses += other.cache_misses;
  store_reads += other.store_reads;
  return *this;
}

Reach reach_of(const Plan& plan, const std::vector<Target>& targets) {
  std::set<size_t> stateless, keyed, sinks;
  std::vector<Target> stack = targets;
  while (!stack.empty()) {
    const Target target = stack.back();
    stack.pop_back();
    if (target.kind == Target::Kind::kSink) {
      sinks.insert(target.index);
    } else if (plan.operators[target.index].keyed()) {
      keyed.insert(target.index);
    } else if (stateless.insert(target.index).second) {
      const std::vector<Target> next = plan.operators[target.index].all_targets();
      stack.insert(stack.end(), next.begin(), next.end());
    }
  }
  return {{stateless.begin(), stateless.end()}, {keyed.begin(), keyed.end()}, {sinks.begin(), sinks.end()}};
}

std::vector<size_t> dead_letter_sinks(const Plan& plan) {
  std::set<size_t> sinks;
  for (const PlannedSource& source : plan.sources) {
    if (source.dead_letter_sink != kNoIndex) sinks.insert(source.dead_letter_sink);
    if (source.future_sink != kNoIndex) sinks.insert(source.future_sink);
  }
  return {sinks.begin(), sinks.end()};
}

// A stateless operator and its place in the chain.
class FusedOperators::Node : public Collector {
 public:
  Node(FusedOperators& fused, size_t index)
      : fused_(fused), planned_(fused.plan_.operators[index]), op_(planned_.spec->plan->make()) {}
  Status emit(Batch batch) override {
    return batch.live() == 0 ? Status::ok() : fused_.deliver(planned_.targets, batch);
  }
  Status emit_side(const std::string&, Batch batch) override { return fused_.deliver(planned_.late_targets, batch); }
  Status fail_rows(const Batch& batch, const RowErrors& errors) override {
    return fused_.fail_rows(planned_.spec->id, failures_, batch, errors, planned_.input);
  }
  Operator& op() { return *op_; }
  void count(Counts& counts) const {
    NodeCounts node = failures_;
    const OperatorCounters& own = op_->counters();
    node.in = own.in;
    node.out = own.out;
    node.filtered = own.filtered;
    counts["operator/" + planned_.spec->id] += node;
  }

 private:
  FusedOperators& fused_;
  const PlannedOperator& planned_;
  std::unique_ptr<Operator> op_;
  NodeCounts failures_;
};

// The way into a keyed operator: key bytes and shards of each row, then a selection per lane.
struct FusedOperators::Exchange {
  Exchange(const KeySpec& key, const Schema& columns, uint32_t shards, const std::string& id)
      : encoder(key, columns, shards), input(columns), operator_id(id) {}
  KeyEncoder encoder;
  const Schema& input;
  std::string operator_id;
  std::vector<size_t> channels;
  RowErrors errors;
  NodeCounts failures;
};

FusedOperators::FusedOperators(const Plan& plan, const std::vector<Target>& targets, TaskOutputs& outputs,
                               TaskRoutes routes, ArenaPool& arenas)
    : plan_(plan), outputs_(outputs), routes_(std::move(routes)), arenas_(arenas) {
  const Reach reach = reach_of(plan, targets);
  for (size_t index : reach.stateless) nodes_[index] = std::make_unique<Node>(*this, index);
  for (size_t index : reach.keyed) {
    const PlannedOperator& op = plan.operators[index];
    auto exchange = std::make_unique<Exchange>(*op.spec->plan->key(), op.input, plan.spec->shards, op.spec->id);
    exchange->channels = routes_.lanes.at(index);
    exchanges_[index] = std::move(exchange);
  }
}

FusedOperators::~FusedOperators() = default;

Status FusedOperators::open() {
  OperatorContext context;
  context.arenas = &arenas_;
  for (auto& [index, node] : nodes_) MR_RETURN_IF_ERROR(node->op().open(context));
  return Status::ok();
}

Status FusedOperators::deliver(const std::vector<Target>& targets, const Batch& batch) {
  for (const Target& target : targets) MR_RETURN_IF_ERROR(deliver_one(target, batch));
  return Status::ok();
}

Status FusedOperators::deliver_one(const Target& target, const Batch& batch) {
  if (target.kind == Target::Kind::kSink) {
    outputs_.send(routes_.sinks.at(target.index), batch, 0);
    return Status::ok();
  }
  const std::vector<int>& remap = plan_.operators[target.index].remap[target.input];
  if (!remap.empty()) return deliver_reordered(target, batch, remap);
  return deliver_operator(target, batch);
}

// An input of a union whose columns stand elsewhere than in the union's.
Status FusedOperators::deliver_reordered(const Target& target, const Batch& batch, const std::vector<int>& remap) {
  Batch reordered = batch;
  reordered.columns.clear();
  for (int column : remap) {
    const auto index = static_cast<size_t>(column);
    reordered.columns.push_back(index < batch.columns.size() ? batch.columns[index] : nullptr);
  }
  return deliver_operator(target, reordered);
}

Status FusedOperators::deliver_operator(const Target& target, const Batch& batch) {
  if (exchanges_.count(target.index)) return exchange(target.index, target.input, batch);
  Node& node = *nodes_.at(target.index);
  return node.op().process(batch, target.input, node);
}

Status FusedOperators::exchange(size_t index, uint32_t input, const Batch& batch) {
  Exchange& exchange = *exchanges_.at(index);
  exchange.errors.clear();
  Batch keyed = exchange.encoder.encode(batch, arenas_.take(), exchange.errors);
  if (!exchange.errors.empty()) {
    MR_RETURN_IF_ERROR(fail_rows(exchange.operator_id, exchange.failures, batch, exchange.errors,
                                 exchange.input));
  }
  if (keyed.live() == 0) return Status::ok();
  const size_t lanes = exchange.channels.size();
  if (lanes == 1) {
    outputs_.send(exchange.channels[0], std::move(keyed), input);
    return Status::ok();
  }
  std::vector<std::shared_ptr<std::vector<uint32_t>>> selections(lanes);
  for (auto& selection : selections) {
    selection = std::make_shared<std::vector<uint32_t>>();
    selection->reserve(keyed.live() * 3 / (2 * lanes) + 16);
  }
  for_each_live(keyed, [&](uint32_t row) { selections[keyed.shards[row] % lanes]->push_back(row); });
  for (size_t lane = 0; lane < lanes; lane++) {
    if (selections[lane]->empty()) continue;
    Batch part = keyed;
    // Each part pins the whole batch; it is charged by its share so that the sum stays true.
    part.bytes = keyed.bytes * selections[lane]->size() / keyed.live();
    part.selection = std::move(selections[lane]);
    outputs_.send(exchange.channels[lane], std::move(part), input);
  }
  return Status::ok();
}

std::string row_origin(const PlannedSource* source, const Batch& batch, uint32_t row) {
  if (source == nullptr || !batch.source_rows || !batch.source_rows->partitions) return "";
  const SourceRows& rows = *batch.source_rows;
  const PartitionName& name = (*rows.partitions)[rows.partition[row]];
  if (source->spec->kind == "generator") return "index " + std::to_string(rows.offset[row]);
  if (source->spec->kind == "file") return "file " + name.topic + ", offset " + std::to_string(rows.offset[row]);
  return "topic " + name.topic + ", partition " + std::to_string(name.partition) + ", offset " +
         std::to_string(rows.offset[row]);
}

const PlannedSource* source_to_decide(const Plan& plan, const Batch& batch) {
  if (batch.source_rows != nullptr) return &plan.sources[batch.source_rows->source];
  const ErrorPolicy& first = plan.sources.front().spec->on_error;
  const bool agreed = std::all_of(plan.sources.begin(), plan.sources.end(), [&](const PlannedSource& source) {
    return source.spec->on_error.kind == first.kind && source.spec->on_error.sink == first.sink;
  });
  return agreed ? &plan.sources.front() : nullptr;
}

Status FusedOperators::fail_rows(const std::string& operator_name, NodeCounts& counts, const Batch& batch,
                                 const RowErrors& errors, const Schema& schema) {
  const PlannedSource* source = source_to_decide(plan_, batch);
  switch (source == nullptr ? ErrorPolicy::Kind::kFail : source->spec->on_error.kind) {
    case ErrorPolicy::Kind::kFail: {
      const RowErrors::Entry& first = errors.entries.front();
      const std::string origin = row_origin(source, batch, first.row);
      return Status::user(Code::kEvaluation, "operator " + operator_name + ": " + first.message +
                                                 (origin.empty() ? "" : " (" + origin + "; on_error: fail)"));
    }
    case ErrorPolicy::Kind::kDrop: counts.dropped_evaluation += errors.entries.size(); break;
    case ErrorPolicy::Kind::kDeadLetter:
      counts.dead_letters += errors.entries.size();
      send_dead_letters(source->dead_letter_sink, operator_name, batch, errors, schema);
      break;
  }
  return Status::ok();
}

namespace {

// Columns that nobody reads are not there.
std::string row_as_json(const Batch& batch, uint32_t row, const Schema& schema) {
  std::string text = "{";
  for (size_t i = 0; i < schema.size() && i < batch.columns.size(); i++) {
    if (batch.columns[i] == nullptr) continue;
    if (text.size() > 1) text += ',';
    append_json_string(schema[i].name, text);
    text += ':';
    append_json_value(*batch.columns[i], row, text);
  }
  return text + "}";
}

}  // namespace

DeadLetter dead_letter_of(const Batch& batch, uint32_t row, const Schema& schema, std::string error,
                          std::string operator_name) {
  DeadLetter letter;
  letter.error = std::move(error);
  letter.operator_name = std::move(operator_name);
  if (batch.source_rows == nullptr) {
    letter.value = row_as_json(batch, row, schema);
    if (batch.event_time_ms) letter.timestamp_ms = batch.event_time_ms[row];
    return letter;
  }
  const SourceRows& rows = *batch.source_rows;
  const PartitionName& name = (*rows.partitions)[rows.partition[row]];
  if (rows.payload && rows.payload[row].data() != nullptr) letter.value = rows.payload[row];
  if (rows.key) letter.key = rows.key[row];
  letter.topic = name.topic;
  letter.partition = name.partition;
  letter.offset = rows.offset[row];
  letter.timestamp_ms = rows.timestamp_ms ? rows.timestamp_ms[row] : kNoTime;
  return letter;
}

void FusedOperators::send_dead_letters(size_t sink, const std::string& operator_name, const Batch& batch,
                                       const RowErrors& errors, const Schema& schema) {
  std::vector<DeadLetter> letters;
  for (const RowErrors::Entry& entry : errors.entries)
    letters.push_back(dead_letter_of(batch, entry.row, schema, entry.message, operator_name));
  outputs_.send(routes_.sinks.at(sink), make_dead_letters(letters), 0);
}

void FusedOperators::count(Counts& counts) const {
  for (const auto& [index, node] : nodes_) node->count(counts);
  for (const auto& [index, exchange] : exchanges_) {
    NodeCounts failures = exchange->failures;
    failures.in = failures.dropped_evaluation + failures.dead_letters;  // the others are counted by the operator itself
    counts["operator/" + exchange->operator_id] += failures;
  }
}

Batch make_dead_letters(const std::vector<DeadLetter>& letters) {
  auto arena = std::make_shared<Arena>();
  const auto rows = static_cast<uint32_t>(letters.size());
  const Schema schema = dead_letter_schema();
  Batch batch;
  batch.rows = rows;
  std::vector<ColumnBuilder> columns;
  for (const Field& field : schema) columns.emplace_back(field.type, arena, rows);
  int64_t* times = arena->array<int64_t>(rows);
  for (uint32_t i = 0; i < rows; i++) {
    const DeadLetter& letter = letters[i];
    const auto text = [&](size_t column, std::string_view value) {
      if (value.data() == nullptr)
        columns[column].set_null(i);
      else
        columns[column].strings[i] = arena->copy(value);
      batch.bytes += value.size() + 64;
    };
    text(0, letter.value ? std::string_view(*letter.value) : std::string_view());
    text(1, letter.key);
    text(2, letter.error);
    text(3, letter.operator_name);
    text(4, letter.topic);
    if (letter.topic.data() == nullptr) {
      columns[5].set_null(i);
      columns[6].set_null(i);
    } else {
      columns[5].ints[i] = letter.partition;
      columns[6].ints[i] = letter.offset;
    }
    times[i] = letter.timestamp_ms;
  }
  for (ColumnBuilder& column : columns) batch.columns.push_back(column.finish(rows));
  batch.event_time_ms = times;
  batch.owners.push_back(arena);
  return batch;
}

}  // namespace millrace
