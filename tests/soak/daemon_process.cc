#include "tests/soak/daemon_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace millrace {

DaemonProcess::DaemonProcess(const std::string& binary, const std::vector<std::string>& arguments,
                             const std::map<std::string, std::string>& extra, const std::string& log) {
  std::vector<char*> argv = {const_cast<char*>(binary.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // no orphan outlives a test that was ended
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(fd, 1);
  dup2(fd, 2);
  for (const auto& [name, value] : extra) setenv(name.c_str(), value.c_str(), 1);
  execv(binary.c_str(), argv.data());
  _exit(127);
}

DaemonProcess::~DaemonProcess() {
  if (!running()) return;
  kill(pid_, SIGKILL);
  wait(10'000);
}

void DaemonProcess::signal(int number) const {
  if (!status_) kill(pid_, number);
}

std::optional<int> DaemonProcess::wait(int timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!status_) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_)
      status_ = status;
    else if (std::chrono::steady_clock::now() >= deadline)
      break;
    else
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return status_;
}

}  // namespace millrace
