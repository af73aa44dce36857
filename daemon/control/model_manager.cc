// SPDX-License-Identifier: Apache-2.0
#include "control/model_manager.h"

#include <malloc.h>
#include <pthread.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "core/allowed_path.h"
#include "core/file_digest.h"
#include "core/log.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr double kGigabyte = 1e9;

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

const char* ServedModelStateName(ServedModel::State state) {
  switch (state) {
    case ServedModel::State::kLoading:
      return "loading";
    case ServedModel::State::kServing:
      return "serving";
    case ServedModel::State::kDraining:
      break;
  }
  return "draining";
}

ModelManager::ModelManager(ModelManagerOptions options, Rooms rooms)
    : options_(std::move(options)), rooms_(rooms), retired_(std::make_shared<RetiredEngines>([this] {
        std::lock_guard lock(mutex_);
        retired_came_ = true;
        wake_.notify_all();
      })) {
  thread_ = std::thread([this] { Run(); });
}

ModelManager::~ModelManager() {
  Stop(steady_clock::now());
  thread_.join();
  retired_->Close();
  retired_->Take();  // ends them
}

Result<uint64_t> ModelManager::Enqueue(const char* kind, std::string target, std::string path,
                                       std::function<Status(uint64_t)> work, const EngineSpec* configured) {
  uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    if (configured != nullptr) configured_ = *configured;
    if (configured_.directory.empty()) return Unavailable("the configured model is not loaded yet");
    if (stopping_) return Unavailable("the daemon is stopping");
    if (jobs_.size() >= options_.max_queued)
      return ResourceExhausted(fmt::format("{} operations are waiting already, which is the limit", jobs_.size()));
    id = rooms_.operations.Add(kind, std::move(target), std::move(path));
    jobs_.push_back({id, std::move(work)});
  }
  wake_.notify_all();
  return id;
}

Result<uint64_t> ModelManager::LoadConfigured(EngineSpec spec) {
  const auto load = [this, spec](uint64_t operation) -> Status {
    ENGRAM_CHECK_OK(rooms_.operations.PassLastChance(operation));
    return Replace(operation, nullptr, spec);
  };
  return Enqueue("model.load", spec.name, spec.directory.string(), load, &spec);
}

Result<uint64_t> ModelManager::Load(ModelChange change) {
  if (change.name.empty()) change.name = Model::NameOf(change.directory);
  if (change.name.empty()) return InvalidArgument("\"" + change.directory + "\" names no directory", "model");
  const std::string name = change.name, path = change.directory;
  return Enqueue("model.load", name, path,
                 [this, change = std::move(change)](uint64_t operation) { return RunLoad(operation, change); });
}

Result<uint64_t> ModelManager::Swap(ModelChange change) {
  ENGRAM_TRY(const EngineSpec spec, SpecOf(change.name));
  change.name = spec.name;
  const std::string path = change.directory;
  return Enqueue("model.swap", spec.name, path,
                 [this, change = std::move(change)](uint64_t operation) { return RunSwap(operation, change); });
}

Result<uint64_t> ModelManager::Unload(std::string name) {
  ENGRAM_CHECK_OK(SpecOf(name));
  return Enqueue("model.unload", name, "", [this, name](uint64_t operation) { return RunUnload(operation, name); });
}

Result<uint64_t> ModelManager::SwapPlugin(PluginChange change) {
  ENGRAM_TRY(EngineSpec spec, SpecOf(change.model));
  ENGRAM_CHECK_OK(PluginPlace(spec, change));
  change.model = spec.name;
  const std::string target = change.name, path = change.path;
  return Enqueue("plugin.swap", target, path,
                 [this, change = std::move(change)](uint64_t operation) { return RunPluginSwap(operation, change); });
}

// Of the model that is served under that name.
Result<EngineSpec> ModelManager::SpecOf(const std::string& name) const {
  ENGRAM_TRY(const std::shared_ptr<Engine> engine, rooms_.engines.Find(name));
  std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_)
    if (entry.identity == engine.get()) return entry.spec;
  return Internal("the model \"" + engine->model().name() + "\" is served, but not known to the model manager");
}

Result<fs::path*> ModelManager::PluginPlace(EngineSpec& spec, const PluginChange& change) const {
  if (const auto tier = spec.tiers.find(change.name); tier != spec.tiers.end()) return &tier->second;
  if (change.name == spec.backbone_name) return &spec.backbone;
  std::string names = "\"" + spec.backbone_name + "\"";
  for (const auto& [name, path] : spec.tiers) names += ", \"" + name + "\"";
  return NotFound("the model \"" + spec.name + "\" has no plugin \"" + change.name + "\"; it has " + names, "name");
}

std::vector<ServedModel> ModelManager::List() const {
  const std::vector<std::shared_ptr<Engine>> engines = rooms_.engines.List();
  std::vector<ServedModel> models;
  {
    std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_)
      models.push_back({entry.spec, entry.state, !engines.empty() && engines.front().get() == entry.identity,
                        entry.loaded_unix_s, entry.engine.lock()});
  }
  std::stable_partition(models.begin(), models.end(), [](const ServedModel& model) { return model.is_default; });
  return models;
}

bool ModelManager::Stop(steady_clock::time_point deadline) {
  std::deque<Job> waiting;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting.swap(jobs_);
  }
  wake_.notify_all();
  for (const Job& job : waiting)
    if (!rooms_.operations.Cancel(job.operation)) log::Debug("operation {} was cancelled already", job.operation);
  const auto drain_all = [&] {
    for (const ServedModel& model : List())
      if (model.engine != nullptr) model.engine->Drain(deadline);
  };
  drain_all();
  bool idle = false;
  {
    std::unique_lock lock(mutex_);
    idle = idle_.wait_until(lock, deadline, [this] { return !busy_; });
  }
  drain_all();  // what was published meanwhile
  return idle;
}

void ModelManager::Run() {
  pthread_setname_np(pthread_self(), "swap");
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || retired_came_ || !jobs_.empty(); });
    if (stopping_) return;
    busy_ = true;
    std::optional<Job> job;
    if (!jobs_.empty()) {
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    lock.unlock();
    if (job && rooms_.operations.Start(job->operation)) {
      Status status;
      try {
        status = job->work(job->operation);
      } catch (const std::exception& error) {
        status = Internal(std::string("the swap thread: ") + error.what());
      }
      // A candidate that was given up is gone before anybody hears of it.
      if (!status) Bury();
      rooms_.operations.Finish(job->operation, status);
    }
    Bury();
    lock.lock();
    busy_ = false;
    idle_.notify_all();
  }
}

Status ModelManager::CheckGoOn(uint64_t operation) const {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return Unavailable("the daemon is stopping");
  }
  return rooms_.operations.CheckCancelled(operation);
}

Status ModelManager::Step(uint64_t operation, std::string stage, double progress) const {
  rooms_.operations.Report(operation, std::move(stage), progress);
  return CheckGoOn(operation);
}

Status ModelManager::RunLoad(uint64_t operation, const ModelChange& change) {
  EngineSpec spec;
  if (Result<EngineSpec> served = SpecOf("")) {
    spec = std::move(*served);
  } else {
    std::lock_guard lock(mutex_);
    spec = configured_;
  }
  if (rooms_.engines.Find(change.name))
    return FailedPrecondition("a model named \"" + change.name + "\" is served already: swap it, or give another name");
  spec.name = change.name;
  ENGRAM_CHECK_OK(UseDirectory(operation, change, spec));
  ENGRAM_CHECK_OK(CheckMemory(spec));
  return Replace(operation, nullptr, spec);
}

Status ModelManager::RunSwap(uint64_t operation, const ModelChange& change) {
  ENGRAM_TRY(std::shared_ptr<Engine> old, rooms_.engines.Find(change.name));
  ENGRAM_TRY(EngineSpec spec, SpecOf(change.name));
  ENGRAM_CHECK_OK(UseDirectory(operation, change, spec));
  ENGRAM_CHECK_OK(CheckMemory(spec));
  return Replace(operation, std::move(old), spec);
}

Status ModelManager::RunPluginSwap(uint64_t operation, const PluginChange& change) {
  ENGRAM_TRY(std::shared_ptr<Engine> old, rooms_.engines.Find(change.model));
  ENGRAM_TRY(EngineSpec spec, SpecOf(change.model));
  ENGRAM_CHECK_OK(Step(operation, "checking the plugin", 0));
  ENGRAM_TRY(fs::path* const place, PluginPlace(spec, change));
  ENGRAM_TRY(*place, FindPlugin(change.path, options_.plugin_directories));
  const auto kind = place == &spec.backbone ? ENGRAM_PLUGIN_BACKBONE : ENGRAM_PLUGIN_TIER;
  // Held until the new engine holds it: the loader gets the file that was checked.
  ENGRAM_TRY(const auto library, rooms_.plugins.Load(*place, kind, change.sha256));
  ENGRAM_CHECK_OK(CheckMemory(spec));
  return Replace(operation, std::move(old), spec);
}

Status ModelManager::RunUnload(uint64_t operation, const std::string& name) {
  ENGRAM_TRY(std::shared_ptr<Engine> old, rooms_.engines.Find(name));
  return Exchange(operation, std::move(old), nullptr, [&] { rooms_.engines.Remove(name); });
}

// Puts the change's directory and tables into `spec`, checked.
Status ModelManager::UseDirectory(uint64_t operation, const ModelChange& change, EngineSpec& spec) const {
  ENGRAM_CHECK_OK(Step(operation, "checking the model's files", 0));
  const EngineSpec now = spec;
  ENGRAM_TRY(spec.directory, ResolveAllowed(change.directory, options_.model_directories, "model directory"));
  std::error_code error;
  if (!fs::is_directory(spec.directory, error))
    return InvalidArgument("model directory " + spec.directory.string() + " is not a directory", "model");
  spec.tables.clear();
  if (change.tables.empty()) {
    std::lock_guard lock(mutex_);
    for (const EngineSpec& known : {configured_, now})
      if (fs::equivalent(known.directory, spec.directory, error)) spec.tables = known.tables;
  }
  for (const auto& [layer, path] : change.tables) {
    ENGRAM_TRY(spec.tables[layer], ResolveAllowed(path, options_.model_directories, "packed table"));
  }
  if (change.sha256.empty()) return {};
  ENGRAM_TRY(const std::string digest, DirectorySha256(spec.directory, [&] { return CheckGoOn(operation); }));
  if (digest != change.sha256)
    return FailedPrecondition("the files in " + spec.directory.string() + " have sha256 " + digest + ", expected " +
                              change.sha256);
  return {};
}

Status ModelManager::CheckMemory(const EngineSpec& spec) const {
  ENGRAM_TRY(MemoryNeed need, options_.estimate(spec));
  if (const auto engine = rooms_.engines.Find("")) {
    const BackboneInfo& info = (*engine)->model().backbone().info();
    // The new one's KV cache is known when it is there; as large as the default model's is a fair guess.
    need.kv_bytes = info.kv_capacity_tokens * info.kv_bytes_per_token;
    // What does not fit on a device its backbone says when it opens.
    if (!info.device.starts_with("cpu")) need.kv_bytes = need.weights_bytes = 0;
  }
  const uint64_t available = options_.available_bytes();
  if (need.total_bytes() <= available) return {};
  const auto gigabytes = [](uint64_t bytes) { return static_cast<double>(bytes) / kGigabyte; };
  return ResourceExhausted(fmt::format(
      "{} needs {} bytes ({:.2f} GB: weights {:.2f}, tables {:.2f}, KV cache {:.2f}) beside what is served, and {} "
      "bytes ({:.2f} GB) of memory are available",
      spec.directory.string(), need.total_bytes(), gigabytes(need.total_bytes()), gigabytes(need.weights_bytes),
      gigabytes(need.table_bytes), gigabytes(need.kv_bytes), available, gigabytes(available)));
}

// Loads `spec` and lets it take the place of `old`, or its own if that is null.
Status ModelManager::Replace(uint64_t operation, std::shared_ptr<Engine> old, const EngineSpec& spec) {
  ENGRAM_CHECK_OK(Step(operation, "loading", 0.1));
  size_t place = 0;
  {
    std::lock_guard lock(mutex_);
    place = entries_.size();
    entries_.push_back({spec, ServedModel::State::kLoading, 0, {}, nullptr});
  }
  // Only this thread adds and removes entries, so the place stays.
  const auto give_up = [&] {
    std::lock_guard lock(mutex_);
    entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(place));
  };
  Result<std::unique_ptr<Engine>> loaded = Internal("the loader returned nothing");
  try {
    loaded = options_.load(spec, [&] { return CheckGoOn(operation); });
  } catch (...) {
    give_up();
    throw;
  }
  if (!loaded) {
    give_up();
    return std::move(loaded).error();
  }
  std::shared_ptr<Engine> fresh = retired_->Share(std::move(*loaded));
  {
    std::lock_guard lock(mutex_);
    entries_[place].engine = fresh;
    entries_[place].identity = fresh.get();
  }
  return Exchange(operation, std::move(old), fresh, [&] {
    rooms_.engines.Publish(fresh);
    std::lock_guard lock(mutex_);
    entries_[place].state = ServedModel::State::kServing;
    entries_[place].loaded_unix_s = UnixSeconds();
  });
}

// Makes the change known, together with what the hook does, and lets the old engine go. After an error before that
// everything is as it was: the fresh engine, dropped by the callers, is buried and with it its entry.
Status ModelManager::Exchange(uint64_t operation, std::shared_ptr<Engine> old, std::shared_ptr<Engine> fresh,
                              const std::function<void()>& change) {
  ENGRAM_CHECK_OK(Step(operation, "publishing", 0.8));
  ENGRAM_CHECK_OK(rooms_.operations.PassLastChance(operation));
  GateStatistics* counted = old != nullptr ? old->gate_statistics() : nullptr;
  if (fresh != nullptr && counted != nullptr && fresh->gate_statistics() != nullptr)
    ENGRAM_CHECK_OK(fresh->gate_statistics()->Follow(*counted));
  bool published = false;
  Status status;
  try {
    status = options_.publish_hook(old, fresh, [&] {
      change();
      published = true;
    });
  } catch (const std::exception& error) {
    // What is published must still be followed by the old one's end.
    status = Internal(std::string("publishing: ") + error.what());
  }
  fresh = nullptr;
  if (status && !published) status = Internal("the publish hook did not publish");
  if (published && old != nullptr) {
    Retire(operation, std::move(old));
  } else if (published) {
    rooms_.operations.Report(operation, "done", 1);
  }
  return status;
}

void ModelManager::Retire(uint64_t operation, std::shared_ptr<Engine> old) {
  const Engine* const identity = old.get();
  {
    std::lock_guard lock(mutex_);
    for (Entry& entry : entries_)
      if (entry.identity == identity) entry.state = ServedModel::State::kDraining;
  }
  const Engine::Stats stats = old->stats();
  rooms_.operations.Report(
      operation, fmt::format("the old one finishes {} running and {} queued requests", stats.running, stats.queued),
      0.85);
  old->Drain(steady_clock::now() + options_.drain_timeout);
  rooms_.operations.Report(operation, "ending the old one", 0.95);
  old = nullptr;
  const auto deadline = steady_clock::now() + options_.last_answers_timeout;
  const auto is_buried = [&] {
    return std::none_of(entries_.begin(), entries_.end(),
                        [&](const Entry& entry) { return entry.identity == identity; });
  };
  std::unique_lock lock(mutex_);
  while (!is_buried()) {
    if (!wake_.wait_until(lock, deadline, [this] { return stopping_ || retired_came_; }) || stopping_) break;
    lock.unlock();
    Bury();
    lock.lock();
  }
  const std::string stage =
      is_buried() ? "done" : "done; the old one ends when clients have taken the last of its answers";
  lock.unlock();
  rooms_.operations.Report(operation, stage, 1);
}

// Ends the engines that have come back, here rather than where they were dropped.
void ModelManager::Bury() {
  {
    std::lock_guard lock(mutex_);
    retired_came_ = false;
  }
  std::vector<std::unique_ptr<Engine>> engines = retired_->Take();
  if (engines.empty()) return;
  for (std::unique_ptr<Engine>& engine : engines) {
    const std::string name = engine->model().name();
    const Engine* const identity = engine.get();
    engine = nullptr;
    bool name_is_used = false;
    {
      std::lock_guard lock(mutex_);
      std::erase_if(entries_, [&](const Entry& entry) { return entry.identity == identity; });
      name_is_used =
          std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.spec.name == name; });
    }
    if (!name_is_used) rooms_.metrics.Forget("model", name);
  }
  // What an engine held is spread over the heap and would stay with the process; swaps are rare and this thread is
  // idle.
  malloc_trim(0);
}

}  // namespace engram
