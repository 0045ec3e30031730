#include "base/crash_point.h"

#include <atomic>
#include <csignal>
#include <cstdlib>

#include "base/check.h"

namespace millrace {
namespace {

struct Target {
  std::string name;
  long pass = 1;
};

Target parse_target() {
  const char* text = std::getenv("MILLRACE_CRASHPOINT");
  if (text == nullptr) return {};
  std::string name = text;
  long pass = 1;
  if (size_t colon = name.rfind(':'); colon != std::string::npos) {
    pass = std::strtol(name.c_str() + colon + 1, nullptr, 10);
    name.resize(colon);
  }
  return {name, pass};
}

// Constant for the life of the process: read once, before threads exist, so that a pass needs no lock.
const Target& target() {
  static const Target parsed = parse_target();
  return parsed;
}

std::atomic<long> passes{0};

}  // namespace

namespace crash_point_internal {

const bool armed = !target().name.empty();

void pass(const char* name) {
  MR_CHECK(std::binary_search(std::begin(kCrashPoints), std::end(kCrashPoints), std::string_view(name)));
  if (!armed || target().name != name) return;
  if (passes.fetch_add(1) + 1 == target().pass) std::raise(SIGKILL);
}

}  // namespace crash_point_internal

std::vector<std::string> crash_point_names() { return {std::begin(kCrashPoints), std::end(kCrashPoints)}; }

}  // namespace millrace
