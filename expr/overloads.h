// The functions and operators of the language whose types are fixed; those over lists, structs and maps of any type are
// resolved by the checker. Internal to expr/.
#pragma once

#include <string_view>
#include <vector>

#include "expr/program.h"

namespace millrace::expr {

// A type in the table: a kind, or a list of it.
struct OverloadType {
  // What a text argument is read as before it is used.
  enum class Text : uint8_t { kPlain, kPattern, kZone, kTimeFormat };

  constexpr OverloadType(TypeKind k) : kind(k) {}  // NOLINT: tables are written in kinds
  constexpr OverloadType(TypeKind k, Text t) : kind(k), text(t) {}
  static OverloadType list_of(TypeKind k) {
    OverloadType type(k);
    type.list = true;
    return type;
  }
  Type type() const { return list ? Type::list(Type(kind)) : Type(kind); }
  bool takes(const Type& type) const {
    if (!list) return type.kind() == kind;
    return type.kind() == TypeKind::kList &&
           (type.element().kind() == kind || type.element().kind() == TypeKind::kNull);
  }

  TypeKind kind;
  bool list = false;
  Text text = Text::kPlain;
};

struct Overload {
  std::string_view name;
  std::vector<OverloadType> args;
  OverloadType result;
  Kernel kernel;
  bool member = false;  // receiver.f(…)
  bool cheap = false;
  bool lenient = false;
};

// All overloads; built once, immutable.
const std::vector<Overload>& all_overloads();

// One per file of kernels.
void add_arithmetic(std::vector<Overload>& table);
void add_comparisons(std::vector<Overload>& table);
void add_text_functions(std::vector<Overload>& table);
void add_substring_functions(std::vector<Overload>& table);
void add_split_functions(std::vector<Overload>& table);
void add_pattern_functions(std::vector<Overload>& table);
void add_conversions(std::vector<Overload>& table);
void add_number_functions(std::vector<Overload>& table);
void add_time_functions(std::vector<Overload>& table);

// out[row] = texts[row] == constant.
void equal_to_constant(const Live& live, uint8_t* out, const std::string_view* texts, std::string_view constant);

// Kernels of any type.
namespace kernels {
void equal_any(Frame&, const Node&, const Vector*, const Live&, Vector&);         // [a, b]; number: 1 negates
void is_null(Frame&, const Node&, const Vector*, const Live&, Vector&);           // [a]; number: 1 negates
void in_list(Frame&, const Node&, const Vector*, const Live&, Vector&);           // [item, list]
void in_set(Frame&, const Node&, const Vector*, const Live&, Vector&);            // [item]; set
void in_map(Frame&, const Node&, const Vector*, const Live&, Vector&);            // [key, map]
void list_size(Frame&, const Node&, const Vector*, const Live&, Vector&);         // [list or map]
void list_item(Frame&, const Node&, const Vector*, const Live&, Vector&);         // [list, int]
void list_concat(Frame&, const Node&, const Vector*, const Live&, Vector&);       // [list, list]
void list_literal(Frame&, const Node&, const Vector*, const Live&, Vector&);      // items; type: the list's
void struct_field(Frame&, const Node&, const Vector*, const Live&, Vector&);      // [struct]; number: field
void has_struct_field(Frame&, const Node&, const Vector*, const Live&, Vector&);  // [struct]; number: field
void map_item(Frame&, const Node&, const Vector*, const Live&, Vector&);          // [map, key]
void has_map_key(Frame&, const Node&, const Vector*, const Live&, Vector&);       // [map, key]
void random_int(Frame&, const Node&, const Vector*, const Live&, Vector&);        // [lo, hi, index]; number: mix
}  // namespace kernels

}  // namespace millrace::expr
