#include "state/rocksdb_status.h"

#include <rocksdb/status.h>

#include <string>

namespace millrace {

Status from_rocksdb(const rocksdb::Status& status, std::string_view action) {
  if (status.ok()) return Status::ok();
  const std::string text = status.ToString();
  const std::string message = std::string(action) + ": " + text;
  const auto says = [&](const char* words) { return text.find(words) != std::string::npos; };
  // RocksDB wraps errors of the file system into Corruption here and there, so the disk comes first.
  if (status.IsNoSpace() || says("No space left") || says("quota exceeded")) {
    return Status::terminal(Code::kDiskFull, message);
  }
  if (status.IsIOError() && (says("lock ") || says("LOCK"))) return Status::terminal(Code::kStateLocked, message);
  const bool damaged_file = status.IsPathNotFound() || says("No such file") || says("truncated") || says("too short");
  if (status.IsCorruption() || (status.IsIOError() && damaged_file)) {
    return Status::terminal(Code::kStateCorrupt, message);
  }
  if (status.IsIOError() || status.IsBusy() || status.IsTryAgain() || status.IsTimedOut() || status.IsAborted()) {
    return Status::external(Code::kFileIo, message);
  }
  // A manifest or table that names features which this library does not know is not one of ours.
  if (status.IsNotSupported()) return Status::terminal(Code::kStateCorrupt, message);
  return Status::internal(message);
}

}  // namespace millrace
