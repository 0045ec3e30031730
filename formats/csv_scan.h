// The lexical level of CSV (RFC 4180 with any delimiter and quote): one record into its fields. Pure; one thread per
// object.
#pragma once

#include <string_view>

namespace millrace {

class CsvScan {
 public:
  struct FieldText {
    std::string_view text;  // without the quotes around it
    bool quoted = false;
    bool escaped = false;  // it has doubled quotes: unescape()
  };

  // record: without its line end. quote: 0 for none.
  CsvScan(std::string_view record, char delimiter, char quote)
      : p_(record.data()), end_(record.data() + record.size()), delimiter_(delimiter), quote_(quote) {}

  // The next field; false behind the last one, or after an error. A record has at least one field.
  bool next(FieldText* field) {
    if (done_) return false;
    if (quote_ != 0 && p_ < end_ && *p_ == quote_) return next_quoted(field);
    const char* start = p_;
    while (p_ < end_ && *p_ != delimiter_) {
      if (*p_ == '\n' || (*p_ == quote_ && quote_ != 0)) [[unlikely]]
        return fail(*p_ == '\n' ? "a line break outside quotes"
                                : "a quote inside a field that does not begin with one");
      p_++;
    }
    *field = {{start, static_cast<size_t>(p_ - start)}, false, false};
    return end_field();
  }
  // What is wrong, static text; nullptr: nothing.
  const char* error() const { return error_; }
  bool unclosed() const { return unclosed_; }  // the error is a quoted field that does not end

  // Writes `text` of an escaped field with single quotes to `out`, which has room for text.size() bytes.
  static std::string_view unescape(std::string_view text, char quote, char* out);

 private:
  bool next_quoted(FieldText* field);
  bool end_field() {
    if (p_ == end_) {
      done_ = true;
    } else {
      p_++;  // the delimiter; behind it there is always one more field
    }
    return true;
  }
  bool fail(const char* error) {
    error_ = error;
    done_ = true;
    return false;
  }

  const char* p_;
  const char* end_;
  const char delimiter_;
  const char quote_;
  bool done_ = false;
  bool unclosed_ = false;
  const char* error_ = nullptr;
};

}  // namespace millrace
