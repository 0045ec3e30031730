#include "sinks/stdout_sink.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/file.h"

namespace millrace {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;

class StdoutSink : public Sink {
 public:
  StdoutSink(std::string name, int descriptor, std::unique_ptr<LineEncoder> encoder)
      : name_(std::move(name)), descriptor_(descriptor), encoder_(std::move(encoder)) {}

  Status open(const SinkContext& context, bool first_start, const std::optional<SinkProgress>& progress) override {
    (void)first_start, (void)progress;
    context_ = context;
    buffer_ = encoder_->header();
    return Status::ok();
  }
  Result<Written> write(const Batch& batch, uint32_t* cursor) override {
    if (*cursor < batch.live()) {
      const size_t before = buffer_.size();
      MR_RETURN_IF_ERROR(encoder_->append(batch, context_, buffer_));
      bytes_ += buffer_.size() - before;
      *cursor = batch.live();
      if (buffer_.size() >= kBufferBytes) MR_RETURN_IF_ERROR(write_out());
    }
    return Written::kOk;
  }
  Status flush(uint64_t epoch) override {
    (void)epoch;
    return write_out();
  }
  Result<SinkProgress> prepare(uint64_t epoch) override {
    (void)epoch;
    return SinkProgress{name_, ""};
  }
  Status commit(uint64_t epoch) override {
    (void)epoch;
    return Status::ok();
  }
  void abort() override { buffer_.clear(); }
  Status finish() override { return write_out(); }
  uint64_t bytes_written() const override { return bytes_; }

 private:
  Status write_out();

  const std::string name_;
  const int descriptor_;
  const std::unique_ptr<LineEncoder> encoder_;
  SinkContext context_;
  std::string buffer_;
  uint64_t bytes_ = 0;
};

// A reader that pauses (a pager) is waited for without limit, also when somebody has made the descriptor non-blocking.
Status StdoutSink::write_out() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd wait{descriptor_, POLLOUT, 0};
      (void)::poll(&wait, 1, 1000);
    } else if (errno != EINTR) {
      const Status status = errno_status(errno, "write", "standard output");
      buffer_.clear();
      return Status::terminal(status.code(), status.message());
    }
  }
  buffer_.clear();
  return Status::ok();
}

class StdoutSinkPlan : public SinkPlan {
 public:
  explicit StdoutSinkPlan(int descriptor) : descriptor_(descriptor) {}

  bool plan(const SinkPlanContext& context, const Edge& input, Diagnostics& diagnostics) override {
    name_ = context.sink;
    return format_.plan("standard output", context, input, diagnostics);
  }
  std::vector<bool> needed_inputs() const override { return format_.needed_inputs(); }
  SinkGuarantee guarantee() const override { return SinkGuarantee::kNone; }
  bool takes_payload() const override { return format_.takes_payload(); }
  void use_payload() override { format_.use_payload(); }
  std::string describe() const override { return "stdout"; }
  std::unique_ptr<Sink> make() const override { return make_stdout_sink(name_, descriptor_, format_.make()); }

 private:
  const int descriptor_;
  std::string name_;
  LineFormat format_;
};

}  // namespace

std::unique_ptr<Sink> make_stdout_sink(const std::string& name, int descriptor, std::unique_ptr<LineEncoder> encoder) {
  return std::make_unique<StdoutSink>(name, descriptor, std::move(encoder));
}

void register_stdout_sink(SinkRegistry& registry, int descriptor) {
  registry.add("stdout", [descriptor](const ConfigNode& body, Diagnostics& diagnostics) -> std::unique_ptr<SinkPlan> {
    const size_t errors = diagnostics.error_count();
    MapReader(body, diagnostics).finish();
    if (diagnostics.error_count() != errors) return nullptr;
    return std::make_unique<StdoutSinkPlan>(descriptor);
  });
}

}  // namespace millrace
