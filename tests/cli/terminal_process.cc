// SPDX-License-Identifier: Apache-2.0
#include "terminal_process.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace engram {

using std::chrono::steady_clock;

TerminalProcess::TerminalProcess(std::vector<std::string> arguments, unsigned short columns,
                                 const Process::Environment& environment) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const winsize size{50, columns, 0, 0};
  pid_ = forkpty(&fd_, nullptr, nullptr, &size);
  if (pid_ < 0) std::abort();
  if (pid_ == 0) {
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    execv(argv[0], argv.data());
    _exit(127);
  }
}

TerminalProcess::~TerminalProcess() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(fd_);
}

void TerminalProcess::Type(const std::string& keys) {
  if (write(fd_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) std::abort();
}

// False at the end or at the deadline.
bool TerminalProcess::ReadSome(steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  pollfd fds{fd_, POLLIN, 0};
  if (ended_ || left < 0 || poll(&fds, 1, static_cast<int>(left)) <= 0) return false;
  char chunk[4096];
  const ssize_t got = read(fd_, chunk, sizeof(chunk));
  if (got > 0) shown_.append(chunk, static_cast<size_t>(got));
  ended_ = got <= 0;  // EIO when nobody has the terminal open any more
  return !ended_;
}

bool TerminalProcess::ReadUntil(const std::string& text) {
  const auto deadline = steady_clock::now() + kPatience;
  while (shown_.find(text) == std::string::npos)
    if (!ReadSome(deadline)) return false;
  return true;
}

int TerminalProcess::Wait() {
  const auto deadline = steady_clock::now() + kPatience;
  while (ReadSome(deadline)) {
  }
  if (!ended_) return -1;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace engram
