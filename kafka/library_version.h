// Version of the linked librdkafka. Any thread.
#pragma once

#include <string>

namespace millrace {

std::string kafka_library_version();

}  // namespace millrace
