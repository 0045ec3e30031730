// Decodes texts in tests: padded payloads that stay alive, the columns and the errors.
#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "formats/format.h"

namespace millrace {

// Payloads with as little padding behind them as decoders are promised, so that the sanitizer sees a read too far.
class Payloads {
 public:
  void add(std::string_view text) {
    memory_.emplace_back(new char[text.size() + kPayloadPadding]);
    std::memset(memory_.back().get(), '1', text.size() + kPayloadPadding);
    std::memcpy(memory_.back().get(), text.data(), text.size());
    views_.emplace_back(memory_.back().get(), text.size());
  }
  void add_tombstone() { views_.emplace_back(); }
  const std::string_view* data() const { return views_.data(); }
  uint32_t size() const { return static_cast<uint32_t>(views_.size()); }
  std::string_view operator[](size_t i) const { return views_[i]; }

 private:
  std::deque<std::unique_ptr<char[]>> memory_;
  std::vector<std::string_view> views_;
};

struct Decoded {
  Payloads payloads;
  std::vector<ColumnPtr> columns;
  std::vector<DecodeError> errors;
  std::vector<uint8_t> canonical;

  // The row as the encoder writes it.
  std::string json(const Schema& schema, uint32_t row) const {
    std::string out;
    JsonRowEncoder(schema).encode(columns, row, out);
    return out;
  }
};

inline Decoded decode_all(const Format& format, const Schema& schema, const std::vector<std::string>& texts,
                          std::vector<bool> wanted = {}) {
  Diagnostics diagnostics;
  if (wanted.empty()) wanted.assign(schema.size(), true);
  auto decoder = make_decoder(format, {schema, wanted, true}, {}, diagnostics);
  Decoded decoded;
  for (const std::string& text : texts) decoded.payloads.add(text);
  decoded.canonical.resize(texts.size());
  decoded.columns = decoder->decode(decoded.payloads.data(), decoded.payloads.size(), std::make_shared<Arena>(),
                                    decoded.canonical.data(), decoded.errors);
  return decoded;
}

// The error of a single record, "" if it decodes.
inline std::string decode_error(const Schema& schema, const std::string& text) {
  const Decoded decoded = decode_all("json", schema, {text});
  return decoded.errors.empty() ? "" : decoded.errors[0].message;
}

}  // namespace millrace
