#include "sinks/folder_progress.h"

#include <fmt/format.h>

#include <charconv>

namespace millrace {
namespace {

// Takes fields off the front of a text; after the first that is not as expected everything fails.
class FieldReader {
 public:
  explicit FieldReader(std::string_view text) : rest_(text) {}

  std::string_view word(char end) {
    const size_t at = rest_.find(end);
    if (at == std::string_view::npos) {
      good_ = false;
      return {};
    }
    const std::string_view word = rest_.substr(0, at);
    rest_.remove_prefix(at + 1);
    return word;
  }
  template <class T>
  T number(int base = 10) {
    const std::string_view text = word(' ');
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size()) good_ = false;
    return value;
  }
  bool good() const { return good_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool good_ = true;
};

void append_part(const PartProgress& part, std::string& out) {
  fmt::format_to(std::back_inserter(out), "{} {} {:016x} {} {}\n", part.number, part.mark.length, part.mark.checksum,
                 part.begun_ms, part.folder);
}

PartProgress read_part(FieldReader& fields) {
  PartProgress part;
  part.number = fields.number<uint64_t>();
  part.mark.length = fields.number<uint64_t>();
  part.mark.checksum = fields.number<uint64_t>(16);
  part.begun_ms = fields.number<int64_t>();
  part.folder = fields.word('\n');
  return part;
}

}  // namespace

std::string FolderProgress::part_name(size_t index) const {
  return fmt::format("part-{}-{}.{}", epoch, index, extension);
}

std::string FolderProgress::encode() const {
  std::string text = fmt::format("{} {} {} {} {} {} {} {}\n", kFolderProgressVersion, epoch, next_number,
                                 replaces ? 1 : 0, open.size(), closed.size(), extension, path);
  for (const PartProgress& part : open) append_part(part, text);
  for (const PartProgress& part : closed) append_part(part, text);
  return text;
}

Result<FolderProgress> parse_folder_progress(std::string_view text) {
  FieldReader fields(text);
  FolderProgress progress;
  const bool versioned = fields.word(' ') == kFolderProgressVersion;
  progress.epoch = fields.number<uint64_t>();
  progress.next_number = fields.number<uint64_t>();
  progress.replaces = fields.number<int>() != 0;
  const auto open = fields.number<size_t>();
  const auto closed = fields.number<size_t>();
  progress.extension = fields.word(' ');
  progress.path = fields.word('\n');
  // Every part takes bytes of the text, so that wrong counts end soon.
  for (size_t i = 0; i < open && fields.good(); i++) progress.open.push_back(read_part(fields));
  for (size_t i = 0; i < closed && fields.good(); i++) progress.closed.push_back(read_part(fields));
  if (versioned && fields.good() && fields.at_end()) return progress;
  return Status::user(Code::kProgressCorrupt, "the progress record does not say where the parts stand");
}

}  // namespace millrace
