#include "base/type.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

Type Type::timestamp(TimestampUnit unit) {
  Type type(TypeKind::kTimestamp);
  type.unit_ = unit;
  return type;
}

Type Type::list(Type element) {
  Type type(TypeKind::kList);
  type.nested_ = std::make_shared<const std::vector<Field>>(std::vector<Field>{{"", std::move(element)}});
  return type;
}

Type Type::structure(std::vector<Field> fields) {
  Type type(TypeKind::kStruct);
  type.nested_ = std::make_shared<const std::vector<Field>>(std::move(fields));
  return type;
}

Type Type::map(Type value) {
  Type type(TypeKind::kMap);
  type.nested_ = std::make_shared<const std::vector<Field>>(std::vector<Field>{{"", std::move(value)}});
  return type;
}

Type Type::unknown() {
  Type type;
  type.unknown_ = true;
  return type;
}

const Type& Type::element() const {
  MR_CHECK(kind_ == TypeKind::kList || kind_ == TypeKind::kMap);
  return nested_->front().type;
}

const std::vector<Field>& Type::fields() const {
  MR_CHECK(kind_ == TypeKind::kStruct);
  return *nested_;
}

int Type::field_index(std::string_view name) const { return find_column(fields(), name); }

std::string Type::to_string() const {
  if (unknown_) return "unknown";
  switch (kind_) {
    case TypeKind::kNull: return "null";
    case TypeKind::kBool: return "bool";
    case TypeKind::kInt: return "int";
    case TypeKind::kDouble: return "double";
    case TypeKind::kString: return "string";
    case TypeKind::kBytes: return "bytes";
    case TypeKind::kTimestamp: return "timestamp";
    case TypeKind::kDuration: return "duration";
    case TypeKind::kList: return "[" + element().to_string() + "]";
    case TypeKind::kMap: return "map of " + element().to_string();
    case TypeKind::kStruct: break;
  }
  std::string text = "{";
  for (const Field& field : fields()) {
    if (text.size() > 1) text += ", ";
    text += field.name + ": " + field.type.to_string();
  }
  return text + "}";
}

bool operator==(const Type& a, const Type& b) {
  if (a.kind_ != b.kind_ || a.unknown_ != b.unknown_) return false;
  if (a.nested_ == b.nested_) return true;
  return a.nested_ && b.nested_ && *a.nested_ == *b.nested_;
}

bool describes_record(const Field& field) { return field.name.starts_with("record."); }

bool has_unknown(const Schema& schema) {
  return std::any_of(schema.begin(), schema.end(), [](const Field& field) { return field.type.is_unknown(); });
}

int find_column(const Schema& schema, std::string_view name) {
  for (size_t i = 0; i < schema.size(); i++)
    if (schema[i].name == name) return static_cast<int>(i);
  return -1;
}

}  // namespace millrace
