#include "sinks/sink.h"

namespace millrace {

Schema dead_letter_schema() {
  return {{"value", Type(TypeKind::kBytes)},  {"key", Type(TypeKind::kBytes)},
          {"error", Type(TypeKind::kString)}, {"operator", Type(TypeKind::kString)},
          {"topic", Type(TypeKind::kString)}, {"partition", Type(TypeKind::kInt)},
          {"offset", Type(TypeKind::kInt)}};
}

}  // namespace millrace
