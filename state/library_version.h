// Version of the linked RocksDB. Any thread.
#pragma once

#include <string>

namespace millrace {

std::string rocksdb_library_version();

}  // namespace millrace
