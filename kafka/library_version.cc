#include "kafka/library_version.h"

#include <librdkafka/rdkafka.h>

namespace millrace {

std::string kafka_library_version() { return rd_kafka_version_str(); }

}  // namespace millrace
