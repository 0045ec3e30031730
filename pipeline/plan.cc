#include "pipeline/plan.h"

#include <algorithm>
#include <map>
#include <set>

namespace millrace {
namespace {

// The node a name means.
struct Origin {
  bool found = false;
  bool is_source = false;
  size_t index = 0;
  bool late = false;
};

class Planner {
 public:
  Planner(std::unique_ptr<PipelineSpec> spec, Diagnostics& diagnostics) : diagnostics_(diagnostics) {
    plan_->spec = std::move(spec);
  }

  // What can be checked is checked, whatever else is in error: all errors at once.
  std::unique_ptr<Plan> make() {
    add_nodes();
    const bool half_read = is_half_read();
    resolve_inputs();
    if (half_read || !sort()) return nullptr;
    type_sources();
    announce_retractions();
    announce_in_unions();
    type_operators();
    type_sinks();
    find_event_time();
    check_guarantees();
    if (diagnostics_.has_errors()) return nullptr;
    find_pass_through();
    push_projection();
    warn_unread();
    return std::move(plan_);
  }

 private:
  PipelineSpec& spec() { return *plan_->spec; }

  // Something is missing or was not understood: what depends on it would be reported a second time.
  bool is_half_read() const {
    for (const Diagnostic& found : diagnostics_.all()) {
      const LintCode code = found.code;
      if (found.severity == Severity::kError &&
          (code == LintCode::kExpressionUnquoted || code == LintCode::kAlias || code == LintCode::kMissingKey ||
           code == LintCode::kWrongType || code == LintCode::kDuplicateKey || code == LintCode::kConflict))
        return true;
    }
    return false;
  }

  void add_nodes() {
    for (SourceSpec& source : spec().sources) {
      PlannedSource planned;
      planned.spec = &source;
      planned.edge.schema = source.schema;
      planned.declared = source.schema.size();
      for (const Field& column : record_columns())
        if (spec().record_names.count(column.name) && source.plan && !source.plan->makes_columns())
          planned.edge.schema.push_back(column);
      for (size_t i = 0; i < spec().sinks.size(); i++) {
        const std::string& sink = spec().sinks[i].name;
        if (source.on_error.kind == ErrorPolicy::Kind::kDeadLetter && sink == source.on_error.sink)
          planned.dead_letter_sink = i;
        if (source.watermark.on_future == WatermarkSpec::OnFuture::kDeadLetter && sink == source.watermark.future_sink)
          planned.future_sink = i;
      }
      plan_->sources.push_back(std::move(planned));
    }
    for (OperatorSpec& op : spec().operators) {
      PlannedOperator planned;
      planned.spec = &op;
      plan_->operators.push_back(std::move(planned));
    }
    for (SinkSpec& sink : spec().sinks) {
      PlannedSink planned;
      planned.spec = &sink;
      plan_->sinks.push_back(std::move(planned));
    }
  }

  Origin find(const std::string& name) const {
    Origin origin;
    std::string base = name;
    if (base.size() > 5 && base.ends_with(".late")) {
      base.resize(base.size() - 5);
      origin.late = true;
    }
    for (size_t i = 0; i < plan_->sources.size(); i++)
      if (plan_->sources[i].spec->name == base && !origin.late) return {true, true, i, false};
    for (size_t i = 0; i < plan_->operators.size(); i++)
      if (plan_->operators[i].spec->id == base) return {true, false, i, origin.late};
    return origin;
  }

  void connect(const std::string& name, const Location& at, Target target) {
    if (name.empty()) return;  // reported by the reader
    const Origin origin = find(name);
    if (!origin.found) {
      std::vector<std::string> names;
      for (const auto& source : plan_->sources) names.push_back(source.spec->name);
      for (const auto& op : plan_->operators) names.push_back(op.spec->id);
      diagnostics_.error(LintCode::kUnknownInput, at, "no source or operator is called \"" + name + "\"",
                         did_you_mean(name, names));
      return;
    }
    if (origin.late) {
      PlannedOperator& op = plan_->operators[origin.index];
      if (op.spec->plan && !op.spec->plan->has_late_rows()) {
        diagnostics_.error(LintCode::kUnknownInput, at, "operator \"" + op.spec->id + "\" has no late rows",
                           "only windows in event time have");
        return;
      }
      if (op.spec->plan) op.spec->plan->keep_late_rows();
      op.late_targets.push_back(target);
      return;
    }
    (origin.is_source ? plan_->sources[origin.index].targets : plan_->operators[origin.index].targets)
        .push_back(target);
  }

  void resolve_inputs() {
    for (size_t i = 0; i < plan_->operators.size(); i++) {
      const OperatorSpec& op = *plan_->operators[i].spec;
      for (size_t k = 0; k < op.inputs.size(); k++)
        connect(op.inputs[k], op.inputs_at[k], {Target::Kind::kOperator, i, static_cast<uint32_t>(k)});
    }
    for (size_t i = 0; i < plan_->sinks.size(); i++) {
      const SinkSpec& sink = *plan_->sinks[i].spec;
      if (sink.context.dead_letters && !sink.input.empty())
        diagnostics_.error(LintCode::kConflict, sink.input_at,
                           "sink \"" + sink.name + "\" takes dead letters, so it has no input", "use a second sink");
      if (!sink.input.empty()) connect(sink.input, sink.input_at, {Target::Kind::kSink, i, 0});
    }
  }

  // Kahn's algorithm; what remains is on a cycle or behind one.
  bool sort() {
    std::vector<size_t> waiting(plan_->operators.size(), 0);
    for (const PlannedOperator& op : plan_->operators)
      for (const Target& target : op.all_targets())
        if (target.kind == Target::Kind::kOperator) waiting[target.index]++;
    std::vector<size_t> ready;
    for (size_t i = waiting.size(); i-- > 0;)
      if (waiting[i] == 0) ready.push_back(i);
    while (!ready.empty()) {
      const size_t index = ready.back();
      ready.pop_back();
      plan_->order.push_back(index);
      for (const Target& target : plan_->operators[index].all_targets())
        if (target.kind == Target::Kind::kOperator && --waiting[target.index] == 0) ready.push_back(target.index);
    }
    if (plan_->order.size() == plan_->operators.size()) return true;
    for (size_t i = 0; i < plan_->operators.size(); i++) {
      if (!reaches(i, i)) continue;
      diagnostics_.error(LintCode::kCycle, plan_->operators[i].spec->at,
                         "operator \"" + plan_->operators[i].spec->id + "\" is on a cycle", "it reads " + cycle_of(i));
      break;
    }
    return false;
  }

  // "b, which reads c, which reads a". Precondition: the operator reaches itself.
  std::string cycle_of(size_t start) const {
    std::string text;
    std::set<size_t> seen;
    for (size_t at = start;;) {
      size_t next = kNoIndex;
      for (const std::string& name : plan_->operators[at].spec->inputs) {
        const Origin origin = find(name);
        if (origin.found && !origin.is_source && (origin.index == start || reaches(start, origin.index)) &&
            seen.count(origin.index) == 0)
          next = origin.index;
        if (next == start) break;
      }
      if (next == kNoIndex) return text;  // not the shortest way round
      seen.insert(next);
      text += (text.empty() ? "" : ", which reads ") + plan_->operators[next].spec->id;
      if (next == start) return text;
      at = next;
    }
  }

  bool reaches(size_t from, size_t to) const {
    std::vector<size_t> stack = {from};
    std::set<size_t> seen;
    while (!stack.empty()) {
      const size_t at = stack.back();
      stack.pop_back();
      for (const Target& target : plan_->operators[at].all_targets()) {
        if (target.kind != Target::Kind::kOperator) continue;
        if (target.index == to) return true;
        if (seen.insert(target.index).second) stack.push_back(target.index);
      }
    }
    return false;
  }

  void type_sources() {
    for (PlannedSource& source : plan_->sources) {
      Scope scope;
      scope.schema = &source.edge.schema;
      if (!source.spec->event_time.is_null())
        source.event_time = compile_node(source.spec->event_time, scope, diagnostics_, Type(TypeKind::kTimestamp));
      if (!source.spec->watermark.when.is_null())
        source.watermark_when =
            compile_node(source.spec->watermark.when, scope, diagnostics_, Type(TypeKind::kBool));
    }
  }

  // Which sources make watermarks: those whose rows reach an operator that acts on event time.
  void find_event_time() {
    for (PlannedSource& source : plan_->sources) {
      source.makes_watermarks = !event_time_reader(source.targets, &OperatorPlan::uses_event_time).empty();
      source.rows_have_times =
          !source.spec->event_time.is_null() || !source.spec->plan || source.spec->plan->has_record_time();
      const std::string reader = event_time_reader(source.targets, &OperatorPlan::needs_row_times);
      if (!source.rows_have_times && !reader.empty())
        diagnostics_.error(LintCode::kMissingKey, source.spec->at,
                           "operator \"" + reader + "\" acts on event time, and source \"" + source.spec->name +
                               "\" has no event_time",
                           "event_time: COLUMN, an expression of type timestamp");
    }
  }
  // An operator behind the targets of which `acts` is true; "" if there is none.
  std::string event_time_reader(const std::vector<Target>& targets, bool (OperatorPlan::*acts)() const) const {
    std::vector<Target> stack = targets;
    std::set<size_t> seen;
    while (!stack.empty()) {
      const Target target = stack.back();
      stack.pop_back();
      if (target.kind != Target::Kind::kOperator || !seen.insert(target.index).second) continue;
      const PlannedOperator& op = plan_->operators[target.index];
      if (op.spec->plan && ((*op.spec->plan).*acts)()) return op.spec->id;
      const std::vector<Target> next = op.all_targets();
      stack.insert(stack.end(), next.begin(), next.end());
    }
    return "";
  }

  // A filter, an aggregate or a top_n behind an upsert edge must see the old version too, or what it no longer holds
  // would stay.
  void announce_retractions() {
    for (size_t index : plan_->order) {
      const std::string& kind = plan_->operators[index].spec->kind;
      if (kind == "filter" || kind == "aggregate" || kind == "top_n") announce_above(index, 0);
    }
  }
  void announce_above(size_t index, size_t depth) {
    if (depth > plan_->operators.size()) return;
    for (const std::string& name : plan_->operators[index].spec->inputs) {
      const Origin origin = find(name);
      if (!origin.found || origin.is_source || origin.late) continue;
      if (!plan_->operators[origin.index].spec->plan) continue;
      announced_.insert(origin.index);
      if (!plan_->operators[origin.index].spec->plan->enable_retractions()) announce_above(origin.index, depth + 1);
    }
  }
  // The inputs of a union are of one kind: what one of them has to announce for the sake of another reader, all do.
  void announce_in_unions() {
    for (size_t before = announced_.size() + 1; before != announced_.size();) {
      before = announced_.size();
      for (size_t index : plan_->order)
        if (plan_->operators[index].spec->inputs.size() > 1 && reads_announced(index)) announce_above(index, 0);
    }
  }
  bool reads_announced(size_t index) {
    const std::vector<std::string>& inputs = plan_->operators[index].spec->inputs;
    return std::any_of(inputs.begin(), inputs.end(), [this](const std::string& name) {
      const Origin origin = find(name);
      return origin.found && !origin.is_source && !origin.late && announced_.count(origin.index) > 0;
    });
  }

  const Edge& output_of(const std::string& name) {
    const Origin origin = find(name);
    if (origin.is_source) return plan_->sources[origin.index].edge;
    const OperatorPlan& op = *plan_->operators[origin.index].spec->plan;
    return origin.late ? *op.late_output() : op.output();
  }
  bool typed(const std::string& name) {
    const Origin origin = find(name);
    if (!origin.found) return false;
    if (origin.is_source) return true;
    return typed_.count(origin.index) > 0 &&
           (!origin.late || plan_->operators[origin.index].spec->plan->late_output() != nullptr);
  }

  void type_operators() {
    for (size_t index : plan_->order) {
      OperatorSpec& op = *plan_->operators[index].spec;
      if (!op.plan) continue;
      std::vector<Edge> inputs;
      for (const std::string& name : op.inputs)
        if (typed(name)) inputs.push_back(output_of(name));
      if (inputs.size() != op.inputs.size()) continue;  // an input is in error already
      if (!unify(inputs, plan_->operators[index])) continue;
      if (op.plan->plan(inputs, diagnostics_)) typed_.insert(index);
    }
  }

  // All inputs of a union have the same columns; record.* columns survive only if every input has them in the same
  // place.
  bool unify(std::vector<Edge>& inputs, PlannedOperator& planned) {
    const OperatorSpec& op = *planned.spec;
    planned.remap.assign(inputs.size(), {});
    bool same = true;
    for (const Edge& edge : inputs) same = same && edge.schema == inputs[0].schema;
    if (!same)
      for (size_t i = 0; i < inputs.size(); i++) planned.remap[i] = hide_record_columns(inputs[i]);
    planned.input = inputs[0].schema;
    for (size_t i = 1; i < inputs.size(); i++) {
      if (has_unknown(inputs[0].schema) || has_unknown(inputs[i].schema)) return false;
      const bool types = inputs[i].schema == inputs[0].schema;
      if (types && inputs[i].type == inputs[0].type) continue;
      diagnostics_.error(
          LintCode::kUnionMismatch, op.inputs_at[i],
          "inputs \"" + op.inputs[0] + "\" and \"" + op.inputs[i] + "\" " +
              (types ? "are not of one kind: one is updated, one only appended to" : "have different columns"),
          types ? "" : "use select to give both " + Type::structure(inputs[0].schema).to_string());
      return false;
    }
    return true;
  }

  // Takes the record.* columns out of an edge; returns where the others stood.
  static std::vector<int> hide_record_columns(Edge& edge) {
    std::vector<int> kept;
    Schema schema;
    std::vector<int> keys;
    for (size_t i = 0; i < edge.schema.size(); i++) {
      if (describes_record(edge.schema[i])) continue;
      if (std::find(edge.key_columns.begin(), edge.key_columns.end(), static_cast<int>(i)) != edge.key_columns.end())
        keys.push_back(static_cast<int>(kept.size()));
      kept.push_back(static_cast<int>(i));
      schema.push_back(edge.schema[i]);
    }
    edge.schema = std::move(schema);
    edge.key_columns = std::move(keys);
    return kept;
  }

  void type_sinks() {
    for (PlannedSink& sink : plan_->sinks) {
      if (!sink.spec->plan) continue;
      if (sink.spec->context.dead_letters_only) {
        sink.input.schema = dead_letter_schema();
      } else {
        if (sink.spec->input.empty() || !typed(sink.spec->input)) continue;
        sink.input = output_of(sink.spec->input);
      }
      if (has_unknown(sink.input.schema)) continue;  // a format or a key may be wrong for that reason only
      if (!sink.spec->plan->plan(sink.spec->context, sink.input, diagnostics_)) continue;
    }
  }

  void check_guarantees() {
    if (spec().mode == RecoveryMode::kNone || spec().guarantee == Guarantee::kAtLeastOnce) return;
    for (const PlannedSink& sink : plan_->sinks) {
      if (!sink.spec->plan) continue;
      const SinkGuarantee guarantee = sink.spec->plan->guarantee();
      if (guarantee == SinkGuarantee::kNone) {
        diagnostics_.error(LintCode::kGuarantee, sink.spec->at,
                           "sink \"" + sink.spec->name + "\" (" + sink.spec->kind +
                               ") cannot keep exactly_once: it repeats rows after a crash",
                           "set recovery: {guarantee: at_least_once} or use another sink");
      } else if (guarantee == SinkGuarantee::kTransaction && spec().mode == RecoveryMode::kLocal) {
        diagnostics_.error(
            LintCode::kGuarantee, sink.spec->at,
            "sink \"" + sink.spec->name + "\" (kafka) cannot keep exactly_once under recovery mode local",
            "set recovery: {mode: changelog} or {guarantee: at_least_once}");
      }
    }
  }

  // The source behind a sink through operators that only choose rows; kNoIndex otherwise.
  size_t unchanged_source(const std::string& input) {
    std::string name = input;
    for (size_t steps = 0; steps <= plan_->operators.size(); steps++) {
      const Origin origin = find(name);
      if (origin.is_source) return origin.index;
      if (origin.late) return kNoIndex;
      const OperatorSpec& op = *plan_->operators[origin.index].spec;
      if (!op.plan->preserves_rows() || op.inputs.size() != 1) return kNoIndex;
      name = op.inputs[0];
    }
    return kNoIndex;
  }

  void find_pass_through() {
    for (PlannedSink& sink : plan_->sinks) {
      if (sink.spec->input.empty() || !sink.spec->plan->takes_payload()) continue;
      const size_t index = unchanged_source(sink.spec->input);
      if (index == kNoIndex) continue;
      PlannedSource& source = plan_->sources[index];
      if (source.spec->plan->makes_columns() || source.spec->format != "json") continue;
      source.canonical = true;
      source.keep_payload = true;
      sink.spec->plan->use_payload();
    }
  }

  static void add(std::vector<bool>& to, const std::vector<bool>& from) {
    if (to.size() < from.size()) to.resize(from.size());
    for (size_t i = 0; i < from.size(); i++)
      if (from[i]) to[i] = true;
  }

  std::vector<bool> needed_by(const std::vector<Target>& targets) {
    std::vector<bool> needed;
    for (const Target& target : targets) {
      if (target.kind == Target::Kind::kSink) {
        add(needed, plan_->sinks[target.index].spec->plan->needed_inputs());
      } else {
        const PlannedOperator& op = plan_->operators[target.index];
        std::vector<bool> wanted = op.spec->plan->needed_inputs(op.needed);
        // The late output begins with the input's columns.
        for (size_t i = 0; i < std::min(op.needed_late.size(), op.input.size()); i++)
          if (op.needed_late[i]) wanted[i] = true;
        const std::vector<int>& remap = op.remap[target.input];
        if (remap.empty()) {
          add(needed, wanted);
          continue;
        }
        for (size_t i = 0; i < wanted.size(); i++) {
          const auto column = static_cast<size_t>(remap[i]);
          if (needed.size() <= column) needed.resize(column + 1);
          if (wanted[i]) needed[column] = true;
        }
      }
    }
    return needed;
  }

  void push_projection() {
    for (size_t i = plan_->order.size(); i-- > 0;) {
      PlannedOperator& op = plan_->operators[plan_->order[i]];
      op.needed = needed_by(op.targets);
      op.needed.resize(op.spec->plan->output().schema.size());
      op.needed_late = needed_by(op.late_targets);
    }
    for (PlannedSource& source : plan_->sources) {
      source.needed = needed_by(source.targets);
      source.needed.resize(source.edge.schema.size());
      if (source.event_time)
        for (int column : source.event_time->columns()) source.needed[static_cast<size_t>(column)] = true;
      if (source.watermark_when)
        for (int column : source.watermark_when->columns()) source.needed[static_cast<size_t>(column)] = true;
      if (source.dead_letter_sink != kNoIndex || source.future_sink != kNoIndex)
        source.keep_payload = source.needs.key = true;
      for (size_t i = source.declared; i < source.edge.schema.size(); i++) {
        if (!source.needed[i]) continue;
        if (source.edge.schema[i].name == "record.key") source.needs.key = true;
        if (source.edge.schema[i].name == "record.headers") source.needs.headers = true;
      }
    }
  }

  void warn_unread() {
    for (const PlannedSource& source : plan_->sources)
      if (source.targets.empty())
        diagnostics_.warning(LintCode::kUnused, source.spec->at, "nothing reads source \"" + source.spec->name + "\"");
    for (const PlannedOperator& op : plan_->operators) {
      if (op.targets.empty())
        diagnostics_.warning(LintCode::kUnused, op.spec->at, "nothing reads operator \"" + op.spec->id + "\"");
      if (op.spec->plan->has_late_rows() && op.late_targets.empty())
        diagnostics_.warning(
            LintCode::kUnused, op.spec->at,
            "nothing reads \"" + op.spec->id + ".late\": rows that come too late are counted and dropped");
    }
  }

  Diagnostics& diagnostics_;
  std::unique_ptr<Plan> plan_ = std::make_unique<Plan>();
  std::set<size_t> announced_;  // told to announce what they replace, or passing that on
  std::set<size_t> typed_;
};

}  // namespace

bool Plan::has_keyed_state() const {
  return std::any_of(operators.begin(), operators.end(), [](const PlannedOperator& op) { return op.keyed(); });
}

bool Plan::bounded() const {
  return std::all_of(sources.begin(), sources.end(),
                     [](const PlannedSource& source) { return source.spec->plan->bounded(); });
}

std::unique_ptr<Plan> make_plan(std::unique_ptr<PipelineSpec> spec, Diagnostics& diagnostics) {
  return Planner(std::move(spec), diagnostics).make();
}

std::unique_ptr<Plan> load_plan(const std::string& file, const VariableLookup& variables, const Registries& registries,
                                Diagnostics& diagnostics) {
  const size_t before = diagnostics.all().size();
  const ConfigNode document = ConfigNode::load(file, variables, diagnostics);
  // Half a document would be reported as missing keys.
  if (!document.is_complete()) return nullptr;
  for (size_t i = before; i < diagnostics.all().size(); i++) {
    const LintCode code = diagnostics.all()[i].code;
    if (code == LintCode::kYamlSyntax || code == LintCode::kLimit || code == LintCode::kFile) return nullptr;
  }
  auto spec = read_spec(document, registries, diagnostics);
  return spec ? make_plan(std::move(spec), diagnostics) : nullptr;
}

std::string describe_plan(const Plan& plan) {
  const PipelineSpec& spec = *plan.spec;
  std::string text = "pipeline " + spec.name + "\n";
  const char* modes[] = {"none", "local", "changelog"};
  text += std::string("recovery ") + modes[static_cast<int>(spec.mode)];
  if (spec.mode != RecoveryMode::kNone)
    text += std::string(", ") + (spec.guarantee == Guarantee::kExactlyOnce ? "exactly_once" : "at_least_once") +
            ", every " + std::to_string(spec.commit_interval_ms) + " ms";
  text += "\nstate " + std::string(spec.rocksdb ? "rocksdb" : "memory") + ", " + std::to_string(spec.shards) +
          " shards\n\n";
  for (const PlannedSource& source : plan.sources) {
    text += "source " + source.spec->name + ": " + source.spec->plan->describe() + "\n  reads";
    for (size_t i = 0; i < source.needed.size(); i++)
      if (source.needed[i]) text += " " + source.edge.schema[i].name;
    text += "\n";
    if (source.makes_watermarks)
      text += "  " + (source.rows_have_times ? describe(source.spec->watermark) : "no times, only its end") + "\n";
  }
  for (size_t index : plan.order) {
    const PlannedOperator& op = plan.operators[index];
    const char* edges[] = {"append", "upsert", "retract"};
    text +=
        "operator " + op.spec->id + ": " + op.spec->plan->describe() + (op.keyed() ? "  [new stage]" : "") + "\n  from";
    for (const std::string& input : op.spec->inputs) text += " " + input;
    text += "\n  " + std::string(edges[static_cast<int>(op.spec->plan->output().type)]) + " " +
            Type::structure(op.spec->plan->output().schema).to_string() + "\n";
    if (!op.late_targets.empty()) text += "  late rows to " + op.spec->id + ".late\n";
  }
  const char* promises[] = {"in the transaction", "durable before the decision, visible after it",
                            "repeats rows after a crash", "nothing to repeat"};
  for (const PlannedSink& sink : plan.sinks)
    text += "sink " + sink.spec->name + ": " + sink.spec->plan->describe() + "\n  from " +
            (sink.spec->input.empty() ? "dead letters" : sink.spec->input) + "; " +
            promises[static_cast<int>(sink.spec->plan->guarantee())] + "\n";
  return text;
}

}  // namespace millrace
