#include "formats/csv_scan.h"

#include <cstring>

namespace millrace {

bool CsvScan::next_quoted(FieldText* field) {
  const char* start = ++p_;
  bool escaped = false;
  while (true) {
    const char* quote = static_cast<const char*>(std::memchr(p_, quote_, static_cast<size_t>(end_ - p_)));
    if (quote == nullptr) {
      unclosed_ = true;
      return fail("a quoted field that does not end");
    }
    p_ = quote + 1;
    if (p_ == end_ || *p_ != quote_) break;
    escaped = true;
    p_++;
  }
  if (p_ < end_ && *p_ != delimiter_) return fail("text behind a closing quote");
  *field = {{start, static_cast<size_t>(p_ - 1 - start)}, true, escaped};
  return end_field();
}

std::string_view CsvScan::unescape(std::string_view text, char quote, char* out) {
  char* to = out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == quote) i++;  // doubled
    *to++ = text[i];
  }
  return {out, static_cast<size_t>(to - out)};
}

}  // namespace millrace
