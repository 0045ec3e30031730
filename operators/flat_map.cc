// flat_map: {each: EXPR, as: COLUMN} — one row per element of a list.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "operators/gather.h"
#include "operators/projection.h"
#include "operators/registration.h"

namespace millrace {
namespace {

// Output rows per batch, and elements that one row may have.
constexpr uint32_t kMaxRows = 1024;
constexpr uint32_t kMaxElements = 10'000;

class FlatMap : public Operator {
 public:
  explicit FlatMap(const ExpressionPtr& each) : projection_({each}) {
    rows_.reserve(kMaxRows);
    elements_.reserve(kMaxRows);
  }

  Status open(const OperatorContext& context) override {
    arenas_ = context.arenas;
    return Status::ok();
  }

  Status process(const Batch& batch, size_t, Collector& out) override {
    counters_.in += batch.live();
    errors_.clear();
    const ArenaPtr arena = arenas_->take();
    const ColumnPtr lists = projection_.evaluate(batch, arena, errors_).front();
    refuse_long(batch, *lists);
    if (!errors_.empty()) MR_RETURN_IF_ERROR(out.fail_rows(batch, errors_));
    const Batch rows = without_rows(batch, errors_);
    const auto is_empty = [&](uint32_t row) { return lists->is_null(row) || lists->spans[row].count == 0; };
    total_ = 0;
    for_each_live(rows, [&](uint32_t row) {
      if (is_empty(row)) {
        counters_.filtered++;
      } else {
        total_ += lists->spans[row].count;
      }
    });
    Status status;
    for_each_live(rows, [&](uint32_t row) {
      if (!is_empty(row) && status.is_ok()) status = expand(rows, row, lists->spans[row], lists->children[0], out);
    });
    if (status.is_ok() && !rows_.empty()) status = emit(rows, lists->children[0], out);
    rows_.clear();
    elements_.clear();
    return status;
  }

 private:
  void refuse_long(const Batch& batch, const Column& lists) {
    const size_t failed = errors_.entries.size();
    for_each_live(batch, [&](uint32_t row) {
      if (lists.is_null(row) || lists.spans[row].count <= kMaxElements) return;
      errors_.entries.push_back(
          {row, fmt::format("a list of {} elements; the limit is {}", lists.spans[row].count, kMaxElements)});
    });
    if (errors_.entries.size() > failed) sort_errors(errors_);
  }

  Status expand(const Batch& batch, uint32_t row, Span span, const ColumnPtr& elements, Collector& out) {
    for (uint32_t i = 0; i < span.count; i++) {
      rows_.push_back(row);
      elements_.push_back(span.begin + i);
      if (rows_.size() == kMaxRows) MR_RETURN_IF_ERROR(emit(batch, elements, out));
    }
    return Status::ok();
  }

  Status emit(const Batch& batch, const ColumnPtr& elements, Collector& out) {
    const ArenaPtr arena = arenas_->take();
    const auto n = static_cast<uint32_t>(rows_.size());
    Batch result = gather_rows(batch, rows_.data(), n, arena);
    result.columns.push_back(gather_column(elements, elements_.data(), n, arena));
    // Every part pins the whole of the input; it is charged by its share.
    result.bytes = arena->bytes() + batch.bytes * n / total_;
    rows_.clear();
    elements_.clear();
    counters_.out += n;
    return out.emit(std::move(result));
  }

  ArenaPool* arenas_ = nullptr;
  Projection projection_;
  RowErrors errors_;
  // The output batch under way: its rows of the input, and of the elements.
  std::vector<uint32_t> rows_;
  std::vector<uint32_t> elements_;
  uint64_t total_ = 0;  // elements of the input batch
};

class FlatMapPlan : public OperatorPlan {
 public:
  FlatMapPlan(ConfigNode body, ConfigNode each, ConfigNode as)
      : body_(std::move(body)), each_node_(std::move(each)), as_(std::move(as)) {}

  bool plan(const std::vector<Edge>& inputs, Diagnostics& diagnostics) override {
    const Edge input = merge_edges(inputs);
    inputs_ = input.schema.size();
    Scope scope;
    scope.schema = &input.schema;
    each_ = compile_node(each_node_, scope, diagnostics);
    bool ok = true;
    if (each_ && each_->type().kind() != TypeKind::kList) {
      diagnostics.error(LintCode::kExpressionType, each_node_.location(),
                        "flat_map needs a list, and " + each_node_.text() + " is " + each_->type().to_string(),
                        each_->type().kind() == TypeKind::kString ? "split it" : "");
      ok = false;
    }
    if (find_column(input.schema, as_.text()) >= 0) {
      diagnostics.error(LintCode::kConflict, as_.location(), "column \"" + as_.text() + "\" exists already",
                        "use another name for the element");
      ok = false;
    }
    if (input.type == EdgeType::kUpsert) {
      diagnostics.error(LintCode::kEdge, body_.key_location(),
                        "the input replaces rows, and of a replaced list no element could be taken back",
                        "put flat_map in front of the operator that replaces them");
      ok = false;
    }
    if (!ok) return false;
    output_ = {input.schema, input.type, {}};
    output_.schema.push_back({as_.text(), each_ ? each_->type().element() : Type::unknown()});
    if (input.type == EdgeType::kRetract) {
      // No column tells the elements of a list apart: a row is the whole of it.
      output_.key_columns.resize(output_.schema.size());
      std::iota(output_.key_columns.begin(), output_.key_columns.end(), 0);
    }
    return true;
  }
  const Edge& output() const override { return output_; }
  std::vector<bool> needed_inputs(const std::vector<bool>& needed_outputs) const override {
    std::vector<bool> needed = needed_outputs;
    needed.resize(inputs_);
    for (int column : each_->columns()) needed[static_cast<size_t>(column)] = true;
    return needed;
  }
  std::string describe() const override { return "flat_map " + each_node_.text() + " as " + as_.text(); }
  std::unique_ptr<Operator> make() const override { return std::make_unique<FlatMap>(each_); }

 private:
  ConfigNode body_;
  ConfigNode each_node_;
  ConfigNode as_;
  ExpressionPtr each_;
  size_t inputs_ = 0;
  Edge output_;
};

std::unique_ptr<OperatorPlan> read_flat_map(const ConfigNode& body, Diagnostics& diagnostics) {
  const size_t errors_before = diagnostics.error_count();
  MapReader map(body, diagnostics);
  const std::optional<ConfigNode> each = map.required_child("each");
  const std::optional<ConfigNode> as = map.required_child("as");
  if (as) {
    const std::optional<std::string> name = as_string(*as, diagnostics);
    if (name && (name->empty() || name->find('.') != std::string::npos)) {
      diagnostics.error(LintCode::kBadValue, as->location(), "\"" + *name + "\" is not the name of a column");
    }
  }
  map.finish();
  if (diagnostics.error_count() > errors_before) return nullptr;
  return std::make_unique<FlatMapPlan>(body, *each, *as);
}

}  // namespace

void register_flat_map(OperatorRegistry& registry) { registry.add("flat_map", read_flat_map); }

}  // namespace millrace
