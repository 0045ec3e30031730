#include "recovery/progress.h"

#include "recovery/record_bytes.h"

namespace millrace {

namespace {

constexpr std::string_view kMagic = "MRPR";
constexpr uint16_t kVersion = 1;

void write_sources(RecordWriter& out, const std::vector<SourceProgress>& sources) {
  out.u32(static_cast<uint32_t>(sources.size()));
  for (const SourceProgress& source : sources) {
    out.text(source.source);
    out.u32(static_cast<uint32_t>(source.partitions.size()));
    for (const PartitionProgress& partition : source.partitions) {
      out.text(partition.at.name.topic);
      out.u32(static_cast<uint32_t>(partition.at.name.partition));
      out.text(partition.at.identity);
      out.i64(partition.at.position);
      out.i64(partition.max_event_time_ms);
      out.i64(partition.watermark_ms);
      out.u8(partition.idle ? 1 : 0);
    }
  }
}

void read_sources(RecordReader& in, std::vector<SourceProgress>* sources) {
  sources->resize(in.count(8));
  for (SourceProgress& source : *sources) {
    source.source = in.text();
    source.partitions.resize(in.count(37));
    for (PartitionProgress& partition : source.partitions) {
      partition.at.name.topic = in.text();
      partition.at.name.partition = static_cast<int32_t>(in.u32());
      partition.at.identity = in.text();
      partition.at.position = in.i64();
      partition.max_event_time_ms = in.i64();
      partition.watermark_ms = in.i64();
      partition.idle = in.u8() != 0;
    }
  }
}

void write_state(RecordWriter& out, const ProgressRecord& record) {
  out.u32(static_cast<uint32_t>(record.operators.size()));
  for (const OperatorProgress& op : record.operators) {
    out.text(op.id);
    out.u16(op.number);
    out.text(op.descriptor);
    out.text(op.changelog_topic);
  }
  out.u16(record.next_operator);
  out.u32(static_cast<uint32_t>(record.changelog.size()));
  for (const ChangelogPosition& position : record.changelog) {
    out.text(position.topic);
    out.u32(static_cast<uint32_t>(position.partition));
    out.i64(position.offset);
    out.i64(position.floor);
  }
}

void read_state(RecordReader& in, ProgressRecord* record) {
  record->operators.resize(in.count(14));
  for (OperatorProgress& op : record->operators) {
    op.id = in.text();
    op.number = in.u16();
    op.descriptor = in.text();
    op.changelog_topic = in.text();
  }
  record->next_operator = in.u16();
  record->changelog.resize(in.count(24));
  for (ChangelogPosition& position : record->changelog) {
    position.topic = in.text();
    position.partition = static_cast<int32_t>(in.u32());
    position.offset = in.i64();
    position.floor = in.i64();
  }
}

}  // namespace

std::string ProgressRecord::encode() const {
  RecordWriter out(kMagic, kVersion);
  out.u64(epoch);
  out.text(pipeline);
  out.text(mode);
  out.u64(generation);
  out.u64(writer);
  out.u32(shards);
  out.u32(key_codec);
  out.i64(decided_wall_ms);
  out.text(manifest);
  write_sources(out, sources);
  out.u32(static_cast<uint32_t>(sinks.size()));
  for (const SinkProgress& sink : sinks) {
    out.text(sink.sink);
    out.text(sink.bytes);
  }
  write_state(out, *this);
  out.u8(finished ? 1 : 0);
  return out.seal();
}

Result<ProgressRecord> ProgressRecord::parse(std::string_view bytes) {
  RecordReader in(bytes, kMagic, kVersion);
  ProgressRecord record;
  record.epoch = in.u64();
  record.pipeline = in.text();
  record.mode = in.text();
  record.generation = in.u64();
  record.writer = in.u64();
  record.shards = in.u32();
  record.key_codec = in.u32();
  record.decided_wall_ms = in.i64();
  record.manifest = in.text();
  read_sources(in, &record.sources);
  record.sinks.resize(in.count(8));
  for (SinkProgress& sink : record.sinks) {
    sink.sink = in.text();
    sink.bytes = in.text();
  }
  read_state(in, &record);
  record.finished = in.u8() != 0;
  if (in.failed()) return Status::terminal(Code::kProgressCorrupt, "progress record: " + in.error());
  if (!in.at_end()) return Status::terminal(Code::kProgressCorrupt, "progress record: longer than its content");
  return record;
}

}  // namespace millrace
