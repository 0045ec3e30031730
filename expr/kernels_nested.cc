// Lists, structs and maps: kernels of any element type. Values are not copied where a row number can stand for them.
#include <fmt/format.h>

#include <algorithm>

#include "expr/overloads.h"
#include "expr/utf8.h"

namespace millrace::expr {
namespace {

template <class T>
const T* gathered(Frame& frame, const T* values, const uint32_t* index, const Live& live) {
  T* o = frame.output_arena->array<T>(frame.rows);
  live.each([&](uint32_t row) { o[row] = values[index[row]]; });
  return o;
}

// out[row] = child[index[row]] for the live rows; index nullptr: child[row], which copies nothing.
void load_child(Frame& frame, const ColumnPtr& child, const uint32_t* index, const Live& live, Vector& out) {
  if (!child) {  // a field that nothing decoded is null
    uint8_t* nulls = frame.scratch.array<uint8_t>(frame.rows);
    std::fill_n(nulls, frame.rows, uint8_t{1});
    out.nulls = nulls;
    return;
  }
  if (index && child->nulls) {
    uint8_t* nulls = frame.scratch.zeroed<uint8_t>(frame.rows);
    live.each([&](uint32_t row) { nulls[row] = child->nulls[index[row]]; });
    out.nulls = nulls;
  }
  if (!index) {
    const char** const errors = out.errors;
    out = view_of(child);
    out.errors = errors;
  } else if (child->bools) {
    out.bools = gathered(frame, child->bools, index, live);
  } else if (child->ints) {
    out.ints = gathered(frame, child->ints, index, live);
  } else if (child->doubles) {
    out.doubles = gathered(frame, child->doubles, index, live);
  } else if (child->strings) {
    out.strings = gathered(frame, child->strings, index, live);
  } else {
    out.column = child;
    out.index = index;
  }
}

// Row numbers of the cells of a vector, or nullptr when they are the rows themselves.
const uint32_t* cell_index(Frame& frame, const Vector& vector, const Live& live) {
  if (!vector.constant) return vector.index;
  uint32_t* index = frame.scratch.array<uint32_t>(frame.rows);
  live.each([&](uint32_t row) { index[row] = vector.cell(row); });
  return index;
}

Span span_of(const Vector& vector, uint32_t row) { return vector.column->spans[vector.cell(row)]; }

// The entry of a map with this key, or -1. The last one wins, as in Kafka's lastHeader().
int64_t find_key(const Vector& map, uint32_t row, std::string_view key) {
  const Span span = span_of(map, row);
  const Column& keys = *map.column->children[0];
  for (uint32_t i = span.count; i > 0; i--)
    if (keys.strings[span.begin + i - 1] == key) return span.begin + i - 1;
  return -1;
}

std::string_view string_at(const Vector& vector, uint32_t row) { return vector.strings[vector.at(row)]; }

}  // namespace

namespace kernels {

void list_size(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  int64_t* o = frame.output<int64_t>(out);
  live.each([&](uint32_t row) { o[row] = span_of(args[0], row).count; });
}

void list_item(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint32_t* index = frame.scratch.array<uint32_t>(frame.rows);
  uint32_t* good = frame.scratch.array<uint32_t>(live.count);
  uint32_t count = 0;
  live.each([&](uint32_t row) {
    const Span span = span_of(args[0], row);
    const int64_t position = args[1].ints[args[1].at(row)];
    if (position < 0 || position >= span.count) {
      frame.fail(out, row, frame.keep(fmt::format("index {} out of range, size is {}", position, span.count)));
      return;
    }
    index[row] = span.begin + static_cast<uint32_t>(position);
    good[count++] = row;
  });
  load_child(frame, args[0].column->children[0], index, Live{good, count}, out);
}

void struct_field(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  const ColumnPtr& child = args[0].column->children[static_cast<size_t>(node.number)];
  load_child(frame, child, cell_index(frame, args[0], live), live, out);
}

void has_struct_field(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const ColumnPtr& child = args[0].column->children[static_cast<size_t>(node.number)];
  live.each([&](uint32_t row) { o[row] = !args[0].is_null(row) && child && !child->is_null(args[0].cell(row)); });
}

void map_item(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint32_t* index = frame.scratch.array<uint32_t>(frame.rows);
  uint32_t* good = frame.scratch.array<uint32_t>(live.count);
  uint32_t count = 0;
  live.each([&](uint32_t row) {
    const std::string_view key = string_at(args[1], row);
    const int64_t entry = find_key(args[0], row, key);
    if (entry < 0) return frame.fail(out, row, frame.keep(fmt::format("no such key: \"{}\"", shortened(key))));
    index[row] = static_cast<uint32_t>(entry);
    good[count++] = row;
  });
  load_child(frame, args[0].column->children[1], index, Live{good, count}, out);
}

void has_map_key(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  live.each([&](uint32_t row) {
    o[row] = !args[0].is_null(row) && !args[1].is_null(row) && find_key(args[0], row, string_at(args[1], row)) >= 0;
  });
}

void in_map(Frame& frame, const Node&, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  live.each([&](uint32_t row) { o[row] = find_key(args[1], row, string_at(args[0], row)) >= 0; });
}

void in_set(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const ConstantSet& set = *node.set;
  if (!args[0].strings) {
    live.each([&](uint32_t row) { o[row] = set.ints.contains(args[0].ints[args[0].at(row)]); });
  } else if (!set.few_strings.empty()) {
    // One tight loop per item beats one loop over the items per row.
    equal_to_constant(live, o, args[0].strings, set.few_strings[0]);
    uint8_t* found = frame.scratch.array<uint8_t>(frame.rows);
    for (size_t i = 1; i < set.few_strings.size(); i++) {
      equal_to_constant(live, found, args[0].strings, set.few_strings[i]);
      live.each([&](uint32_t row) { o[row] |= found[row]; });
    }
  } else {
    live.each([&](uint32_t row) { o[row] = set.strings.contains(string_at(args[0], row)); });
  }
}

void in_list(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  uint8_t* o = frame.output<uint8_t>(out);
  const Column items = column_of(args[0], node.arg_types[0], frame.rows);
  const Column* elements = args[1].column->children[0].get();
  live.each([&](uint32_t row) {
    const Span span = span_of(args[1], row);
    const bool nested = args[0].column != nullptr;
    const Cell item{nested ? args[0].column.get() : &items, nested ? args[0].cell(row) : args[0].at(row)};
    o[row] = 0;
    for (uint32_t i = 0; i < span.count && !o[row]; i++) o[row] = equal_cells(item, {elements, span.begin + i});
  });
}

namespace {

// A list column from cells that lie list after list.
void set_lists(Frame& frame, const Node& node, const Span* spans, const std::vector<Cell>& cells, Vector& out) {
  auto column = std::make_shared<Column>();
  column->type = node.type;
  column->rows = frame.rows;
  column->spans = spans;
  column->children.push_back(
      gather_column(node.type.element(), cells.data(), static_cast<uint32_t>(cells.size()), frame.result));
  column->owners.push_back(frame.result);
  out.column = std::move(column);
}

// Drops the list of a row, whose cells are the last, if it is too long.
void close_list(Frame& frame, const Node& node, uint32_t row, uint32_t begin, Span* spans, std::vector<Cell>& cells,
                Vector& out) {
  uint64_t items = cells.size() - begin;
  for (size_t i = begin; i < cells.size() && frame.records; i++) items += items_within(cells[i]);
  if (frame.charge_items(node, out, row, items)) return;
  cells.resize(begin);
  spans[row] = {};
}

}  // namespace

void list_literal(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  const auto size = static_cast<uint32_t>(node.args.size());
  Span* spans = frame.result->zeroed<Span>(frame.rows);
  std::vector<Column> views;
  for (uint32_t i = 0; i < size; i++) views.push_back(column_of(args[i], node.arg_types[i], frame.rows));
  std::vector<Cell> cells;
  cells.reserve(size_t{size} * live.count);
  live.each([&](uint32_t row) {
    const auto begin = static_cast<uint32_t>(cells.size());
    spans[row] = {begin, size};
    for (uint32_t i = 0; i < size; i++) {
      if (args[i].is_null(row)) {
        cells.push_back({});
      } else if (args[i].column) {
        cells.push_back({args[i].column.get(), args[i].cell(row)});
      } else {
        cells.push_back({&views[i], args[i].at(row)});
      }
    }
    if (frame.records) close_list(frame, node, row, begin, spans, cells, out);  // else as long as it is written
  });
  set_lists(frame, node, spans, cells, out);
}

void list_concat(Frame& frame, const Node& node, const Vector* args, const Live& live, Vector& out) {
  Span* spans = frame.result->zeroed<Span>(frame.rows);
  std::vector<Cell> cells;
  live.each([&](uint32_t row) {
    const auto begin = static_cast<uint32_t>(cells.size());
    for (int side = 0; side < 2; side++) {
      const Span span = span_of(args[side], row);
      for (uint32_t i = 0; i < span.count; i++) cells.push_back({args[side].column->children[0].get(), span.begin + i});
    }
    spans[row] = {begin, static_cast<uint32_t>(cells.size()) - begin};
    close_list(frame, node, row, begin, spans, cells, out);
  });
  set_lists(frame, node, spans, cells, out);
}

}  // namespace kernels
}  // namespace millrace::expr
