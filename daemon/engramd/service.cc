// SPDX-License-Identifier: Apache-2.0
#include "engramd/service.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <system_error>
#include <thread>

#include "core/file.h"
#include "core/log.h"
#include "engramd/engine_loader.h"
#include "engramd/room_options.h"
#include "engramd/state_dir.h"
#include "http/server.h"
#include "serve/engine_directory.h"
#include "settings/value_parsers.h"

namespace engram {
namespace {

using std::chrono::steady_clock;

// What the last answers may take after the last generation has ended.
constexpr std::chrono::seconds kLastWrites{2};

sigset_t OurSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  return set;
}

// A named thread that tells the main loop, through an eventfd, that it is done.
class Task {
 public:
  explicit Task(const char* name) : name_(name), done_(eventfd(0, EFD_CLOEXEC)) {}
  ~Task() {
    if (thread_.joinable()) thread_.join();
  }
  int fd() const { return done_.get(); }
  void Start(std::function<void()> work) {
    thread_ = std::thread([this, work = std::move(work)] {
      pthread_setname_np(pthread_self(), name_);
      work();
      eventfd_write(done_.get(), 1);
    });
  }
  // After fd() became readable.
  void Finish() {
    eventfd_t count = 0;
    eventfd_read(done_.get(), &count);
    thread_.join();
  }

 private:
  const char* name_;
  UniqueFd done_;
  std::thread thread_;
};

// Every connection is a descriptor; the soft limit is often 1024 for historic reasons.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Fail(const std::string& message) {
  log::Error("{}", message);
  sd_notifyf(0, "STATUS=Failed: %s", message.c_str());
  return 1;
}

class Service {
 public:
  explicit Service(const Settings& settings) : settings_(settings) {}
  int Run();

 private:
  Status Open();
  void OnLoaded();
  void OnSignal(int number);
  void BeginDrain();
  int WaitMs() const;

  const Settings& settings_;
  // In this order: each may use those above it until it is gone.
  std::optional<StateDir> state_dir_;
  MetricRegistry metrics_;
  EngineDirectory engines_;
  std::unique_ptr<HttpServer> server_;
  Result<std::shared_ptr<Engine>> engine_ = Unavailable("not loaded yet");
  UniqueFd signals_;
  Task load_{"load"};
  Task drain_{"drain"};
  std::string url_;
  uint64_t watchdog_us_ = 0;
  enum class State { kLoading, kServing, kDraining, kStopped } state_ = State::kLoading;
  int exit_status_ = 0;
};

Status Service::Open() {
  std::filesystem::path directory = settings_.state_dir;
  if (directory.empty())
    if (const char* given = std::getenv("STATE_DIRECTORY")) directory = given;
  if (!directory.empty()) {
    ENGRAM_TRY(state_dir_, StateDir::Open(directory));
  }
  const sigset_t set = OurSignals();
  signals_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_ || load_.fd() < 0 || drain_.fd() < 0)
    return IoError("signalfd or eventfd: " + std::system_category().message(errno));
  HttpOptions options = MakeHttpOptions(settings_);
  options.server_version = ENGRAMD_VERSION;
  ENGRAM_TRY(server_, HttpServer::Start(std::move(options), engines_, metrics_));
  url_ = "http://" + FormatListenAddress(settings_.server.address, server_->port());
  return {};
}

int Service::WaitMs() const {
  // Half the interval, as sd_watchdog_enabled(3) advises.
  return watchdog_us_ == 0 ? -1 : static_cast<int>(std::max<uint64_t>(watchdog_us_ / 2000, 1));
}

int Service::Run() {
  RaiseFileLimit();
  if (Status opened = Open(); !opened) return Fail(opened.error().message);
  log::Info("engramd {} starting on {}, loading the model", ENGRAMD_VERSION, url_);
  if (settings_.keys.empty())
    log::Info("no keys are configured: every local user may use the API, other machines cannot reach it");
  if (sd_watchdog_enabled(0, &watchdog_us_) <= 0) watchdog_us_ = 0;
  sd_notify(0, "STATUS=Loading the model");
  load_.Start([this] {
    try {
      engine_ = LoadEngine(settings_, metrics_);
    } catch (const std::exception& error) {
      engine_ = Internal(std::string("loading the model: ") + error.what());
    }
  });

  while (state_ != State::kStopped) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {load_.fd(), POLLIN, 0}, {drain_.fd(), POLLIN, 0}};
    const int ready = poll(fds, std::size(fds), WaitMs());
    if (ready < 0 && errno != EINTR) return Fail("poll: " + std::system_category().message(errno));
    if (watchdog_us_ != 0) sd_notify(0, "WATCHDOG=1");
    if (ready <= 0) continue;
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) OnSignal(static_cast<int>(info.ssi_signo));
    if (fds[1].revents != 0) OnLoaded();
    if (fds[2].revents != 0) {
      drain_.Finish();
      state_ = State::kStopped;
    }
  }
  if (exit_status_ == 0) log::Info("stopped");
  return exit_status_;
}

void Service::OnLoaded() {
  load_.Finish();
  if (!engine_) {
    exit_status_ = Fail(engine_.error().message);
    state_ = State::kStopped;
    return;
  }
  engines_.Publish(*engine_);
  state_ = State::kServing;
  log::Info("engramd {} ready: {}, listening on {}", ENGRAMD_VERSION, DescribeEngine(**engine_), url_);
  sd_notifyf(0, "READY=1\nSTATUS=Serving %s on %s", (*engine_)->model().name().c_str(), url_.c_str());
}

void Service::OnSignal(int number) {
  if (number == SIGHUP) {
    log::Info("SIGHUP: nothing to do; settings are read at start");
    return;
  }
  switch (state_) {
    case State::kLoading:
      // A load cannot be interrupted, and nothing has been served: leave without waiting for it.
      log::Info("signal {} while the model loads: stopping", number);
      sd_notify(0, "STOPPING=1");
      _exit(0);
    case State::kServing:
      log::Info("signal {}: finishing running requests for up to {}", number,
                FormatDuration(settings_.serving.drain_timeout));
      BeginDrain();
      return;
    case State::kDraining:
    case State::kStopped:
      log::Warning("signal {} again: stopping at once", number);
      _exit(128 + number);
  }
}

void Service::BeginDrain() {
  state_ = State::kDraining;
  sd_notify(0, "STOPPING=1\nSTATUS=Finishing running requests");
  // The server's owner is the drain thread from here until it is joined.
  drain_.Start([this] {
    const auto deadline = steady_clock::now() + settings_.serving.drain_timeout;
    server_->BeginDrain();
    (*engine_)->Drain(deadline);
    server_->Stop(std::max(deadline, steady_clock::now() + kLastWrites));
  });
}

}  // namespace

void BlockSignals() {
  const sigset_t set = OurSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A peer that goes away is an error code of the write.
  signal(SIGPIPE, SIG_IGN);
}

int RunService(const Settings& settings) {
  return Service(settings).Run();
}

}  // namespace engram
