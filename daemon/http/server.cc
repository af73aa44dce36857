// SPDX-License-Identifier: Apache-2.0
#include "http/server.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "core/clock.h"
#include "core/log.h"
#include "http/endpoints.h"
#include "http/http_metrics.h"
#include "http/router.h"
#include "http/session.h"
#include "http/tls.h"
#include "http/tls_files.h"

namespace engram {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kListenBacklog = 1024;
// Without file descriptors or memory accept() fails at once again and again: wait, connections end meanwhile.
constexpr std::chrono::milliseconds kAcceptBackOff{100};
// Connections over max_connections that are being told so; beyond these the connection is just closed.
constexpr size_t kMaxRefusing = 64;
// What closing all connections may take after Stop()'s deadline.
constexpr std::chrono::seconds kCloseTime{5};
constexpr int kWorkThreads = 2;
// How often subscribers of events hear of changes, and files of certificates are looked at.
constexpr std::chrono::milliseconds kTickInterval{500};

using TlsContext = std::shared_ptr<asio::ssl::context>;

OriginPolicy MakeOriginPolicy(const HttpOptions& options) {
  error_code ec;
  const auto address = asio::ip::make_address(options.address, ec);
  const bool loopback = !ec && address.is_loopback();
  return {options.allowed_origins, loopback, options.allowed_hosts};
}

}  // namespace

struct HttpServer::Impl {
  Impl(HttpOptions opts, const EngineDirectory& engines, MetricRegistry& registry, AdminServices services)
      : options(std::move(opts)),
        admin(std::move(services)),
        metrics(registry, options.server_version),
        router(authenticator, MakeOriginPolicy(options)),
        events(registry, admin.operations, admin.memory_events,
               [this, &engines]() -> std::string_view {
                 if (draining) return "draining";
                 return engines.Find("") ? "ready" : "loading";
               }),
        acceptor(asio::make_strand(io)),
        back_off(acceptor.get_executor()) {
    AddEndpoints(router, {options, engines, registry, draining, dashboard, admin, events});
    if (admin.access == nullptr) return;
    authenticator.Replace(Authenticator(admin.access->keys()));
    admin.access->Listen([this] { OnKeysChanged(); });
  }
  ~Impl() {
    if (admin.access != nullptr) admin.access->Listen(nullptr);
  }
  Status Load();
  Status LoadTls();
  Status Listen();
  void RunThreads();
  void OnKeysChanged();
  void EndWhatMayNotGoOn();
  void Tick();
  void WatchExpiry();
  void WatchTls();
  void Accept();
  void Admit(tcp::socket socket);
  void Forget(uint64_t id);
  template <typename Function>
  void ForEachSession(Function function);
  bool WaitForSessions(std::chrono::steady_clock::time_point deadline);
  void CloseAcceptor();
  void Shutdown();

  const HttpOptions options;
  const AdminServices admin;
  std::atomic<bool> draining{false};
  std::atomic<uint32_t> uploads{0};
  HttpMetrics metrics;
  std::mutex keys_mutex;  // of two changes at once the later is published last
  Published<Authenticator> authenticator{Authenticator()};
  int64_t expiry_seen_ms = UnixMs();  // Tick()'s: keys that expired up to then have been looked at
  Published<StaticFiles> dashboard{StaticFiles()};
  Published<TlsContext> tls{TlsContext()};  // null: no TLS
  TlsFiles tls_files{options.tls_certificate, options.tls_key, options.tls_client_ca};
  Router router;
  EventHub events;
  asio::io_context work;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> keep_work{work.get_executor()};
  asio::executor_work_guard<asio::io_context::executor_type> keep_io{io.get_executor()};
  tcp::acceptor acceptor;       // its strand
  asio::steady_timer back_off;  // its strand
  asio::steady_timer tick_timer{work};
  uint16_t port = 0;
  std::vector<std::thread> threads;

  std::mutex mutex;
  std::condition_variable session_closed;
  std::map<uint64_t, std::weak_ptr<Session>> sessions;  // guarded by mutex
  uint64_t next_session = 1;                            // guarded by mutex
  size_t num_refusing = 0;                              // guarded by mutex
  bool stopped = false;                                 // owner thread
};

Status HttpServer::Impl::LoadTls() {
  if (options.tls_certificate.empty()) return {};
  ENGRAM_TRY(auto context, MakeTlsContext(options.tls_certificate, options.tls_key, options.tls_client_ca));
  tls.Replace(std::move(context));
  return {};
}

Status HttpServer::Impl::Load() {
  StaticFiles files;
  if (!options.web_root.empty()) {
    ENGRAM_TRY(files, StaticFiles::Load(options.web_root));
  }
  ENGRAM_CHECK_OK(LoadTls());
  dashboard.Replace(std::move(files));
  return {};
}

Status HttpServer::Impl::Listen() {
  const std::string where = options.address + ":" + std::to_string(options.port);
  error_code ec;
  const auto address = asio::ip::make_address(options.address, ec);
  if (ec) return InvalidArgument("listen address " + where + " is not an IP address", "listen");
  const tcp::endpoint endpoint(address, options.port);
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(kListenBacklog, ec);
  if (ec) return IoError("cannot listen on " + where + ": " + ec.message());
  port = acceptor.local_endpoint(ec).port();
  if (ec) return IoError("cannot listen on " + where + ": " + ec.message());
  return {};
}

void HttpServer::Impl::RunThreads() {
  auto run = [](asio::io_context& context, std::string name) {
    pthread_setname_np(pthread_self(), name.c_str());
    for (;;) {
      try {
        context.run();
        return;
      } catch (const std::exception& exception) {
        log::Error("{}: {}", name, exception.what());
      }
    }
  };
  for (uint32_t i = 0; i < std::max(1u, options.num_threads); ++i) {
    threads.emplace_back(run, std::ref(io), "http-" + std::to_string(i));
  }
  for (int i = 0; i < kWorkThreads; ++i) threads.emplace_back(run, std::ref(work), "http-work-" + std::to_string(i));
}

// One timer for all subscribers and what else is looked at now and then, on the work threads: reading the metrics and
// certificates takes a while.
void HttpServer::Impl::Tick() {
  tick_timer.expires_after(kTickInterval);
  tick_timer.async_wait([this](error_code ec) {
    if (ec) return;
    events.Tick();
    WatchExpiry();
    WatchTls();
    Tick();
  });
}

void HttpServer::Impl::OnKeysChanged() {
  {
    std::lock_guard lock(keys_mutex);
    const auto before = authenticator.Read();
    authenticator.Replace(Authenticator(admin.access->keys(), before.get()));
  }
  EndWhatMayNotGoOn();
}

// Sessions look themselves: a request that comes now is checked by what is published already.
void HttpServer::Impl::EndWhatMayNotGoOn() {
  ForEachSession([](Session& session) { session.CheckKey(); });
}

void HttpServer::Impl::WatchExpiry() {
  const int64_t now_ms = UnixMs();
  const auto next = authenticator.Read()->NextExpiry(expiry_seen_ms);
  expiry_seen_ms = now_ms;
  if (next && *next <= now_ms) EndWhatMayNotGoOn();
}

void HttpServer::Impl::WatchTls() {
  if (options.tls_certificate.empty() || !tls_files.Changed()) return;
  const Status loaded = LoadTls();
  if (loaded) log::Info("the certificate's files have changed and were read again");
  if (!loaded)
    log::Error("the certificate's files have changed: {}; what was read before stays in use", loaded.error().message);
}

void HttpServer::Impl::Accept() {
  acceptor.async_accept(asio::make_strand(io), [this](error_code ec, tcp::socket socket) {
    if (!acceptor.is_open()) return;
    if (ec) {
      log::Warning("accept: {}; trying again in {} ms", ec.message(), kAcceptBackOff.count());
      back_off.expires_after(kAcceptBackOff);
      back_off.async_wait([this](error_code wait_ec) {
        if (!wait_ec && acceptor.is_open()) Accept();
      });
      return;
    }
    Admit(std::move(socket));
    Accept();
  });
}

void HttpServer::Impl::Admit(tcp::socket socket) {
  const SessionEnvironment environment{options, router, authenticator, admin.access, metrics, work, uploads, draining};
  std::shared_ptr<Session> session = NewSession(Connection(std::move(socket), *tls.Read()), environment);
  uint64_t id = 0;
  bool refuse = false;
  {
    std::lock_guard lock(mutex);
    const size_t num_serving = sessions.size() - num_refusing;
    refuse = num_serving >= options.max_connections;
    if (refuse && num_refusing >= kMaxRefusing) {
      metrics.refused_connections().Add();
      return;
    }
    id = next_session++;
    num_refusing += refuse;
    sessions.emplace(id, session);
  }
  if (refuse) {
    metrics.refused_connections().Add();
    session->Refuse([this, id] {
      {
        std::lock_guard lock(mutex);
        --num_refusing;
      }
      Forget(id);
    });
    return;
  }
  metrics.connections().Add(1);
  session->Start([this, id] {
    metrics.connections().Add(-1);
    Forget(id);
  });
}

void HttpServer::Impl::Forget(uint64_t id) {
  std::lock_guard lock(mutex);
  sessions.erase(id);
  session_closed.notify_all();
}

template <typename Function>
void HttpServer::Impl::ForEachSession(Function function) {
  std::vector<std::shared_ptr<Session>> live;
  {
    std::lock_guard lock(mutex);
    for (const auto& [id, weak] : sessions)
      if (auto session = weak.lock()) live.push_back(std::move(session));
  }
  for (const auto& session : live) function(*session);
}

bool HttpServer::Impl::WaitForSessions(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex);
  return session_closed.wait_until(lock, deadline, [this] { return sessions.empty(); });
}

void HttpServer::Impl::CloseAcceptor() {
  asio::post(acceptor.get_executor(), [this] {
    error_code ignored;  // a listening socket has nothing to lose
    acceptor.close(ignored);
    back_off.cancel();
  });
}

void HttpServer::Impl::Shutdown() {
  if (stopped) return;
  stopped = true;
  draining = true;
  CloseAcceptor();
  const auto deadline = std::chrono::steady_clock::now() + kCloseTime;
  // A connection accepted just before the acceptor closed may register after a first round.
  do {
    ForEachSession([](Session& session) { session.Close(); });
  } while (!WaitForSessions(std::min(deadline, std::chrono::steady_clock::now() + std::chrono::milliseconds(100))) &&
           std::chrono::steady_clock::now() < deadline);
  keep_io.reset();
  keep_work.reset();
  io.stop();
  work.stop();
  for (std::thread& thread : threads) thread.join();
  // The posted close may not have run before the threads stopped, and connections that nobody accepted would hang.
  error_code ignored;
  acceptor.close(ignored);
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpOptions options, const EngineDirectory& engines,
                                                      MetricRegistry& metrics, AdminServices admin) {
  auto impl = std::make_unique<Impl>(std::move(options), engines, metrics, std::move(admin));
  ENGRAM_CHECK_OK(impl->Load());
  ENGRAM_CHECK_OK(impl->Listen());
  for (const std::string& route : impl->router.List()) log::Debug("route {}", route);
  impl->RunThreads();
  asio::post(impl->work, [server = impl.get()] { server->Tick(); });
  asio::post(impl->acceptor.get_executor(), [server = impl.get()] { server->Accept(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() {
  impl_->Shutdown();
}

uint16_t HttpServer::port() const {
  return impl_->port;
}

Status HttpServer::Reload() {
  return impl_->Load();
}

void HttpServer::BeginDrain() {
  impl_->draining = true;
  impl_->CloseAcceptor();
  impl_->ForEachSession([](Session& session) { session.Drain(); });
}

void HttpServer::Stop(std::chrono::steady_clock::time_point deadline) {
  BeginDrain();
  if (!impl_->WaitForSessions(deadline)) log::Warning("closing connections that are still busy at the deadline");
  impl_->Shutdown();
}

}  // namespace engram
