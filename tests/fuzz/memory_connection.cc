// SPDX-License-Identifier: Apache-2.0
#include "fuzz/memory_connection.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "fuzz/fuzz_target.h"

namespace engram {
namespace {

namespace asio = boost::asio;

// Without anything to do for so long, a session waits for its peer; what an engine has to do here takes less.
constexpr std::chrono::microseconds kQuiet{200};
// Longer than any of the session's own deadlines that an ended peer leaves.
constexpr std::chrono::seconds kPatience{60};
// Kept of what was received, to look at.
constexpr size_t kMaxReceived = 64u << 10;

}  // namespace

MemoryConnection::Loop& MemoryConnection::TheLoop() {
  static auto* loop = new Loop;
  return *loop;
}

MemoryConnection::MemoryConnection(ServedWorld& world) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    throw std::system_error(errno, std::system_category(), "socketpair");
  peer_ = UniqueFd(ends[0]);
  Connection::Socket socket(asio::make_strand(loop_.io));
  socket.assign(asio::ip::tcp::v4(), ends[1]);
  const auto session = NewSession(Connection(std::move(socket), nullptr),
                                  {world.options(), world.router(), world.authenticator(), nullptr,
                                   world.http_metrics(), loop_.work, loop_.uploads, world.draining()});
  session_ = session;
  session->Start([this] { closed_ = true; });
}

MemoryConnection::~MemoryConnection() {
  shutdown(peer_.get(), SHUT_WR);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  // Beyond its end it may be held for a moment by whoever wakes it.
  while (!closed_ || !session_.expired()) {
    if (!Step()) loop_.io.run_one_for(kQuiet);
    FUZZ_CHECK(std::chrono::steady_clock::now() < deadline);
  }
}

bool MemoryConnection::Step() {
  size_t done = loop_.io.poll() + loop_.work.poll();
  char buffer[16 << 10];
  for (;;) {
    const ssize_t size = recv(peer_.get(), buffer, sizeof(buffer), 0);
    if (size <= 0) break;
    ++done;
    if (received_.size() < kMaxReceived) received_.append(buffer, static_cast<size_t>(size));
  }
  return done > 0;
}

void MemoryConnection::RunUntilQuiet() {
  while (!closed_)
    if (!Step() && loop_.io.run_one_for(kQuiet) == 0) return;
}

void MemoryConnection::Send(std::string_view bytes) {
  while (!bytes.empty() && !closed_) {
    const ssize_t size = send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (size > 0) bytes.remove_prefix(static_cast<size_t>(size));
    if (size < 0 && errno != EAGAIN) break;  // closed by the session, which is about to say so
    Step();
  }
  RunUntilQuiet();
}

}  // namespace engram
