// MR_CHECK: an invariant of our own code. Prints file, line and the condition and aborts, in release builds too. Never
// on user data or the environment: those are Status and Diagnostics.
#pragma once

namespace millrace {
[[noreturn]] void check_failed(const char* file, int line, const char* condition);
}  // namespace millrace

#define MR_CHECK(condition)                                    \
  (__builtin_expect(static_cast<bool>(condition), 1) ? void(0) \
                                                     : ::millrace::check_failed(__FILE__, __LINE__, #condition))
