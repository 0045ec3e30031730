// The decoder and the row encoder behind format csv. docs/formats.md is the user's page. One thread each.
#pragma once

#include <memory>
#include <string>

#include "formats/format.h"

namespace millrace {

// Every record is checked in full, whatever is wanted: quoting, UTF-8, the number of fields and the types of all
// declared ones. Precondition: csv_type_error() is empty for every field.
std::unique_ptr<Decoder> make_csv_decoder(DecodeRequest request, const Format& format);

// Columns in declared order, record.* left out. nullptr with a message if a column does not fit.
std::unique_ptr<RowEncoder> make_csv_encoder(const Format& format, const Schema& schema, std::string* error);

// Why a field of this type cannot stand in csv; empty if it can.
std::string csv_type_error(const Type& type);

}  // namespace millrace
