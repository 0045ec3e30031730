// The decoder behind make_decoder("json", …). One thread.
#pragma once

#include <memory>

#include "formats/format.h"

namespace millrace {

// Every record is validated in full, whatever is wanted: RFC 8259, UTF-8, at most kMaxJsonDepth containers open, at
// most kMaxPayloadBytes, and the types of all declared fields. Of repeated fields the last counts; undeclared ones are
// ignored. A record that fails does not touch its neighbours.
//
// Precondition: undecodable_reason() is empty for every field, request.wanted has one entry per field.
std::unique_ptr<Decoder> make_json_decoder(DecodeRequest request);

inline constexpr size_t kMaxPayloadBytes = size_t{64} << 20;
// List elements × columns below them in one record: a bound on how much larger than its payload a record can become.
inline constexpr uint64_t kMaxNestedValues = uint64_t{1} << 23;

}  // namespace millrace
