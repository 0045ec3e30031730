#include "pipeline/testing/expectation_update.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "pipeline/testing/test_values.h"
#include "pipeline/testing/yaml_text_spans.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFlowLineColumns = 100;  // a longer list is written one row per line
constexpr size_t kFront = kNoRow;         // where rows before the first one go
constexpr size_t kUnknown = YamlTextSpans::kUnknown;

struct Edit {
  TextSpan span;
  std::string text;
};

// The edits of one expectation.
class ExpectationEditor {
 public:
  ExpectationEditor(const YamlTextSpans& spans, const Mismatch& mismatch, std::vector<Edit>& edits)
      : spans_(spans), expectation_(*mismatch.expectation), alignment_(mismatch.alignment), edits_(edits) {}

  void edit() {
    if (expectation_.kind == Expectation::Kind::kCount) {
      replace(spans_.value(expectation_.list), std::to_string(alignment_.found.size()));
      return;
    }
    plan();
    const size_t kept = expectation_.rows.size() - deleted_.size();
    if (!expectation_.list.is_flow()) {
      kept == 0 && inserted_.empty() ? write_empty() : edit_block();
    } else if (deleted_.empty() && inserted_.empty()) {
      for (const AlignedRow& row : alignment_.rows) rewrite_row(row);
    } else {
      rebuild_flow();
    }
  }

 private:
  // Which rows go and which come, and behind which expected row.
  void plan() {
    size_t anchor = kFront;
    for (const AlignedRow& row : alignment_.rows) {
      if (row.expected == kNoRow) {
        if (expectation_.kind != Expectation::Kind::kContains) inserted_[anchor].push_back(new_row(row.found));
        continue;
      }
      anchor = row.expected;
      if (row.found == kNoRow) deleted_.push_back(row.expected);
    }
    // An expectation of no rows among others would be met by anything: it stays as it is.
    const bool vacuous = expectation_.kind == Expectation::Kind::kContains;
    if (vacuous && deleted_.size() == expectation_.rows.size()) deleted_.clear();
  }

  // The columns that a row is written with: those of `like`, or all of them.
  Json with_columns(const Json& found, const Json* like) const {
    Json row = Json::object();
    if (like != nullptr)
      for (const auto& [name, value] : like->items()) {
        const bool unset = name == kRecordDeleted && !found.contains(name);
        row[name] = found.contains(name) ? found[name] : unset ? Json(false) : Json();
      }
    for (const auto& [name, value] : found.items()) {
      const bool is_record = name.starts_with("record.");
      const bool all = !is_record && (like == nullptr || expectation_.exact);
      if (all || name == kRecordDeleted) row[name] = value;
    }
    return row;
  }
  Json new_row(size_t found) const {
    const Json* like = expectation_.rows.empty() ? nullptr : &expectation_.rows[0].columns;
    Json row = with_columns(alignment_.found[found], like);
    if (row.contains(kRecordDeleted) && row[kRecordDeleted] == false) row.erase(kRecordDeleted);
    return row;
  }

  void replace(TextSpan span, std::string text) { edits_.push_back({span, std::move(text)}); }

  // A row that came otherwise than expected. Only the values that differ change, where the text allows it.
  void rewrite_row(const AlignedRow& row) {
    if (row.expected == kNoRow || row.found == kNoRow || row.differing.empty()) return;
    const ExpectedRow& expected = expectation_.rows[row.expected];
    const Json& found = alignment_.found[row.found];
    std::vector<Edit> values;
    for (const std::string& name : row.differing) {
      const auto node = expected.node.find(name);
      const TextSpan span = node ? spans_.value(*node) : TextSpan{0, kUnknown};
      if (span.end == kUnknown) {
        replace(spans_.block_item(expected.node), row_text(expected, with_columns(found, &expected.columns)));
        return;
      }
      values.push_back({span, yaml_text(with_columns(found, &expected.columns)[name])});
    }
    edits_.insert(edits_.end(), values.begin(), values.end());
  }

  // In the style of the row that it replaces.
  std::string row_text(const ExpectedRow& expected, const Json& row) const {
    if (expected.node.is_flow()) return yaml_text(row);
    const std::string indent(spans_.column_of(spans_.offset_of(expected.node.location())), ' ');
    std::string text;
    for (const auto& [name, value] : row.items())
      text += (text.empty() ? "" : "\n" + indent) + name + ": " + yaml_text(value);
    return text;
  }

  const ConfigNode& item(size_t expected) const { return expectation_.rows[expected].node; }
  bool is_deleted(size_t expected) const {
    return std::find(deleted_.begin(), deleted_.end(), expected) != deleted_.end();
  }

  // The last line of the file may lack its newline.
  std::string newline_at(size_t at) const {
    return at == spans_.text().size() && !spans_.text().ends_with('\n') ? "\n" : "";
  }

  void edit_block() {
    for (const AlignedRow& row : alignment_.rows) rewrite_row(row);
    for (size_t expected : deleted_) {
      const size_t begin = spans_.line_begin(spans_.dash_of(item(expected)));
      replace({begin, spans_.next_line(spans_.block_item(item(expected)).end)}, "");
    }
    const std::string indent(spans_.column_of(spans_.dash_of(item(0))), ' ');
    for (const auto& [anchor, rows] : inserted_) {
      size_t at = spans_.line_begin(spans_.dash_of(item(0)));
      if (anchor != kFront) at = spans_.next_line(spans_.block_item(item(anchor)).end);
      std::string text = newline_at(at);
      for (const Json& row : rows) text += indent + "- " + yaml_text(row) + "\n";
      replace({at, at}, std::move(text));
    }
  }

  // A list of which nothing is left.
  void write_empty() {
    const size_t first = spans_.line_begin(spans_.dash_of(item(0)));
    const size_t last = spans_.next_line(spans_.block_item(item(expectation_.rows.size() - 1)).end);
    const size_t colon = behind_key();
    replace({colon, colon}, " []");
    replace({first, last}, "");
  }
  // Behind the colon of the list's key.
  size_t behind_key() const { return spans_.text().find(':', spans_.offset_of(expectation_.list.key_location())) + 1; }

  // A list in brackets to which rows came or from which rows went: written anew, with the rows that stay as they are.
  void rebuild_flow() {
    std::vector<std::string> items;
    const auto insert = [&](size_t anchor) {
      if (const auto rows = inserted_.find(anchor); rows != inserted_.end())
        for (const Json& row : rows->second) items.push_back(yaml_text(row));
    };
    std::map<size_t, size_t> partner;
    for (const AlignedRow& row : alignment_.rows)
      if (row.expected != kNoRow && !row.matches()) partner[row.expected] = row.found;
    insert(kFront);
    for (size_t i = 0; i < expectation_.rows.size(); i++) {
      const ExpectedRow& expected = expectation_.rows[i];
      const TextSpan span = spans_.value(expected.node);
      if (const auto found = partner.find(i); found != partner.end() && !is_deleted(i)) {
        items.push_back(yaml_text(with_columns(alignment_.found[found->second], &expected.columns)));
      } else if (found == partner.end()) {
        items.emplace_back(spans_.text().substr(span.begin, span.end - span.begin));
      }
      insert(i);
    }
    const TextSpan list = spans_.value(expectation_.list);
    std::string line = "[";
    for (const std::string& row : items) line += (line.size() > 1 ? ", " : "") + row;
    line += "]";
    const bool fits = spans_.column_of(list.begin) + line.size() <= kFlowLineColumns;
    if (expectation_.in_flow || items.empty() || (fits && !expectation_.rows.empty())) return replace(list, line);
    // One row per line, below the key and the comment that may stand there.
    const size_t key = spans_.offset_of(expectation_.list.key_location());
    const size_t at = spans_.next_line(list.end);
    std::string text = newline_at(at);
    for (const std::string& row : items) text += std::string(spans_.column_of(key) + 2, ' ') + "- " + row + "\n";
    replace({behind_key(), list.end}, "");
    replace({at, at}, text);
  }

  const YamlTextSpans& spans_;
  const Expectation& expectation_;
  const Alignment& alignment_;
  std::vector<Edit>& edits_;
  std::vector<size_t> deleted_;                   // expected rows
  std::map<size_t, std::vector<Json>> inserted_;  // by the expected row in front of them
};

// Applies edits, the last in the text first. Edits do not overlap.
Result<std::string> apply(std::string text, std::vector<Edit> edits) {
  std::stable_sort(edits.begin(), edits.end(), [](const Edit& a, const Edit& b) {
    return a.span.begin != b.span.begin ? a.span.begin > b.span.begin : a.span.end > b.span.end;
  });
  size_t limit = text.size();
  for (const Edit& edit : edits) {
    if (edit.span.end == kUnknown || edit.span.begin > edit.span.end || edit.span.end > limit)
      return Status::user(Code::kFileIo, "an expectation is written in a way that --update does not understand");
    text.replace(edit.span.begin, edit.span.end - edit.span.begin, edit.text);
    limit = edit.span.begin;
  }
  return text;
}

}  // namespace

Result<ExpectationUpdate> update_expectations(const std::string& file, std::string_view text,
                                              const std::vector<Mismatch>& mismatches) {
  const YamlTextSpans spans(text);
  std::vector<Edit> edits;
  for (const Mismatch& mismatch : mismatches) ExpectationEditor(spans, mismatch, edits).edit();
  ExpectationUpdate update;
  MR_ASSIGN(update.text, apply(std::string(text), std::move(edits)));
  update.expectations = mismatches.size();
  Diagnostics diagnostics;
  ConfigNode::parse(file, update.text, [](const std::string&) { return std::string("1"); }, diagnostics);
  if (diagnostics.has_errors())
    return Status::user(Code::kFileIo, "--update would make a file that is not YAML; " + diagnostics.render_text());
  return update;
}

}  // namespace millrace
