#include "base/config_node.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <cstdlib>
#include <sstream>
#include <unordered_map>

#include "base/check.h"
#include "base/config_split.h"
#include "base/config_tree.h"
#include "base/file.h"

namespace millrace {
namespace {

constexpr size_t kMaxSubstitutedBytes = 1 << 20;  // of one document
constexpr size_t kNoNode = SIZE_MAX;

// One node as the events bring it; compact, because a document is refused only after up to kMaxConfigNodes of them.
struct RawNode {
  ConfigNode::Kind kind = ConfigNode::Kind::kNull;
  ScalarStyle style = ScalarStyle::kPlain;
  bool flow = false;
  bool has_key = false;
  size_t offset = 0;
  size_t key_offset = 0;
  std::string key;
  std::string text;
  std::vector<size_t> children;
};

// Thrown through yaml-cpp once the reason has been reported.
struct StopParsing {};

// Collects events into RawNodes, checking what DESIGN asks of a document on the way.
class EventCollector : public YAML::EventHandler {
 public:
  EventCollector(const ConfigSource& source, Diagnostics& diagnostics)
      : source_(source), cursor_(source), diagnostics_(diagnostics) {}

  std::vector<RawNode>& nodes() { return nodes_; }
  size_t root() const { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ == 0) return;
    size_t at = offset_of(mark);
    bool separated = source_.line(source_.line_of(at)).starts_with("---");
    diagnostics_.error(LintCode::kYamlSyntax, source_.locate(at),
                       separated ? "more than one document in the file" : "unexpected text behind the document",
                       separated ? "put each pipeline into a file of its own" : "");
    throw StopParsing();
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    size_t begin = skip_properties(mark);
    if (awaits_key()) return refuse_key(begin, "a key is missing");
    add(ConfigNode::Kind::kNull, null_offset(begin));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    size_t begin = offset_of(mark);
    const Location at = cursor_.locate(begin);
    Diagnostic cause;
    cause.code = LintCode::kAlias;
    cause.at = aliases_.emplace(anchor, at).first->second;  // the first use
    cause.message = "aliases are refused";
    cause.hint = "write the value out, or quote an expression that starts with *";
    diagnostics_.explain(at, at, cause);
    const bool merged = !open_.empty() && open_.back().merge_key;  // refused at the key
    if (!merged) diagnostics_.error(cause.code, at, cause.message, cause.hint);
    if (awaits_key()) return drop_entry();
    add(ConfigNode::Kind::kNull, begin);
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string& value) override {
    size_t begin = skip_properties(mark);
    last_scalar_ = begin;
    if (awaits_key()) return key(begin, value);
    RawNode& node = add(ConfigNode::Kind::kScalar, begin);
    node.style = scalar_style(source_.at(begin));
    node.text = value;
  }
  // yaml-cpp takes a quote that is never closed for closed at the end of the file.
  void check_last_quote() {
    char quote = source_.at(last_scalar_);
    if (quote != '"' && quote != '\'') return;
    for (size_t at = last_scalar_ + 1; at < source_.text().size(); at++) {
      if (quote == '"' && source_.at(at) == '\\') {
        at++;
      } else if (source_.at(at) == quote) {
        if (quote == '"' || source_.at(at + 1) != quote) return;
        at++;
      }
    }
    diagnostics_.error(LintCode::kYamlSyntax, source_.locate(last_scalar_), fmt::format("{} is never closed", quote));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value style) override {
    open(ConfigNode::Kind::kSequence, mark, style);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value style) override {
    open(ConfigNode::Kind::kMapping, mark, style);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Collection {
    size_t node;
    bool has_key = false;  // a key was read, its value comes next
    bool dropped = false;  // … and is not kept
    bool merge_key = false;  // … and stands behind <<
    std::string key;
    size_t key_offset = 0;
    std::unordered_map<std::string, size_t> keys;  // where each was defined
  };

  size_t offset_of(const YAML::Mark& mark) const { return source_.offset_of(mark.line, mark.column); }
  void error(LintCode code, size_t offset, std::string message, std::string hint = "") {
    diagnostics_.error(code, cursor_.locate(offset), std::move(message), std::move(hint));
  }
  bool awaits_key() const {
    return !open_.empty() && nodes_[open_.back().node].kind == ConfigNode::Kind::kMapping && !open_.back().has_key;
  }

  // Anchors and tags stand before the value, and marks point at them. Tags are refused, anchors are ignored.
  size_t skip_properties(const YAML::Mark& mark) {
    size_t at = offset_of(mark);
    while (source_.at(at) == '&' || source_.at(at) == '!') {
      if (source_.at(at) == '!') refuse_tag(at);
      const std::string& text = source_.text();
      at = std::min(text.find_first_of(" \t\n,]}", at), text.size());
      size_t next = std::min(text.find_first_not_of(" \t\n", at), text.size());
      if (next == text.size()) return at;
      at = next;
    }
    return at;
  }

  void refuse_tag(size_t at) {
    std::string_view rest = source_.line(source_.line_of(at));
    rest.remove_prefix(at - source_.line_start(source_.line_of(at)));
    std::string tag(rest.substr(0, std::min<size_t>(rest.find_first_of(" \t,]}"), 60)));
    bool type = tag.starts_with("!!");
    bool in_flow = !open_.empty() && nodes_[open_.back().node].flow;
    std::string hint = "remove it";
    if (!type) hint = "quote an expression that starts with !";
    if (!type && !in_flow && rest.size() <= 200 && rest.find('\'') == std::string_view::npos) {
      hint = fmt::format("quote this: '{}'", rest.substr(0, rest.find(" #")));
    }
    error(type ? LintCode::kYamlSyntax : LintCode::kExpressionUnquoted, at,
          fmt::format("YAML reads {} as a tag, and tags are refused", tag), hint);
  }

  // The mark of an empty value is that of whatever comes next; its key is a better place.
  size_t null_offset(size_t begin) const {
    if (open_.empty() || !open_.back().has_key) return begin;
    size_t key = open_.back().key_offset;
    bool written = source_.at(begin) == '~' || source_.at(begin) == 'n' || source_.at(begin) == 'N';
    return written && source_.line_of(begin) == source_.line_of(key) ? begin : key;
  }

  RawNode& add(ConfigNode::Kind kind, size_t offset) {
    count_node(offset);
    size_t index = nodes_.size();
    nodes_.emplace_back();
    RawNode& node = nodes_.back();
    node.kind = kind;
    node.offset = offset;
    node.flow = !open_.empty() && nodes_[open_.back().node].flow;
    if (open_.empty()) {
      root_ = index;
      return node;
    }
    Collection& parent = open_.back();
    if (parent.has_key) {
      node.has_key = true;
      node.key = std::move(parent.key);
      node.key_offset = parent.key_offset;
    }
    if (!parent.dropped) nodes_[parent.node].children.push_back(index);
    parent.has_key = false;
    parent.dropped = false;
    parent.merge_key = false;
    return node;
  }

  void count_node(size_t offset) {
    if (++count_ <= kMaxConfigNodes) return;
    error(LintCode::kLimit, offset, fmt::format("more than {} nodes", kMaxConfigNodes));
    throw StopParsing();
  }

  void open(ConfigNode::Kind kind, const YAML::Mark& mark, YAML::EmitterStyle::value style) {
    size_t begin = skip_properties(mark);
    if (open_.size() >= kMaxConfigDepth) {
      error(LintCode::kLimit, begin, fmt::format("nested deeper than {} levels", kMaxConfigDepth));
      throw StopParsing();
    }
    size_t index = nodes_.size();
    if (awaits_key()) {
      refuse_key(begin, "a key must be a scalar");
      count_node(begin);
      nodes_.emplace_back();  // belongs to nobody
      nodes_.back().kind = kind;
    } else {
      add(kind, begin);
    }
    nodes_[index].flow = style == YAML::EmitterStyle::Flow;
    open_.emplace_back();
    open_.back().node = index;
  }

  void refuse_key(size_t at, const std::string& message) {
    error(LintCode::kYamlSyntax, at, message, "quote it, if it is part of an expression or a template");
    drop_entry();
  }
  void drop_entry() {
    open_.back().has_key = true;
    open_.back().dropped = true;
    open_.back().key.clear();
    open_.back().key_offset = 0;
  }

  void key(size_t begin, const std::string& text) {
    count_node(begin);
    Collection& map = open_.back();
    if (text == "<<" && scalar_style(source_.at(begin)) == ScalarStyle::kPlain) {
      error(LintCode::kAlias, begin, "merge keys (<<) are refused", "write the keys out");
      drop_entry();
      map.merge_key = true;
      return;
    }
    auto [known, is_new] = map.keys.emplace(text, begin);
    if (!is_new) {
      error(LintCode::kDuplicateKey, begin,
            fmt::format("duplicate key \"{}\", first defined at line {}", text.substr(0, 100),
                        source_.line_of(known->second) + 1));
      return drop_entry();
    }
    map.has_key = true;
    map.dropped = false;
    map.key = text;
    map.key_offset = begin;
  }

  const ConfigSource& source_;
  PositionCursor cursor_;
  Diagnostics& diagnostics_;
  std::vector<RawNode> nodes_;
  std::vector<Collection> open_;
  size_t root_ = kNoNode;
  size_t count_ = 0;
  size_t last_scalar_ = kNoNode;
  std::unordered_map<YAML::anchor_t, Location> aliases_;  // where each anchor was first used
  int documents_ = 0;
};

// What yaml-cpp says, in words that need no knowledge of its tokens.
std::string plain_message(const std::string& message) {
  static const std::pair<std::string_view, std::string_view> kPlain[] = {
      {"illegal map value", "unexpected \":\""},
      {"illegal block entry", "unexpected \"- \""},
      {"illegal map key", "unexpected key"},
      {"illegal flow end", "unexpected closing bracket"},
      {"illegal tab when looking for indentation", "a tab in the indentation"},
      {"illegal EOF in scalar", "a quote is never closed"},
      {"illegal document indicator in scalar", "the document ends inside a quoted scalar"},
      {"end of map not found", "expected a key in line with those above"},
      {"end of map flow not found", "expected \",\" or \"}\""},
      {"end of sequence not found", "expected \"- \" in line with those above"},
      {"end of sequence flow not found", "expected \",\" or \"]\""},
      {"unknown token", "unexpected character"},
      {"alias not found after *", "a lone * (YAML reads it as an alias)"},
      {"anchor not found after &", "a lone & (YAML reads it as an anchor)"},
      {"illegal character found while scanning alias", "YAML reads * as an alias"},
      {"illegal character found while scanning anchor", "YAML reads & as an anchor"},
      {"aliases can't have any content, *including* tags", "YAML reads * as an alias"},
      {"the referenced anchor is not defined", "YAML reads * as an alias, and aliases are refused"},
      {"unexpected character in block scalar", "unexpected text behind | or >"},
  };
  for (const auto& [theirs, ours] : kPlain) {
    if (message.starts_with(theirs)) return std::string(ours);
  }
  return message;
}

// A line such as `filter: "a" == b`, of which YAML can make nothing.
bool looks_like_expression(std::string_view line) {
  for (std::string_view mark : {"==", "!=", "&&", "||", "(", "<=", ">=", " ? "}) {
    if (line.find(mark) != std::string_view::npos) return true;
  }
  size_t value = line.find(": ");
  if (value == std::string_view::npos) return false;
  value = line.find_first_not_of(' ', value + 1);
  if (value == std::string_view::npos || (line[value] != '"' && line[value] != '\'')) return false;
  size_t close = line.find(line[value], value + 1);
  if (close == std::string_view::npos) return false;
  size_t more = line.find_first_not_of(' ', close + 1);
  return more != std::string_view::npos && line[more] != '#' && line[more] != ',' && line[more] != '}' &&
         line[more] != ']';
}

std::string yaml_error_hint(const std::string& message, bool expression, bool tabs) {
  if (message.starts_with("illegal tab") || tabs) return "indent with spaces, not tabs";
  if (expression) return "quote this expression";
  if (message.starts_with("illegal map value")) return "quote a value that contains \": \", or check the indentation";
  if (message.starts_with("unknown escape")) return "use single quotes, or write \\\\ for a backslash";
  return "";
}

void report_yaml_error(const ConfigSource& source, const YAML::Exception& exception, Diagnostics& diagnostics) {
  if (exception.mark.is_null()) {
    diagnostics.error(LintCode::kYamlSyntax, {source.file(), 0, 0}, plain_message(exception.msg));
    return;
  }
  size_t at = source.offset_of(exception.mark.line, exception.mark.column);
  size_t line = source.line_of(at);
  std::string_view text = source.line(line);
  // An error at the first character of a line, or behind the last, is often owed to the line above.
  size_t text_begin = std::min(text.find_first_not_of(" \t"), text.size());
  bool at_line_begin = at <= source.line_start(line) + text_begin;
  bool expression =
      looks_like_expression(text) || (at_line_begin && line > 0 && looks_like_expression(source.line(line - 1)));
  bool tabs = text.substr(0, text_begin).find('\t') != std::string_view::npos;
  std::string message = plain_message(exception.msg);
  if (exception.msg.starts_with("end of map not found") && !at_line_begin) message = "unexpected text behind the value";
  std::string hint = yaml_error_hint(exception.msg, expression, tabs);
  bool at_end = source.text().find_first_not_of(" \t\n", at) == std::string::npos;
  if (exception.msg.starts_with("unknown escape") && at >= 2 && source.at(at - 2) == '\\') {
    at -= 2;
  } else if (exception.msg.ends_with("flow not found") && source.at(at) == '{' && at > 0 && source.at(at - 1) == '$') {
    at--;
    message = "${…} inside a flow map or list";
    hint = "quote a value with variables";
  } else if (at_end && (exception.msg.starts_with("illegal EOF") || exception.msg.ends_with("flow not found"))) {
    size_t opening = find_unclosed(source);
    if (opening != std::string::npos) {
      at = opening;
      message = fmt::format("{} is never closed", source.at(at));
    }
  }
  LintCode code = exception.msg.starts_with("the referenced anchor") ? LintCode::kAlias : LintCode::kYamlSyntax;
  diagnostics.error(code, source.locate(at), message, hint);
}

// Runs yaml-cpp over the source. Errors are reported; what was read before them stays in the collector. False if the
// rest was not read.
bool collect_events(const ConfigSource& source, EventCollector& collector, Diagnostics& diagnostics) {
  std::istringstream stream(source.text());
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(collector)) {
    }
    collector.check_last_quote();
    return true;
  } catch (const StopParsing&) {
  } catch (const YAML::Exception& exception) {
    report_yaml_error(source, exception, diagnostics);
  }
  return false;
}

const Location& no_location() {
  static const Location kNone;
  return kNone;
}
const std::string& no_text() {
  static const std::string kNone;
  return kNone;
}

}  // namespace

// Turns RawNodes into the tree, substituting variables. Recursion is bounded by kMaxConfigDepth.
class ConfigTreeBuilder {
 public:
  ConfigTreeBuilder(std::shared_ptr<const ConfigSource> source, std::vector<RawNode>& nodes,
                    const VariableLookup& variables, Diagnostics& diagnostics)
      : source_(std::move(source)),
        cursor_(*source_),
        nodes_(nodes),
        variables_(variables),
        diagnostics_(diagnostics) {}

  ConfigNode build(size_t root, bool complete) {
    const std::shared_ptr<ConfigNode::Data> top = convert(root, "", true);
    top->complete = complete;
    return ConfigNode(top);
  }

 private:
  std::shared_ptr<ConfigNode::Data> convert(size_t index, std::string path, bool is_root) {
    RawNode& raw = nodes_[index];
    auto data = std::make_shared<ConfigNode::Data>();
    data->kind = raw.kind;
    data->style = raw.style;
    data->flow = raw.flow;
    data->source = source_;
    data->path = std::move(path);
    data->has_key = raw.has_key;
    data->key = std::move(raw.key);
    if (raw.has_key) data->key_at = cursor_.locate(raw.key_offset);
    data->offset = raw.offset;
    data->at = cursor_.locate(raw.offset);
    if (!raw.has_key) data->key_at = data->at;
    if (raw.kind == ConfigNode::Kind::kScalar) {
      if (raw.style == ScalarStyle::kPlain && raw.offset >= split_end_) note_split(*data, raw.text);
      substitute_into(*data, raw);
    } else {
      convert_children(*data, raw, is_root);
    }
    return data;
  }

  void convert_children(ConfigNode::Data& data, const RawNode& raw, bool is_root) {
    data.children.reserve(raw.children.size());
    for (size_t child : raw.children) {
      const std::string& key = nodes_[child].key;
      if (raw.kind == ConfigNode::Kind::kMapping) {
        if (is_root && key.starts_with("x-")) continue;
        data.children.push_back(convert(child, data.path.empty() ? key : data.path + "." + key, false));
      } else {
        data.children.push_back(convert(child, fmt::format("{}[{}]", data.path, data.children.size()), false));
      }
    }
  }

  // Whatever a reader will say about the pieces of a split expression has one cause.
  void note_split(const ConfigNode::Data& data, const std::string& text) {
    const size_t end = scalar_offset(*source_, data.style, data.offset, text.size());
    const auto split = find_split(*source_, data.offset, end, text, data.flow);
    if (!split) return;
    split_end_ = split->end;
    const std::string key = data.has_key ? data.key + ": " : "";
    Diagnostic cause;
    cause.code = LintCode::kExpressionUnquoted;
    cause.at = data.at;
    cause.message =
        split->comment ? "YAML reads the rest of this expression as a comment" : "YAML splits this expression";
    cause.hint = "quote this: " + key + single_quoted(split->whole);
    diagnostics_.explain(data.at, source_->locate(split->end), std::move(cause));
  }

  void substitute_into(ConfigNode::Data& data, RawNode& raw) {
    if (raw.text.find('$') == std::string::npos) {
      data.text = std::move(raw.text);
      return;
    }
    Substitution result = substitute(raw.text, variables_, kMaxSubstitutedBytes - substituted_bytes_);
    for (const Substitution::Problem& problem : result.problems) {
      size_t at = scalar_offset(*source_, raw.style, raw.offset, problem.offset);
      Diagnostic cause;
      cause.code = LintCode::kInterpolation;
      cause.at = cursor_.locate(at);
      cause.message = problem.message;
      cause.hint = problem.hint;
      diagnostics_.error(cause.code, cause.at, cause.message, cause.hint);
      // What a reader says about the value that is missing has this cause.
      const size_t end = scalar_offset(*source_, raw.style, raw.offset, raw.text.size());
      diagnostics_.explain(data.at, source_->locate(end), std::move(cause));
    }
    if (result.too_long) {
      diagnostics_.error(LintCode::kLimit, data.at,
                         fmt::format("variables expand to more than {} bytes", kMaxSubstitutedBytes));
    }
    substituted_bytes_ += result.text.size();
    data.text = std::move(result.text);
    data.pieces = std::move(result.pieces);
    // Nothing came of an unquoted variable: as if nothing stood there.
    if (result.problems.empty() && data.text.empty() && raw.style == ScalarStyle::kPlain)
      data.kind = ConfigNode::Kind::kNull;
  }

  std::shared_ptr<const ConfigSource> source_;
  PositionCursor cursor_;
  std::vector<RawNode>& nodes_;
  const VariableLookup& variables_;
  Diagnostics& diagnostics_;
  size_t substituted_bytes_ = 0;
  size_t split_end_ = 0;  // of the last split expression
};

VariableLookup environment_variables() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

ConfigNode ConfigNode::parse(const std::string& file, const std::string& text, const VariableLookup& variables,
                             Diagnostics& diagnostics) {
  auto nothing = std::make_shared<Data>();
  nothing->at = nothing->key_at = {file, 1, 1};
  nothing->complete = false;
  if (text.size() > kMaxConfigBytes) {
    diagnostics.error(LintCode::kLimit, {file, 0, 0}, fmt::format("larger than {} bytes", kMaxConfigBytes));
    return ConfigNode(nothing);
  }
  diagnostics.add_file(file, text);
  auto source = std::make_shared<const ConfigSource>(file, text);
  if (!check_characters(*source, diagnostics)) return ConfigNode(nothing);
  if (!check_flow_limits(*source, diagnostics)) return ConfigNode(nothing);
  EventCollector collector(*source, diagnostics);
  const bool complete = collect_events(*source, collector, diagnostics);
  nothing->complete = complete;
  if (collector.root() == kNoNode) return ConfigNode(nothing);
  return ConfigTreeBuilder(source, collector.nodes(), variables, diagnostics).build(collector.root(), complete);
}

ConfigNode ConfigNode::load(const std::string& file, const VariableLookup& variables, Diagnostics& diagnostics) {
  Result<std::string> text = read_file(file, kMaxConfigBytes);
  if (!text.is_ok()) {
    LintCode code = text.status().code() == Code::kRecordTooLarge ? LintCode::kLimit : LintCode::kFile;
    diagnostics.error(code, {file, 0, 0}, text.status().message());
    return {};
  }
  return parse(file, *text, variables, diagnostics);
}

ConfigNode::Kind ConfigNode::kind() const { return data_ ? data_->kind : Kind::kNull; }

const Location& ConfigNode::location() const { return data_ ? data_->at : no_location(); }

const Location& ConfigNode::key_location() const { return data_ ? data_->key_at : no_location(); }

const std::string& ConfigNode::text() const {
  MR_CHECK(is_scalar());
  return data_->text;
}

bool ConfigNode::quoted() const {
  return data_ && (data_->style == ScalarStyle::kSingleQuoted || data_->style == ScalarStyle::kDoubleQuoted);
}

Location ConfigNode::location_of(size_t offset) const {
  if (!data_) return {};
  if (data_->kind != Kind::kScalar) return data_->at;
  size_t original = original_offset(data_->pieces, offset);
  return data_->source->locate(scalar_offset(*data_->source, data_->style, data_->offset, original));
}

bool ConfigNode::is_flow() const { return data_ && data_->flow; }

bool ConfigNode::is_complete() const { return data_ && data_->complete; }

size_t ConfigNode::size() const { return data_ ? data_->children.size() : 0; }

ConfigNode ConfigNode::at(size_t index) const {
  MR_CHECK(index < size());
  return ConfigNode(data_->children[index]);
}

const std::string& ConfigNode::key_at(size_t index) const {
  MR_CHECK(is_mapping() && index < size());
  return data_->children[index]->key;
}

std::optional<ConfigNode> ConfigNode::find(std::string_view key) const {
  if (!is_mapping()) return std::nullopt;
  for (const std::shared_ptr<const Data>& child : data_->children) {
    if (child->key == key) return ConfigNode(child);
  }
  return std::nullopt;
}

const std::string& ConfigNode::path() const { return data_ ? data_->path : no_text(); }

}  // namespace millrace
