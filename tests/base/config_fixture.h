// A document parsed for a test, with its diagnostics in a form that is easy to pin.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <optional>
#include <string>

#include "base/config_node.h"

namespace millrace {

inline std::optional<std::string> test_variable(const std::string& name) {
  if (name == "A") return "value of a";
  if (name == "EMPTY") return "";
  if (name == "RECURSIVE") return "${A}";
  if (name == "BIG") return std::string(100'000, 'x');
  if (name == "PORT") return "9092";
  return std::nullopt;
}

inline std::string place(const Location& at) { return fmt::format("{}:{}", at.line, at.column); }

struct Parsed {
  explicit Parsed(const std::string& text) : root(ConfigNode::parse("t.yaml", text, test_variable, diagnostics)) {}

  // "LINE:COLUMN MRnnnn\n" of each diagnostic, in the order of reporting.
  std::string codes() const {
    std::string all;
    for (const Diagnostic& one : diagnostics.all()) {
      all += fmt::format("{} MR{}\n", place(one.at), static_cast<int>(one.code));
    }
    return all;
  }
  // The same with message and hint.
  std::string text() const {
    std::string all;
    for (const Diagnostic& one : diagnostics.all()) {
      all += fmt::format("{} MR{} {}{}{}\n", place(one.at), static_cast<int>(one.code), one.message,
                         one.hint.empty() ? "" : "; ", one.hint);
    }
    return all;
  }
  void visit(const std::function<void(const ConfigNode&)>& f) const { visit(root, f); }
  static void visit(const ConfigNode& node, const std::function<void(const ConfigNode&)>& f) {
    f(node);
    for (size_t i = 0; i < node.size(); i++) visit(node.at(i), f);
  }

  Diagnostics diagnostics;
  ConfigNode root;
};

}  // namespace millrace
