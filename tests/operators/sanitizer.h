// True in a build with a sanitizer, which runs these tests ten times slower. Model tests take fewer of their cases
// then, but each kind of them: a sanitizer looks at what code does, and the release build at what comes out.
#pragma once

namespace millrace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace millrace
