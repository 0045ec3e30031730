// Loops over live rows for kernels. The choice between dense and selected rows and between columns and constants is
// made once per batch, so that each loop is as plain as the compiler needs it to vectorise. Internal to expr/.
#pragma once

#include "expr/program.h"

namespace millrace::expr {

template <class Out, class A, class F>
[[gnu::always_inline]] inline void map_one(const Live& live, Out* __restrict out, const A* a, F f) {
  if (live.rows) {
    for (uint32_t i = 0; i < live.count; i++) out[live.rows[i]] = f(a[live.rows[i]]);
  } else {
    for (uint32_t i = 0; i < live.count; i++) out[i] = f(a[i]);
  }
}

// f(a[row], b[row]) for each live row, of values of types A and B.
template <class A, class B, class Out, class F>
[[gnu::always_inline]] inline void map_two(const Live& live, Out* __restrict out, const Vector& left,
                                           const Vector& right, F f) {
  const A* a = values<A>(left);
  const B* b = values<B>(right);
  if (left.constant && right.constant) {
    live.each([&](uint32_t row) { out[row] = f(a[0], b[0]); });
  } else if (right.constant) {
    map_one(live, out, a, [f, y = b[0]](A x) mutable { return f(x, y); });
  } else if (left.constant) {
    map_one(live, out, b, [f, x = a[0]](B y) mutable { return f(x, y); });
  } else if (live.rows) {
    for (uint32_t i = 0; i < live.count; i++) out[live.rows[i]] = f(a[live.rows[i]], b[live.rows[i]]);
  } else {
    for (uint32_t i = 0; i < live.count; i++) out[i] = f(a[i], b[i]);
  }
}

}  // namespace millrace::expr
