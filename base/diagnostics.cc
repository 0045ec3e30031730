#include "base/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

namespace millrace {
namespace {

constexpr size_t kMaxDiagnostics = 1000;  // the rest is counted only
constexpr size_t kMaxSourceLineBytes = 4096;
constexpr int kMaxRenderedColumns = 160;
constexpr size_t kMaxNameBytes = 100;  // longer names have no near candidate

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

// The byte `count` characters behind `from`, at most text.size().
size_t advance(std::string_view text, size_t from, int count) {
  while (count > 0 && from < text.size()) {
    from++;
    while (from < text.size() && is_continuation(text[from])) from++;
    count--;
  }
  return from;
}

// Terminals obey control characters: show none but the tab.
std::string printable(std::string_view text) {
  std::string shown(text);
  for (char& c : shown) {
    auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) c = '?';
  }
  return shown;
}

// Two lines: the source with its number, and the caret. Long lines are cut to a window around the caret.
std::string render_source(std::string_view line, int number, int column) {
  int caret = std::max(column, 1) - 1;
  size_t begin = 0;
  size_t end = line.size();
  std::string left, right;
  if (advance(line, 0, kMaxRenderedColumns) < line.size()) {
    int first = std::max(0, caret - kMaxRenderedColumns / 2);
    begin = advance(line, 0, first);
    end = advance(line, begin, kMaxRenderedColumns);
    if (begin > 0) left = "…";
    if (end < line.size()) right = "…";
    caret -= first;
  }
  std::string_view shown = line.substr(begin, end - begin);
  std::string padding(left.empty() ? 0 : 1, ' ');
  size_t at = 0;
  for (int i = 0; i < caret && at < shown.size(); i++) {
    padding += shown[at] == '\t' ? '\t' : ' ';
    at = advance(shown, at, 1);
  }
  return fmt::format("{:>5} | {}{}{}\n      | {}^\n", number, left, printable(shown), right, padding);
}

// Optimal string alignment: Levenshtein with transpositions of neighbours.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) previous[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

}  // namespace

void Diagnostics::error(LintCode code, const Location& at, std::string message, std::string hint) {
  add(Severity::kError, code, at, std::move(message), std::move(hint));
}

void Diagnostics::warning(LintCode code, const Location& at, std::string message, std::string hint) {
  add(Severity::kWarning, code, at, std::move(message), std::move(hint));
}

void Diagnostics::add(Severity severity, LintCode code, const Location& at, std::string message, std::string hint) {
  if (all_.size() >= kMaxDiagnostics) {
    not_kept_++;
    if (severity == Severity::kError) errors_++;
    return;
  }
  Diagnostic found{severity, code, at, std::move(message), std::move(hint), ""};
  if (severity == Severity::kError) {
    if (const Diagnostic* cause = cause_of(code, at)) found = *cause;
  }
  // Repetitions count: who compares error_count() before and after wants to know that something failed.
  if (found.severity == Severity::kError) errors_++;
  if (is_known(found)) return;
  found.source_line = source_line(found.at).substr(0, kMaxSourceLineBytes);
  all_.push_back(std::move(found));
}

bool Diagnostics::is_known(const Diagnostic& diagnostic) const {
  return std::any_of(all_.begin(), all_.end(), [&](const Diagnostic& other) {
    return other.code == diagnostic.code && other.at.line == diagnostic.at.line &&
           other.at.column == diagnostic.at.column && other.at.file == diagnostic.at.file &&
           other.message == diagnostic.message;
  });
}

const Diagnostic* Diagnostics::cause_of(LintCode code, const Location& at) const {
  if (code == LintCode::kInterpolation || code == LintCode::kLimit) return nullptr;
  const auto place = std::tie(at.line, at.column);
  for (const Explanation& known : explanations_) {
    if (known.begin.file == at.file && place >= std::tie(known.begin.line, known.begin.column) &&
        place <= std::tie(known.end.line, known.end.column))
      return &known.cause;
  }
  return nullptr;
}

void Diagnostics::explain(const Location& begin, const Location& end, Diagnostic cause) {
  if (explanations_.size() >= kMaxDiagnostics) return;
  explanations_.push_back({begin, end, std::move(cause)});
  const bool too_late = std::any_of(all_.begin(), all_.end(), [&](const Diagnostic& found) {
    return cause_of(found.code, found.at) == &explanations_.back().cause;
  });
  if (!too_late) return;
  std::vector<Diagnostic> before = std::move(all_);
  all_.clear();
  for (Diagnostic& found : before) {
    if (found.severity == Severity::kError) errors_--;
    add(found.severity, found.code, found.at, std::move(found.message), std::move(found.hint));
  }
}

void Diagnostics::add_file(const std::string& file, std::string text) {
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  SourceFile source{file, std::move(text), {0}};
  for (size_t i = 0; i < source.text.size(); i++) {
    if (source.text[i] == '\n') source.line_starts.push_back(i + 1);
  }
  for (SourceFile& known : files_) {
    if (known.name == file) {
      known = std::move(source);
      return;
    }
  }
  files_.push_back(std::move(source));
}

std::string_view Diagnostics::source_line(const Location& at) const {
  for (const SourceFile& file : files_) {
    if (file.name != at.file) continue;
    if (at.line < 1 || static_cast<size_t>(at.line) > file.line_starts.size()) return {};
    auto index = static_cast<size_t>(at.line) - 1;
    size_t begin = file.line_starts[index];
    size_t end = index + 1 < file.line_starts.size() ? file.line_starts[index + 1] - 1 : file.text.size();
    std::string_view line = std::string_view(file.text).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }
  return {};
}

std::vector<const Diagnostic*> Diagnostics::in_file_order() const {
  std::vector<std::string_view> names;
  for (const SourceFile& file : files_) names.push_back(file.name);
  auto rank = [&](const std::string& file) {
    return static_cast<size_t>(std::find(names.begin(), names.end(), file) - names.begin());
  };
  std::vector<const Diagnostic*> sorted;
  for (const Diagnostic& diagnostic : all_) {
    if (rank(diagnostic.at.file) == names.size()) names.push_back(diagnostic.at.file);
    sorted.push_back(&diagnostic);
  }
  std::stable_sort(sorted.begin(), sorted.end(), [&](const Diagnostic* a, const Diagnostic* b) {
    return std::tuple(rank(a->at.file), a->at.line, a->at.column) <
           std::tuple(rank(b->at.file), b->at.line, b->at.column);
  });
  return sorted;
}

std::string Diagnostics::render_text() const {
  std::string out;
  for (const Diagnostic* diagnostic : in_file_order()) {
    const Location& at = diagnostic->at;
    if (!at.file.empty()) out += at.file + ":";
    if (at.line > 0) out += fmt::format("{}:{}:", at.line, at.column);
    if (!out.empty() && out.back() == ':') out += ' ';
    out += fmt::format("{}[MR{}]: {}", diagnostic->severity == Severity::kError ? "error" : "warning",
                       static_cast<int>(diagnostic->code), printable(diagnostic->message));
    if (!diagnostic->hint.empty()) out += "; " + printable(diagnostic->hint);
    out += '\n';
    std::string_view line = source_line(at);
    if (line.empty()) line = diagnostic->source_line;
    if (at.line > 0 && !line.empty()) out += render_source(line, at.line, at.column);
  }
  if (not_kept_ > 0) out += fmt::format("and {} more\n", not_kept_);
  return out;
}

std::string Diagnostics::render_json() const {
  auto array = nlohmann::ordered_json::array();
  for (const Diagnostic* diagnostic : in_file_order()) {
    nlohmann::ordered_json entry;
    entry["file"] = diagnostic->at.file;
    entry["line"] = diagnostic->at.line;
    entry["column"] = diagnostic->at.column;
    entry["severity"] = diagnostic->severity == Severity::kError ? "error" : "warning";
    entry["code"] = fmt::format("MR{}", static_cast<int>(diagnostic->code));
    entry["message"] = diagnostic->message;
    entry["hint"] = diagnostic->hint;
    array.push_back(std::move(entry));
  }
  return array.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty() || name.size() > kMaxNameBytes) return "";
  std::string lower = lower_case(name);
  std::string best;
  size_t best_distance = SIZE_MAX;
  for (const std::string& candidate : candidates) {
    if (candidate.empty() || candidate.size() > kMaxNameBytes) continue;
    size_t longer = std::max(name.size(), candidate.size());
    size_t distance = lower == lower_case(candidate) ? 1 : edit_distance(name, candidate);
    if (distance > std::max<size_t>(1, longer / 3) || distance >= longer || distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  std::string candidate = nearest(name, candidates);
  return candidate.empty() ? "" : fmt::format("did you mean \"{}\"?", candidate);
}

}  // namespace millrace
