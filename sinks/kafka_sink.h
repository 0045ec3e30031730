// Kafka sink: rows as records of a topic, through the producer that the recovery mode lends. docs/sinks/kafka.md is the
// user's page.
#pragma once

#include <memory>
#include <string>

#include "sinks/record_encoder.h"
#include "sinks/sink_plan.h"

namespace millrace {

void register_kafka_sink(SinkRegistry& registry);

// encoder: nullptr if only dead letters come. dead_letters: batches of dead_letter_schema() come, alone or among
// others.
std::unique_ptr<Sink> make_kafka_sink(const std::string& name, KafkaSinkSettings settings,
                                      std::unique_ptr<RecordEncoder> encoder, bool dead_letters);

}  // namespace millrace
