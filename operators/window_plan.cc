#include "operators/window_plan.h"

#include "operators/hopping_operator.h"
#include "operators/key_window_operator.h"
#include "operators/window_blocks.h"
#include "operators/window_operator.h"

namespace millrace {

using Kind = WindowSpec::Kind;

bool depends_on_rows(const WindowSpec& window) {
  return window.kind == Kind::kSession || window.kind == Kind::kSliding || window.kind == Kind::kCount;
}

bool check_emit(const WindowSpec& window, const EmitSpec& emit, const Location& window_at, Diagnostics& diagnostics) {
  const bool anchored = window.kind == Kind::kSliding || window.kind == Kind::kCount;
  if (!anchored || (emit.early_count == 0 && !emit.early_when && !emit.discarding)) return true;
  diagnostics.error(LintCode::kConflict, window_at,
                    "early count, early when and accumulation discarding do not go with this kind of window",
                    "early: {every: D}, or emit: each");
  return false;
}

bool appends(const WindowSpec& window, const EmitSpec& emit) {
  if (emit.discarding) return true;
  // A window that never ends is shown at the end of every run.
  if (!window.any() || window.kind == Kind::kGlobal) return false;
  if (emit.mode == EmitMode::kFinal) return true;
  const bool again = emit.early() || (emit.late_updates && window.allowed_lateness_ms > 0);
  return emit.mode == EmitMode::kClose && !again;
}

std::string own_slots_descriptor(const AggregateProgram& program) {
  return std::string(is_sliced(program) ? " slices" : "") + (WindowBlocks::has_trigger(program) ? " trigger" : "") +
         (WindowBlocks::keeps_shown(program) ? " shown" : "");
}

std::unique_ptr<Operator> make_windowed_operator(std::shared_ptr<const AggregateProgram> program) {
  if (depends_on_rows(program->window)) return make_key_window_operator(std::move(program));
  if (is_sliced(*program)) return make_hopping_operator(std::move(program));
  return make_window_operator(std::move(program));
}

}  // namespace millrace
