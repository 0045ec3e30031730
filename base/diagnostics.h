// Diagnostics: what lint says. Every configuration error is collected, none is thrown on the way; the one place that
// renders them is cmd/. Not thread-safe: one Diagnostics per load. An exact repetition is dropped; 1,000 are kept, the
// rest is only counted. Rendering sorts by file (in the order of add_file), line and column.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// 1-based position in a file; columns count characters (code points), a tab is one. Line 0: the file as a whole.
struct Location {
  std::string file;
  int line = 0;
  int column = 0;
};

enum class Severity { kError, kWarning };

// Stable numbers of lint, printed as MRnnnn and documented in docs/errors.md.
enum class LintCode : int {
  kYamlSyntax = 1001,    // not YAML, or more than one document
  kLimit = 1002,         // file size, depth, number of nodes
  kAlias = 1003,         // aliases are refused
  kDuplicateKey = 1004,  // second occurrence
  kUnknownKey = 1005,
  kMissingKey = 1006,     // at the parent
  kUnknownField = 1007,   // a name in an expression or a list of columns
  kWrongType = 1008,      // a scalar of the wrong type, a list where a map belongs …
  kBadValue = 1009,       // right type, not allowed (range, enum, pattern)
  kInterpolation = 1010,  // undefined ${VAR}
  kUnknownKind = 1011,    // unknown source, operator, sink, aggregate, format
  kExpressionSyntax = 1012,
  kExpressionType = 1013,
  kExpressionUnquoted = 1014,  // YAML split an expression: quote it
  kUnknownInput = 1015,        // input: names nothing
  kCycle = 1016,
  kGuarantee = 1017,  // a sink that cannot keep the promise
  kEdge = 1018,       // an aggregate over an upsert edge without retractions
  kUnionMismatch = 1019,
  kConflict = 1020,  // keys that exclude each other
  kProperty = 1021,  // librdkafka property that is not allow-listed
  kFile = 1022,      // cannot be read
  kUnused = 1023,    // nobody reads this output
  kDuplicateName = 1024,
  kUnsupported = 1025,  // known to the design, not in this build
};

struct Diagnostic {
  Severity severity = Severity::kError;
  LintCode code = LintCode::kBadValue;
  Location at;
  std::string message;      // lower case, no period
  std::string hint;         // may be empty: did you mean "amount"?
  std::string source_line;  // the line of the file (its first 4 KiB), without its newline; empty if unknown
};

class Diagnostics {
 public:
  void error(LintCode code, const Location& at, std::string message, std::string hint = "");
  void warning(LintCode code, const Location& at, std::string message, std::string hint = "");
  // Errors between two positions of one file (both included) have this cause: it is reported in place of them, once,
  // also of those that have been reported. Variables that are not set and limits are errors of their own.
  void explain(const Location& begin, const Location& end, Diagnostic cause);
  // Gives the text that positions refer to, so that diagnostics carry their line. Call before errors; ConfigNode::parse
  // does. The same file again replaces the text.
  void add_file(const std::string& file, std::string text);
  bool has_errors() const { return errors_ > 0; }
  size_t error_count() const { return errors_; }
  const std::vector<Diagnostic>& all() const { return all_; }
  // orders.yaml:14:9: error[MR1007]: unknown field "amout" in …; did you mean "amount"?
  //    14 |         revenue: sum(amout)
  //       |         ^
  std::string render_text() const;
  // A JSON array of {file, line, column, severity, code, message, hint}.
  std::string render_json() const;

 private:
  void add(Severity severity, LintCode code, const Location& at, std::string message, std::string hint);
  struct Explanation {
    Location begin, end;
    Diagnostic cause;
  };
  const Diagnostic* cause_of(LintCode code, const Location& at) const;
  bool is_known(const Diagnostic& diagnostic) const;
  struct SourceFile {
    std::string name;
    std::string text;
    std::vector<size_t> line_starts;
  };
  std::string_view source_line(const Location& at) const;
  std::vector<const Diagnostic*> in_file_order() const;
  std::vector<Diagnostic> all_;
  std::vector<SourceFile> files_;
  std::vector<Explanation> explanations_;
  size_t errors_ = 0;
  size_t not_kept_ = 0;
};

// The candidate nearest to `name` by edit distance, or "" when none is near enough to be meant.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);
// `did you mean "x"?`, or "" without a near candidate.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace millrace
