// millrace lint, millrace plan: check files without running them. No broker is asked.
#include <cstdio>
#include <iostream>

#include "cmd/pipeline_files.h"
#include "cmd/verbs.h"
#include "pipeline/builtins.h"
#include "pipeline/plan.h"
#include "pipeline/testing/test_file.h"

namespace millrace {

int lint_verb(const std::vector<std::string>& paths, const std::string& format) {
  Registries registries;
  register_builtins(registries);
  Diagnostics diagnostics;
  const std::vector<std::string> files = expand_paths(paths, diagnostics);
  for (const std::string& file : files) {
    if (is_test_file(file)) {
      read_test_file(file, environment_variables(), registries, diagnostics);
    } else {
      load_plan(file, environment_variables(), registries, diagnostics);
    }
  }
  if (format == "json") {
    std::cout << diagnostics.render_json() << std::endl;
  } else {
    std::cerr << diagnostics.render_text();
    if (!diagnostics.has_errors()) std::cerr << files.size() << (files.size() == 1 ? " file" : " files") << " ok\n";
  }
  return diagnostics.has_errors() ? kExitConfig : kExitOk;
}

int plan_verb(const std::string& file) {
  Registries registries;
  register_builtins(registries);
  Diagnostics diagnostics;
  const auto plan = load_plan(file, environment_variables(), registries, diagnostics);
  std::cerr << diagnostics.render_text();
  if (!plan) return kExitConfig;
  std::cout << describe_plan(*plan);
  return kExitOk;
}

}  // namespace millrace
