// Registration of the built-in operators and aggregates, one function per kind. pipeline/builtins.cc calls them; a
// double name is a bug.
#pragma once

#include <memory>

#include "operators/aggregate.h"
#include "operators/operator_plan.h"

namespace millrace {

void register_deduplicate(OperatorRegistry& registry);
void register_drop(OperatorRegistry& registry);
void register_extend(OperatorRegistry& registry);
void register_filter(OperatorRegistry& registry);
void register_flat_map(OperatorRegistry& registry);
void register_process(OperatorRegistry& registry);
void register_select(OperatorRegistry& registry);
void register_top_n(OperatorRegistry& registry);
// The operator `aggregate` over these aggregate functions.
void register_aggregate(OperatorRegistry& registry, std::shared_ptr<const AggregateRegistry> aggregates);

void register_approx_distinct(AggregateRegistry& registry);
void register_avg(AggregateRegistry& registry);
void register_collect(AggregateRegistry& registry);
void register_count(AggregateRegistry& registry);  // count, count_if
void register_count_distinct(AggregateRegistry& registry);
void register_first_last(AggregateRegistry& registry);
void register_fold(AggregateRegistry& registry);
void register_min_max(AggregateRegistry& registry);
void register_quantile(AggregateRegistry& registry);
void register_sum(AggregateRegistry& registry);
// All of the above aggregates.
std::shared_ptr<const AggregateRegistry> builtin_aggregates();

}  // namespace millrace
