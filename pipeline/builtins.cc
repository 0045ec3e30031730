#include "pipeline/builtins.h"

#include <memory>

#include "operators/registration.h"
#include "sinks/blackhole_sink.h"
#include "sinks/file_sink.h"
#include "sinks/kafka_sink.h"
#include "sinks/stdout_sink.h"
#include "sources/file_source.h"
#include "sources/generator_source.h"
#include "sources/kafka_source.h"

namespace millrace {

void register_builtins(Registries& registries) {
  register_file_source(registries.sources);
  register_generator_source(registries.sources);
  register_kafka_source(registries.sources);

  register_aggregate(registries.operators, builtin_aggregates());
  register_deduplicate(registries.operators);
  register_drop(registries.operators);
  register_extend(registries.operators);
  register_filter(registries.operators);
  register_flat_map(registries.operators);
  register_process(registries.operators);
  register_select(registries.operators);
  register_top_n(registries.operators);

  register_blackhole_sink(registries.sinks);
  register_file_sink(registries.sinks);
  register_kafka_sink(registries.sinks);
  register_stdout_sink(registries.sinks);
}

}  // namespace millrace
