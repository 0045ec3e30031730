// The data behind a ConfigNode. Internal to the ConfigNode sources; immutable once parsed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/config_node.h"
#include "base/config_scalar.h"
#include "base/config_source.h"

namespace millrace {

struct ConfigNode::Data {
  Kind kind = Kind::kNull;
  ScalarStyle style = ScalarStyle::kPlain;
  bool flow = false;
  bool complete = true;  // of the top
  bool has_key = false;  // the value of a mapping
  Location at;
  Location key_at;
  std::string key;
  std::string text;
  std::string path;
  std::vector<std::shared_ptr<const Data>> children;
  std::shared_ptr<const ConfigSource> source;
  size_t offset = 0;              // in source, of the value: a quoted scalar's quote
  std::vector<TextPiece> pieces;  // of text, where variables were substituted
};

}  // namespace millrace
