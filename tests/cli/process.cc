// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace engram {
namespace {

using std::chrono::steady_clock;

int MillisecondsUntil(steady_clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(left);
}

}  // namespace

Process::Process(std::vector<std::string> arguments, const Environment& environment, std::string input) {
  int out[2], err[2], in[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(in, O_CLOEXEC) != 0) std::abort();
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  // Inputs of tests fit a pipe's buffer.
  if (write(in[1], input.data(), input.size()) != static_cast<ssize_t>(input.size())) std::abort();
  close(in[1]);
  out_fd_ = out[0];
  err_fd_ = err[0];
}

Process::~Process() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (out_fd_ >= 0) close(out_fd_);
  if (err_fd_ >= 0) close(err_fd_);
}

void Process::Signal(int number) {
  if (pid_ > 0) kill(pid_, number);
}

// False at the end of both streams or at the deadline.
bool Process::ReadSome(steady_clock::time_point deadline) {
  pollfd fds[] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
  if (out_fd_ < 0 && err_fd_ < 0) return false;
  if (poll(fds, 2, MillisecondsUntil(deadline)) <= 0) return false;
  int* const owned[] = {&out_fd_, &err_fd_};
  std::string* const texts[] = {&out_, &err_};
  for (int i = 0; i < 2; ++i) {
    if (fds[i].revents == 0) continue;
    char chunk[4096];
    const ssize_t got = read(fds[i].fd, chunk, sizeof(chunk));
    if (got > 0) {
      texts[i]->append(chunk, static_cast<size_t>(got));
    } else {
      close(*owned[i]);
      *owned[i] = -1;
    }
  }
  return true;
}

bool Process::WaitForError(const std::string& text) {
  const auto deadline = steady_clock::now() + kPatience;
  while (err_.find(text) == std::string::npos)
    if (!ReadSome(deadline)) return false;
  return true;
}

int Process::Wait() {
  if (pid_ < 0) return status_;
  const auto deadline = steady_clock::now() + kPatience;
  while (ReadSome(deadline)) {
  }
  if (out_fd_ >= 0 || err_fd_ >= 0) return -1;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

Outcome RunProgram(std::vector<std::string> arguments, const Process::Environment& environment, std::string input) {
  Process process(std::move(arguments), environment, std::move(input));
  const int status = process.Wait();
  return {status, process.out(), process.err()};
}

Connection::Connection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(fd_);
    fd_ = -1;
  }
}

Connection::~Connection() {
  if (fd_ >= 0) close(fd_);
}

void Connection::Send(const std::string& bytes) {
  for (size_t sent = 0; fd_ >= 0 && sent < bytes.size();) {
    const ssize_t n = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return;
    sent += static_cast<size_t>(n);
  }
}

bool Connection::ReadUntil(const std::string& text) {
  const auto deadline = steady_clock::now() + kPatience;
  while (fd_ >= 0 && (text.empty() || received_.find(text) == std::string::npos)) {
    pollfd fds{fd_, POLLIN, 0};
    if (poll(&fds, 1, MillisecondsUntil(deadline)) <= 0) return false;
    char chunk[4096];
    const ssize_t got = recv(fd_, chunk, sizeof(chunk), 0);
    if (got <= 0) return text.empty();
    received_.append(chunk, static_cast<size_t>(got));
  }
  return fd_ >= 0;
}

std::string RequestBytes(const std::string& target, const std::string& body) {
  std::string bytes = (body.empty() ? "GET " : "POST ") + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
  if (!body.empty())
    bytes += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  return bytes + "\r\n" + body;
}

std::string Exchange(int port, const std::string& target, const std::string& body) {
  Connection connection(port);
  connection.Send(RequestBytes(target, body));
  connection.ReadUntil("");
  return connection.received();
}

}  // namespace engram
