#include "state/library_version.h"

#include <rocksdb/version.h>

namespace millrace {

std::string rocksdb_library_version() {
  return std::to_string(ROCKSDB_MAJOR) + "." + std::to_string(ROCKSDB_MINOR) + "." + std::to_string(ROCKSDB_PATCH);
}

}  // namespace millrace
