// millrace version: what this binary is made of.
#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/verbs.h"
#include "kafka/library_version.h"
#include "state/library_version.h"

namespace millrace {

int version_verb(bool json) {
  if (json) {
    const nlohmann::ordered_json document = {{"name", "millrace"},
                                             {"version", MILLRACE_VERSION},
                                             {"librdkafka", kafka_library_version()},
                                             {"rocksdb", rocksdb_library_version()},
                                             {"compiler", __VERSION__}};
    std::cout << document.dump() << std::endl;
  } else {
    std::cout << "millrace " << MILLRACE_VERSION << " (librdkafka " << kafka_library_version() << ", RocksDB "
              << rocksdb_library_version() << ")" << std::endl;
  }
  return kExitOk;
}

}  // namespace millrace
