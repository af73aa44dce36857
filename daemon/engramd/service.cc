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

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <system_error>
#include <thread>

#include "access/access_store.h"
#include "control/control_metrics.h"
#include "control/memory_events.h"
#include "control/model_manager.h"
#include "control/operations.h"
#include "core/file.h"
#include "core/leavable_thread.h"
#include "core/log.h"
#include "core/machine_memory.h"
#include "core/state_dir.h"
#include "engramd/engine_loader.h"
#include "engramd/live_models.h"
#include "engramd/locations.h"
#include "engramd/room_options.h"
#include "http/server.h"
#include "plugin/plugin_shelf.h"
#include "serve/engine_directory.h"
#include "settings/settings_json.h"
#include "settings/value_parsers.h"

namespace engram {
namespace {

using std::chrono::steady_clock;

// What the last answers may take after the last generation has ended.
constexpr std::chrono::seconds kLastWrites{2};
// And what everything else may take after that: journals, hot sets, threads. Something waits for a tier if it is not
// enough, which no end waits for; whatever must be durable is so before it is answered.
constexpr std::chrono::seconds kLastThreads{10};

// The configured model's load: the manager takes no operation before it.
constexpr uint64_t kFirstLoad = 1;

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
  void OnOperation(const Operation& operation);
  void OnLoaded();
  void OnSignal(int number);
  void Reload();
  void BeginDrain();
  int WaitMs() const;

  const Settings& settings_;
  // In this order: each may use those above it until it is gone.
  std::optional<StateDir> state_dir_;
  std::unique_ptr<AccessStore> access_;
  MetricRegistry metrics_;
  EngineDirectory engines_;
  PluginShelf plugins_;
  UniqueFd loaded_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};  // written when the first load is over
  Operations operations_;
  std::atomic<uint64_t> fixed_bytes_{0};  // set once the first model is there
  std::shared_ptr<void> listening_;
  MemoryEvents memory_events_;
  ControlMetrics control_metrics_{metrics_, operations_};
  LiveModels live_models_;
  std::shared_ptr<void> journal_metrics_ = CollectJournal(metrics_, live_models_.directory());
  std::optional<ModelManager> models_;
  std::unique_ptr<HttpServer> server_;
  UniqueFd signals_;
  Task drain_{"drain"};
  bool models_idle_ = true;  // the drain thread's until it is joined
  std::string url_;
  uint64_t watchdog_us_ = 0;
  std::optional<steady_clock::time_point> leave_at_;  // however far the drain is
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
  ENGRAM_TRY(AccessOptions access_options, MakeAccessOptions(settings_, state_dir_ ? state_dir_->path() : ""));
  ENGRAM_TRY(access_, AccessStore::Open(std::move(access_options)));
  if (!access_->keys()->required && !IsLoopback(settings_.server.address)) {
    return InvalidArgument("server.listen: " + settings_.server.address +
                           " is reachable from other machines and there are no keys: add auth.keys or create one "
                           "(`engramctl key create --state-dir`), or listen on 127.0.0.1");
  }
  const sigset_t set = OurSignals();
  signals_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_ || !loaded_ || drain_.fd() < 0)
    return IoError("signalfd or eventfd: " + std::system_category().message(errno));
  ENGRAM_TRY(EngineSpec spec, ConfiguredSpec(settings_));
  listening_ = operations_.Listen([this](const Operation& operation) { OnOperation(operation); });
  ModelManagerOptions model_options = MakeModelManagerOptions(settings_, spec.directory, PluginDirectories(settings_));
  model_options.estimate = [this](const EngineSpec& wanted) { return EstimateMemory(settings_, wanted, plugins_); };
  const auto table_directories = model_options.model_directories;
  LiveMemoryOptions memory_options = MakeLiveMemoryOptions(settings_, state_dir_ ? state_dir_->path() : "");
  memory_options.on_event = [this](const MemoryEvent& event) {
    memory_events_.Add(event);
    control_metrics_.OnMemoryEvent(event);
  };
  live_models_.SetOptions(std::move(memory_options));
  model_options.publish_hook = [this](const auto& old, const auto& fresh, const auto& publish) {
    return live_models_.Publish(old, fresh, publish);
  };
  model_options.load = [this](const EngineSpec& wanted, const std::function<Status()>& go_on) {
    return LoadEngine(settings_, wanted, plugins_, metrics_, state_dir_ ? state_dir_->path() : std::filesystem::path(),
                      go_on);
  };
  models_.emplace(std::move(model_options), ModelManager::Rooms{engines_, operations_, metrics_, plugins_});
  HttpOptions options = MakeHttpOptions(settings_);
  options.server_version = ENGRAMD_VERSION;
  if (options.web_root.empty()) options.web_root = DefaultDashboard();
  AdminServices admin;
  admin.models = &*models_;
  admin.operations = &operations_;
  admin.plugins = &plugins_;
  admin.memories = &live_models_.directory();
  admin.memory_events = &memory_events_;
  admin.access = access_.get();
  admin.table_directories = table_directories;
  admin.backup_directories = BackupDirectories(settings_, state_dir_ ? state_dir_->path() : "");
  admin.memory_version = [this](const std::string& model) {
    const auto live = live_models_.directory().Find(model);
    return live ? (*live)->status().version : 0;
  };
  admin.fixed_bytes = [this] { return fixed_bytes_.load(); };
  admin.config_json = [this] { return SettingsJson(settings_); };
  ENGRAM_TRY(server_, HttpServer::Start(std::move(options), engines_, metrics_, std::move(admin)));
  url_ = (settings_.server.tls_certificate.empty() ? "http://" : "https://") +
         FormatListenAddress(settings_.server.address, server_->port());
  log::Info("engramd {} starting on {}, loading the model", ENGRAMD_VERSION, url_);
  ENGRAM_CHECK_OK(models_->LoadConfigured(std::move(spec)));
  return {};
}

int Service::WaitMs() const {
  // Half the interval, as sd_watchdog_enabled(3) advises.
  const int watchdog_ms = watchdog_us_ == 0 ? -1 : static_cast<int>(std::max<uint64_t>(watchdog_us_ / 2000, 1));
  if (!leave_at_) return watchdog_ms;
  constexpr int kLookMs = 100;
  return watchdog_ms < 0 ? kLookMs : std::min(watchdog_ms, kLookMs);
}

int Service::Run() {
  RaiseFileLimit();
  if (Status opened = Open(); !opened) return Fail(opened.error().message);
  if (!access_->keys()->required)
    log::Info("there are no keys: every local user may use the API, other machines cannot reach it");
  if (sd_watchdog_enabled(0, &watchdog_us_) <= 0) watchdog_us_ = 0;
  sd_notify(0, "STATUS=Loading the model");

  while (state_ != State::kStopped) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {loaded_.get(), POLLIN, 0}, {drain_.fd(), POLLIN, 0}};
    const int ready = poll(fds, std::size(fds), WaitMs());
    if (ready < 0 && errno != EINTR) return Fail("poll: " + std::system_category().message(errno));
    if (watchdog_us_ != 0) sd_notify(0, "WATCHDOG=1");
    if (leave_at_ && steady_clock::now() >= *leave_at_ && fds[2].revents == 0) {
      log::Warning("something still waits, perhaps for a tier; leaving without it");
      std::_Exit(exit_status_);
    }
    if (ready <= 0) continue;
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) OnSignal(static_cast<int>(info.ssi_signo));
    if (fds[1].revents != 0) OnLoaded();
    if (fds[2].revents != 0) {
      drain_.Finish();
      state_ = State::kStopped;
      if (!models_idle_) {
        log::Info("stopped, without waiting for a model that was being loaded");
        _exit(exit_status_);  // a load cannot be interrupted, and nothing of it is kept
      }
    }
  }
  if (exit_status_ == 0) log::Info("stopped");
  for (const std::shared_ptr<Engine>& engine : engines_.List()) {
    const ModelMemory* memory = engine->model().memory();
    if (memory == nullptr || !memory->stalled()) continue;
    // Its thread cannot be ended, and everything else has.
    log::Warning("a tier of {} has not answered yet; leaving without it", engine->model().name());
    std::_Exit(exit_status_);
  }
  return exit_status_;
}

// What is resident beside weights and tables, before a request has come.
uint64_t FixedBytes(const Model& model) {
  uint64_t counted = model.backbone().info().device.starts_with("cpu") ? model.backbone().info().weight_bytes : 0;
  if (model.memory() != nullptr)
    for (const TierTableStats& tier : model.memory()->tier_stats()) counted += tier.counters.resident_bytes;
  const uint64_t resident = ResidentBytes();
  return resident - std::min(resident, counted);
}

// On the thread that reports.
void Service::OnOperation(const Operation& operation) {
  if (!IsOver(operation.state)) return;
  if (operation.id == kFirstLoad) {
    eventfd_write(loaded_.get(), 1);
    return;
  }
  const std::string what = operation.kind + " of " + operation.target;
  if (operation.error) {
    log::Error("operation {}, {}, failed: {}", operation.id, what, operation.error->message);
  } else {
    log::Info("operation {}, {}, {}", operation.id, what, OperationStateName(operation.state));
  }
}

void Service::OnLoaded() {
  eventfd_t count = 0;
  eventfd_read(loaded_.get(), &count);
  const Result<Operation> load = operations_.Get(kFirstLoad);
  if (state_ != State::kLoading || !load) return;
  const Result<std::shared_ptr<Engine>> engine = engines_.Find("");
  if (load->error || !engine) {
    exit_status_ = Fail(load->error ? load->error->message : engine.error().message);
    state_ = State::kStopped;
    return;
  }
  state_ = State::kServing;
  fixed_bytes_ = FixedBytes((*engine)->model());
  log::Info("engramd {} ready: {}, listening on {}", ENGRAMD_VERSION, DescribeEngine(**engine), url_);
  sd_notifyf(0, "READY=1\nSTATUS=Serving %s on %s", (*engine)->model().name().c_str(), url_.c_str());
}

void Service::OnSignal(int number) {
  if (number == SIGHUP) {
    Reload();
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

void Service::Reload() {
  // The server is the drain thread's once draining has begun.
  if (state_ != State::kLoading && state_ != State::kServing) return;
  const Status reloaded = server_->Reload();
  if (reloaded) log::Info("SIGHUP: certificates and the dashboard's files were read again; settings are read at start");
  if (!reloaded) log::Error("SIGHUP: {}; what was read before stays in use", reloaded.error().message);
}

void Service::BeginDrain() {
  state_ = State::kDraining;
  leave_at_ = steady_clock::now() + settings_.serving.drain_timeout + kLastWrites + kLastThreads;
  sd_notify(0, "STOPPING=1\nSTATUS=Finishing running requests");
  // The server's owner is the drain thread from here until it is joined.
  drain_.Start([this] {
    const auto deadline = steady_clock::now() + settings_.serving.drain_timeout;
    server_->BeginDrain();
    models_idle_ = models_->Stop(deadline);
    server_->Stop(std::max(deadline, steady_clock::now() + kLastWrites));
    live_models_.Stop();
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
  int status = 0;
  {
    Service service(settings);
    status = service.Run();
  }
  // A thread that was left behind may come back in the middle of static destructors.
  if (LeavableThread::num_left_behind() > 0) std::_Exit(status);
  return status;
}

}  // namespace engram
