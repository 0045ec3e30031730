#include "formats/json_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/base64.h"
#include "formats/json_node.h"
#include "formats/json_scan.h"
#include "formats/rfc3339.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

constexpr int64_t kMicrosPerMilli = 1000;
constexpr int64_t kMicrosPerSecond = 1000000;

class JsonDecoder final : public Decoder {
 public:
  explicit JsonDecoder(DecodeRequest request)
      : want_canonical_(request.want_canonical), root_(make_json_tree(request.schema, request.wanted)) {
    for (const JsonNode& field : root_.children) canonical_types_ = canonical_types_ && field.canonical;
  }

  std::vector<ColumnPtr> decode(const std::string_view* payloads, uint32_t rows, const ArenaPtr& arena,
                                uint8_t* canonical, std::vector<DecodeError>& errors) override {
    arena_ = arena.get();
    for (JsonNode& field : root_.children) field.start_batch(rows, *arena_);
    for (uint32_t row = 0; row < rows; row++) {
      const bool ok = decode_row(payloads[row], row);
      if (want_canonical_ && canonical) canonical[row] = ok && canonical_ ? 1 : 0;
      if (ok) continue;
      for (JsonNode& field : root_.children) field.set_null(row, *arena_);
      errors.push_back({row, std::move(message_)});
    }
    std::vector<ColumnPtr> columns(root_.children.size());
    for (size_t i = 0; i < columns.size(); i++)
      if (root_.children[i].wanted) columns[i] = root_.children[i].finish(rows, arena);
    arena_ = nullptr;
    return columns;
  }

 private:
  // A value of the wrong type. Kept until the end of the record, because a later repetition of the field replaces it.
  struct Mismatch {
    uint32_t node;
    std::string message;
  };

  bool decode_row(std::string_view payload, uint32_t row);
  bool fail_row(std::string message) {
    message_ = std::move(message);
    return false;
  }

  // All of these follow the rules of json_scan.h: p is where the token starts, the result is behind it or nullptr.
  const char* parse_fields(JsonNode& node, uint32_t row, const char* p, int depth);
  const char* parse_key(JsonNode& node, int* key, const char* p);
  const char* parse_value(JsonNode& node, uint32_t row, const char* p, int depth);
  const char* parse_number(JsonNode& node, uint32_t row, const char* p, int depth);
  const char* parse_text(JsonNode& node, uint32_t row, const char* p, int depth);
  const char* parse_bool(JsonNode& node, uint32_t row, const char* p, int depth);
  const char* parse_list(JsonNode& node, uint32_t row, const char* p, int depth);

  void store_number(JsonNode& node, uint32_t row, const JsonNumber& number);
  void store_timestamp(JsonNode& node, uint32_t row, const JsonNumber& number);
  void store_int(JsonNode& node, uint32_t row, int64_t value) {
    if (node.wanted) node.ints[row] = value;
  }
  bool replace_repeated(JsonNode& node, uint32_t row);
  void mismatch(const JsonNode& node, std::string message);
  void wrong_type(const JsonNode& node, const char* found) {
    mismatch(node, "expected " + declared_type_name(node.type) + ", found " + found);
  }
  const char* skip_wrong_type(const JsonNode& node, const char* p, int depth);

  const bool want_canonical_;
  JsonNode root_;
  bool canonical_types_ = true;  // every field is written as it is read
  Arena* arena_ = nullptr;
  JsonScan scan_;
  bool canonical_ = true;       // of the current record
  uint64_t objects_ = 0;        // object instances seen, for JsonNode::seen_in
  uint64_t nested_values_ = 0;  // of the current record, bounded by kMaxNestedValues
  std::vector<Mismatch> mismatches_;
  std::string message_;
  std::string scratch_;
};

bool JsonDecoder::decode_row(std::string_view payload, uint32_t row) {
  if (payload.data() == nullptr) return fail_row("no payload (a tombstone)");
  if (payload.size() > kMaxPayloadBytes) return fail_row("payload larger than 64 MiB");
  scan_ = JsonScan{};
  scan_.begin = payload.data();
  scan_.end = scan_.begin + payload.size();
  canonical_ = canonical_types_;
  nested_values_ = 0;
  mismatches_.clear();

  const char* p = skip_space(scan_.begin, scan_.end);
  if (p >= scan_.end) return fail_row("empty payload");
  const bool is_object = *p == '{';
  const char* kind = json_kind(*p);
  p = is_object ? parse_fields(root_, row, p, 1) : skip_json_value(p, scan_, 0);
  if (p) {
    p = skip_space(p, scan_.end);
    if (p != scan_.end) p = scan_.fail(p, "unexpected text behind the value");
  }
  if (!p) return fail_row("malformed JSON at byte " + std::to_string(scan_.at - scan_.begin) + ": " + scan_.reason);
  // Outside strings a byte ≥ 0x80 is malformed anyway, so that all-ASCII records never pay for this.
  if (scan_.non_ascii && !is_valid_utf8(payload)) return fail_row("invalid UTF-8");
  if (!is_object) return fail_row(std::string("expected an object, found ") + kind);
  if (!mismatches_.empty()) return fail_row(std::move(mismatches_.front().message));
  return true;
}

// p: at the opening brace. depth: open containers, this object included.
const char* JsonDecoder::parse_fields(JsonNode& node, uint32_t row, const char* p, int depth) {
  const uint64_t object = ++objects_;
  int previous = JsonKeys::kUnknown;
  int last_field = -1;
  size_t seen = 0;
  p = skip_space(p + 1, scan_.end);
  if (p < scan_.end && *p == '}') {
    p++;
  } else {
    while (true) {
      if (p >= scan_.end || *p != '"') return scan_.fail(p, "expected a field name");
      int key = previous;
      p = parse_key(node, &key, p + 1);
      if (!p) return nullptr;
      previous = key;
      const int field = key == JsonKeys::kUnknown ? -1 : node.keys.field(key);
      if (field != ++last_field) canonical_ = false;
      if (field < 0) {
        p = skip_json_value(p, scan_, depth);
      } else {
        JsonNode& child = node.children[static_cast<size_t>(field)];
        if (child.seen_in == object) {
          if (!replace_repeated(child, row)) return scan_.fail(p, "too many repeated fields");
        } else {
          child.seen_in = object;
          seen++;
        }
        p = parse_value(child, row, p, depth);
      }
      if (!p) return nullptr;
      if (p < scan_.end && *p != ',' && *p != '}') p = skip_space(p, scan_.end);
      if (p >= scan_.end) return scan_.fail(scan_.end, "unterminated object");
      const char separator = *p++;
      if (separator == '}') break;
      if (separator != ',') return scan_.fail(p - 1, "expected ',' or '}'");
      if (p < scan_.end && *p != '"') p = skip_space(p, scan_.end);
    }
  }
  if (seen == node.children.size()) return p;
  canonical_ = false;
  for (JsonNode& child : node.children)
    if (child.seen_in != object) child.set_null(row, *arena_);
  return p;
}

// p: behind the opening quote of a name. Returns the start of the value. *key: in, the previous key; out, this one.
const char* JsonDecoder::parse_key(JsonNode& node, int* key, const char* p) {
  const int previous = *key;
  const char* next = nullptr;
  *key = node.keys.guess(previous, p, scan_.end, &next);
  if (*key == JsonKeys::kUnknown) {
    bool escaped;
    next = scan_string(p, scan_, &escaped);
    if (!next) return nullptr;
    std::string_view name(p, static_cast<size_t>(next - 1 - p));
    if (escaped) {
      scratch_.resize(name.size());
      scratch_.resize(unescape_json(name, scratch_.data()));
      name = scratch_;
    }
    *key = node.keys.find(previous, name, !escaped);
  }
  p = next;
  if (p < scan_.end && *p != ':') p = skip_space(p, scan_.end);
  if (p >= scan_.end || *p != ':') return scan_.fail(p, "expected ':'");
  p++;
  return p<scan_.end&& static_cast<unsigned char>(*p)> ' ' ? p : skip_space(p, scan_.end);
}

const char* JsonDecoder::parse_value(JsonNode& node, uint32_t row, const char* p, int depth) {
  if (p >= scan_.end) return scan_.fail(p, "expected a value");
  if (*p == 'n') {
    node.set_null(row, *arena_);
    return scan_literal(p, scan_, "null");
  }
  switch (node.kind) {
    case TypeKind::kInt:
    case TypeKind::kDouble: return parse_number(node, row, p, depth);
    case TypeKind::kString:
    case TypeKind::kBytes: return parse_text(node, row, p, depth);
    case TypeKind::kTimestamp:
      return node.unit == TimestampUnit::kRfc3339 ? parse_text(node, row, p, depth) : parse_number(node, row, p, depth);
    case TypeKind::kBool: return parse_bool(node, row, p, depth);
    case TypeKind::kList: return parse_list(node, row, p, depth);
    case TypeKind::kStruct:
      if (*p != '{') return skip_wrong_type(node, p, depth);
      if (depth >= static_cast<int>(kMaxJsonDepth)) return scan_.fail(p, "nesting deeper than 128");
      return parse_fields(node, row, p, depth + 1);
    default: break;
  }
  MR_CHECK(false);  // excluded by the precondition of make_json_decoder
  return nullptr;
}

const char* JsonDecoder::parse_number(JsonNode& node, uint32_t row, const char* p, int depth) {
  if (*p != '-' && (*p < '0' || *p > '9')) return skip_wrong_type(node, p, depth);
  JsonNumber number;
  p = scan_number(p, scan_, number);
  if (!p) return nullptr;
  if (node.kind == TypeKind::kInt && number.integral) [[likely]] {
    int64_t value;
    if (!number.to_int(&value)) {
      mismatch(node, "integer out of range");
    } else {
      store_int(node, row, value);
    }
    return p;
  }
  store_number(node, row, number);
  return p;
}

// The rarer numbers.
void JsonDecoder::store_number(JsonNode& node, uint32_t row, const JsonNumber& number) {
  if (node.kind == TypeKind::kInt) return wrong_type(node, "double");
  if (node.kind == TypeKind::kTimestamp) return store_timestamp(node, row, number);
  double value;
  if (!number.to_double(&value)) return mismatch(node, "number out of range");
  // A long integer is rounded: it would not be written as it was read.
  if (number.integral && (!number.exact || number.mantissa > uint64_t{1} << 53)) canonical_ = false;
  if (node.wanted) node.doubles[row] = value;
}

void JsonDecoder::store_timestamp(JsonNode& node, uint32_t row, const JsonNumber& number) {
  int64_t value = 0;
  bool in_range;
  if (number.integral) {
    const int64_t scale = node.unit == TimestampUnit::kMicros    ? 1
                          : node.unit == TimestampUnit::kSeconds ? kMicrosPerSecond
                                                                 : kMicrosPerMilli;
    in_range = number.to_int(&value) && !__builtin_mul_overflow(value, scale, &value);
  } else {
    if (node.unit != TimestampUnit::kSeconds) return wrong_type(node, "double");
    double seconds;
    // 1e12 seconds are far out of range, and their microseconds still fit.
    in_range = number.to_double(&seconds) && std::abs(seconds) < 1e12;
    if (in_range) value = std::llround(seconds * kMicrosPerSecond);
  }
  if (!in_range || value < kMinTimestampUs || value > kMaxTimestampUs) return mismatch(node, "timestamp out of range");
  store_int(node, row, value);
}

// string, bytes (base64), timestamp_rfc3339.
const char* JsonDecoder::parse_text(JsonNode& node, uint32_t row, const char* p, int depth) {
  if (*p != '"') return skip_wrong_type(node, p, depth);
  bool escaped;
  const char* start = p + 1;
  p = scan_string(start, scan_, &escaped);
  if (!p) return nullptr;
  std::string_view text(start, static_cast<size_t>(p - 1 - start));
  if (escaped && (node.wanted || node.kind != TypeKind::kString)) {
    auto* memory = static_cast<char*>(arena_->allocate(text.size()));
    text = {memory, unescape_json(text, memory)};
  }
  if (node.kind == TypeKind::kString) [[likely]] {
    if (node.wanted) node.strings[row] = text;
    return p;
  }
  if (node.kind == TypeKind::kTimestamp) {
    int64_t micros;
    if (!parse_rfc3339(text, &micros)) {
      mismatch(node, "not an RFC 3339 timestamp");
    } else {
      store_int(node, row, micros);
    }
    return p;
  }
  auto* memory = static_cast<char*>(arena_->allocate(base64_decoded_bound(text.size())));
  size_t size;
  if (!decode_base64(text, memory, &size)) {
    mismatch(node, "not base64");
  } else if (node.wanted) {
    node.strings[row] = {memory, size};
  }
  return p;
}

const char* JsonDecoder::parse_bool(JsonNode& node, uint32_t row, const char* p, int depth) {
  if (*p != 't' && *p != 'f') return skip_wrong_type(node, p, depth);
  if (node.wanted) node.bools[row] = *p == 't' ? 1 : 0;
  return scan_literal(p, scan_, *p == 't' ? "true" : "false");
}

const char* JsonDecoder::parse_list(JsonNode& node, uint32_t row, const char* p, int depth) {
  if (*p != '[') return skip_wrong_type(node, p, depth);
  if (depth >= static_cast<int>(kMaxJsonDepth)) return scan_.fail(p, "nesting deeper than 128");
  JsonNode& element = node.children[0];
  const uint32_t begin = element.used;
  uint32_t count = 0;
  p = skip_space(p + 1, scan_.end);
  if (p < scan_.end && *p == ']') {
    p++;
  } else {
    while (true) {
      nested_values_ += element.subtree_end - element.id;
      if (nested_values_ > kMaxNestedValues) return scan_.fail(p, "more than 8,388,608 nested values");
      p = parse_value(element, element.wanted ? element.append_row(*arena_) : 0, p, depth + 1);
      if (!p) return nullptr;
      count++;
      p = skip_space(p, scan_.end);
      if (p >= scan_.end) return scan_.fail(p, "unterminated array");
      const char separator = *p++;
      if (separator == ']') break;
      if (separator != ',') return scan_.fail(p - 1, "expected ',' or ']'");
      p = skip_space(p, scan_.end);
    }
  }
  if (node.wanted) node.spans[row] = {begin, count};
  return p;
}

// Forgets the earlier occurrence of a field. False: the record does this too often (each time costs as much as the
// field is wide).
bool JsonDecoder::replace_repeated(JsonNode& node, uint32_t row) {
  canonical_ = false;
  nested_values_ += node.subtree_end - node.id;
  if (nested_values_ > kMaxNestedValues) return false;
  std::erase_if(mismatches_, [&](const Mismatch& m) { return m.node >= node.id && m.node < node.subtree_end; });
  if (node.wanted) node.clear_null(row);
  return true;
}

void JsonDecoder::mismatch(const JsonNode& node, std::string message) {
  for (const Mismatch& known : mismatches_)
    if (known.node == node.id) return;
  mismatches_.push_back({node.id, "field \"" + node.path + "\": " + message});
}

const char* JsonDecoder::skip_wrong_type(const JsonNode& node, const char* p, int depth) {
  const char first = *p;
  p = skip_json_value(p, scan_, depth);
  if (p) wrong_type(node, json_kind(first));
  return p;
}

}  // namespace

std::unique_ptr<Decoder> make_json_decoder(DecodeRequest request) {
  MR_CHECK(request.wanted.size() == request.schema.size());
  return std::make_unique<JsonDecoder>(std::move(request));
}

}  // namespace millrace
