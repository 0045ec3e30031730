// The one place where RocksDB's errors become ours.
#pragma once

#include <string_view>

#include "base/status.h"

namespace rocksdb {
class Status;
}

namespace millrace {

// kStateCorrupt: a checksum, a missing file, a format that does not parse. kDiskFull: no space or quota. kStateLocked.
// All else of the environment is kFileIo; misuse is kInternal. OK stays OK. `action` says what we were doing ("cannot
// open /x").
Status from_rocksdb(const rocksdb::Status& status, std::string_view action);

}  // namespace millrace
