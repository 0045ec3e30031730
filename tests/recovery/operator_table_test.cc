#include "recovery/operator_table.h"

#include <doctest/doctest.h>

namespace millrace {
namespace {

RecoverySettings with_operators(std::vector<RecoverySettings::Keyed> operators) {
  RecoverySettings settings;
  settings.pipeline = "p";
  settings.operators = std::move(operators);
  return settings;
}

ProgressRecord record_of(const RecoverySettings& settings) {
  Result<OperatorTable> table = settle_operators(settings, nullptr, {}, Logger());
  ProgressRecord record;
  apply_identity({"p", "local", 1, settings.shards, table->operators, table->next_operator}, &record);
  return record;
}

}  // namespace

TEST_CASE("operators keep their numbers whatever their order, new ones get numbers that were never used") {
  ProgressRecord record = record_of(with_operators({{"a", "x"}, {"b", "y"}}));
  CHECK(record.operators[0].number == 1);
  CHECK(record.operators[1].number == 2);
  Result<OperatorTable> table = settle_operators(with_operators({{"c", "z"}, {"b", "y"}}), &record, {}, Logger());
  REQUIRE(table.is_ok());
  CHECK(table->operators[0].number == 3);
  CHECK(table->operators[1].number == 2);
  CHECK(table->fresh == std::vector<std::string>{"c"});
  CHECK(table->dropped == std::vector<uint16_t>{1});
  CHECK_FALSE(table->reset);
  apply_identity({"p", "local", 1, 16, table->operators, table->next_operator}, &record);
  Result<OperatorTable> again = settle_operators(with_operators({{"a", "x"}}), &record, {}, Logger());
  CHECK(again->operators[0].number == 4);
}

TEST_CASE("a changed descriptor, shard count or codec is refused, and resets under --accept-reset") {
  RecoverySettings settings = with_operators({{"a", "sum(int)"}, {"b", "y"}});
  ProgressRecord record = record_of(settings);
  settings.operators[0].descriptor = "sum(double)";
  Result<OperatorTable> refused = settle_operators(settings, &record, {}, Logger());
  REQUIRE(!refused.is_ok());
  CHECK(refused.status().code() == Code::kStateIncompatible);
  for (const char* part : {"\"a\"", "sum(int)", "sum(double)", "--accept-reset"}) {
    CHECK(refused.status().message().find(part) != std::string::npos);
  }
  settings.accept_reset = true;
  Result<OperatorTable> reset = settle_operators(settings, &record, {}, Logger());
  REQUIRE(reset.is_ok());
  CHECK(reset->reset);
  CHECK(reset->operators[0].number == 3);
  CHECK(reset->operators[1].number == 2);
  CHECK(reset->dropped == std::vector<uint16_t>{1});

  settings = with_operators({{"a", "sum(int)"}, {"b", "y"}});
  settings.shards = 32;
  CHECK(settle_operators(settings, &record, {}, Logger()).status().code() == Code::kStateIncompatible);
  settings.accept_reset = true;
  reset = settle_operators(settings, &record, {}, Logger());
  CHECK(reset->dropped.size() == 2);
  CHECK(reset->operators[1].number == 4);
  settings = with_operators({{"a", "sum(int)"}});
  record.key_codec = 9;
  CHECK(settle_operators(settings, &record, {}, Logger()).status().code() == Code::kStateIncompatible);
}

}  // namespace millrace
