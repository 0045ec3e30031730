#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace millrace {

void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: MR_CHECK failed: %s (MR9001: this is a bug in millrace)\n", file, line, condition);
  std::fflush(stderr);
  std::abort();
}

std::string Status::to_string() const {
  if (is_ok()) return "ok";
  return "MR" + std::to_string(static_cast<int>(code_)) + ": " + message_;
}

Status Status::with_context(const std::string& context) const {
  if (is_ok()) return *this;
  return Status(code_, fault_, retry_, context + ": " + message_);
}

}  // namespace millrace
