// DaemonProcess: one `millrace run` as a child process of a test. Ended by SIGKILL when the object goes.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace millrace {

class DaemonProcess {
 public:
  // Starts binary with arguments; stdout and stderr are appended to log. extra: environment variables to set.
  DaemonProcess(const std::string& binary, const std::vector<std::string>& arguments,
                const std::map<std::string, std::string>& extra, const std::string& log);
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  // The wait status once the process has ended, waiting at most timeout_ms.
  std::optional<int> wait(int timeout_ms);
  bool running() { return !wait(0).has_value(); }

 private:
  pid_t pid_ = -1;
  std::optional<int> status_;
};

}  // namespace millrace
