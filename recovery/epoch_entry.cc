#include "recovery/epoch_entry.h"

#include "recovery/record_bytes.h"

namespace millrace {

namespace {
constexpr std::string_view kMagic = "MREL";
constexpr uint16_t kVersion = 1;
}  // namespace

std::string encode_epoch_entry(uint64_t epoch, std::string_view progress, const std::vector<DeltaPtr>& deltas) {
  RecordWriter out(kMagic, kVersion);
  out.u64(epoch);
  out.text(progress);
  uint32_t entries = 0;
  for (const DeltaPtr& delta : deltas) entries += static_cast<uint32_t>(delta->size());
  out.u32(entries);
  for (const DeltaPtr& delta : deltas) {
    for (size_t i = 0; i < delta->size(); i++) {
      Delta::Value value = delta->value(i);
      out.u8(value.tombstone ? 1 : 0);
      out.text(delta->key(i));
      out.text(value.tombstone ? std::string_view() : value.bytes);
    }
  }
  return out.seal();
}

Result<EpochEntry> read_epoch_entry(std::string_view bytes,
                                    const std::function<void(std::string_view key, std::string_view value)>& visit) {
  RecordReader in(bytes, kMagic, kVersion);
  EpochEntry entry;
  entry.epoch = in.u64();
  entry.progress = in.text();
  uint32_t entries = in.count(9);
  for (uint32_t i = 0; i < entries; i++) {
    bool tombstone = in.u8() != 0;
    std::string_view key = in.text();
    std::string_view value = in.text();
    if (in.failed()) break;
    if (key.size() < kFullKeyPrefix) return Status::terminal(Code::kProgressCorrupt, "epoch log entry: key too short");
    visit(key, tombstone ? std::string_view() : value);
  }
  if (in.failed()) return Status::terminal(Code::kProgressCorrupt, "epoch log entry: " + in.error());
  if (!in.at_end()) return Status::terminal(Code::kProgressCorrupt, "epoch log entry: longer than its content");
  return entry;
}

}  // namespace millrace
