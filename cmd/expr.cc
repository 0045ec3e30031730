// millrace expr: evaluates an expression on one JSON record; the types of its fields are those of the JSON.
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cmd/verbs.h"
#include "expr/expression.h"
#include "formats/format.h"

namespace millrace {
namespace {

Type type_of(const nlohmann::json& value) {
  if (value.is_boolean()) return Type(TypeKind::kBool);
  if (value.is_number_integer()) return Type(TypeKind::kInt);
  if (value.is_number()) return Type(TypeKind::kDouble);
  if (value.is_array()) return Type::list(value.empty() ? Type(TypeKind::kString) : type_of(value[0]));
  if (value.is_object()) {
    std::vector<Field> fields;
    for (const auto& [name, field] : value.items()) fields.push_back({name, type_of(field)});
    return Type::structure(std::move(fields));
  }
  return Type(TypeKind::kString);
}

// A null field says nothing of its type: that which suits the expression best.
ExpressionPtr compile_with_nulls(const AstPtr& ast, const nlohmann::json& record, Schema& schema,
                                 std::vector<ExpressionError>& errors) {
  static constexpr TypeKind kCandidates[] = {TypeKind::kString, TypeKind::kInt, TypeKind::kDouble, TypeKind::kBool,
                                             TypeKind::kTimestamp};
  Scope scope;
  scope.schema = &schema;
  ExpressionPtr compiled = compile_expression(ast, scope, &errors);
  for (Field& field : schema) {
    if (compiled) break;
    if (!record[field.name].is_null()) continue;
    Type best = field.type;
    for (const TypeKind candidate : kCandidates) {
      field.type = Type(candidate);
      std::vector<ExpressionError> found;
      compiled = compile_expression(ast, scope, &found);
      if (!compiled && found.size() >= errors.size()) continue;
      best = field.type;
      errors = std::move(found);
      if (compiled) break;
    }
    field.type = best;
  }
  return compiled;
}

void print_caret(const std::string& text, const ExpressionError& error) {
  std::cerr << "1:" << error.offset + 1 << ": error[MR" << static_cast<int>(error.code) << "]: " << error.message;
  if (!error.hint.empty()) std::cerr << "; " << error.hint;
  std::cerr << "\n  " << text << "\n  " << std::string(error.offset, ' ') << "^\n";
}

}  // namespace

int expr_verb(const std::string& expression, const std::string& json) {
  const nlohmann::json record = nlohmann::json::parse(json, nullptr, false);
  if (!record.is_object()) {
    std::cerr << "millrace expr: --json is not a JSON object\n";
    return kExitUsage;
  }
  const Type type = type_of(record);
  Schema schema = type.fields();
  ExpressionError syntax;
  const AstPtr ast = parse_expression(expression, &syntax);
  if (!ast) {
    print_caret(expression, syntax);
    return kExitConfig;
  }
  std::vector<ExpressionError> errors;
  const ExpressionPtr compiled = compile_with_nulls(ast, record, schema, errors);
  for (const ExpressionError& error : errors) print_caret(expression, error);
  if (!compiled) return kExitConfig;

  DecodeRequest request;
  request.schema = schema;
  request.wanted.assign(schema.size(), true);
  Diagnostics diagnostics;
  const auto decoder = make_decoder("json", request, {}, diagnostics);
  std::string padded = json + std::string(kPayloadPadding, '\0');
  const std::string_view payload(padded.data(), json.size());
  auto arena = std::make_shared<Arena>();
  std::vector<DecodeError> decode_errors;
  Batch batch;
  batch.rows = 1;
  batch.columns = decoder->decode(&payload, 1, arena, nullptr, decode_errors);
  if (!decode_errors.empty()) {
    std::cerr << "millrace expr: " << decode_errors[0].message << "\n";
    return kExitFailed;
  }
  RowErrors row_errors;
  const ColumnPtr result = make_evaluator(compiled)->evaluate(batch, arena, row_errors);
  if (!row_errors.empty()) {
    std::cerr << "error: " << row_errors.entries[0].message << "\n";
    return kExitFailed;
  }
  std::string text;
  append_json_value(*result, 0, text);
  std::cout << text << std::endl;
  return kExitOk;
}

}  // namespace millrace
