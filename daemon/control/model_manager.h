// SPDX-License-Identifier: Apache-2.0
// ModelManager: which models are served, and how that changes while requests run. A swap loads the new engine beside
// the old one, publishes it, lets the old one finish what it started, and ends it. When anything fails before the new
// engine is published, the old one serves on and the operation says why.
//
// One change at a time, on the thread "swap"; the rest wait in a bounded queue. All methods may be called from any
// thread; only Stop() and the destructor block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control/engine_spec.h"
#include "control/operations.h"
#include "control/retired_engines.h"
#include "core/machine_memory.h"
#include "core/metrics.h"
#include "core/result.h"
#include "plugin/plugin_shelf.h"
#include "serve/engine_directory.h"

namespace engram {

// For what must change together with the engine: called on the swap thread, must call publish() once, which does not
// fail, unless it returns an error. `old` is null when a model is added, `fresh` when one is removed. After an error
// without publish() the fresh engine is dropped and the old one serves on.
using PublishHook = std::function<Status(const std::shared_ptr<Engine>& old, const std::shared_ptr<Engine>& fresh,
                                         std::function<void()> publish)>;

struct ModelManagerOptions {
  std::vector<std::filesystem::path> model_directories;   // what requests may load models and tables from
  std::vector<std::filesystem::path> plugin_directories;  // and plugins
  std::chrono::milliseconds drain_timeout{30'000};        // how long an old engine's requests may go on
  // How long an operation waits, after that, for answers still being written to slow clients. The old engine then ends
  // when the last of them has gone.
  std::chrono::milliseconds last_answers_timeout{5'000};
  size_t max_queued = 16;  // operations that wait

  // Both are called on the swap thread and may block for minutes. `estimate` reads as little as it can; `load` asks
  // `go_on`, from any thread, between its steps and ends with its error.
  std::function<Result<MemoryNeed>(const EngineSpec&)> estimate;
  std::function<Result<std::unique_ptr<Engine>>(const EngineSpec&, const std::function<Status()>& go_on)> load;
  std::function<uint64_t()> available_bytes = AvailableMemoryBytes;
  PublishHook publish_hook = [](const auto&, const auto&, const std::function<void()>& publish) {
    publish();
    return Status();
  };
};

struct ServedModel {
  enum class State { kLoading, kServing, kDraining };
  EngineSpec spec;
  State state = State::kLoading;
  bool is_default = false;
  int64_t loaded_unix_s = 0;       // 0: not yet
  std::shared_ptr<Engine> engine;  // null while it loads
};

const char* ServedModelStateName(ServedModel::State state);  // "loading", "serving", "draining"

class ModelManager {
 public:
  // All of these must outlive the manager; `engines` changes only here.
  struct Rooms {
    EngineDirectory& engines;
    Operations& operations;
    MetricRegistry& metrics;
    PluginShelf& plugins;
  };
  ModelManager(ModelManagerOptions options, Rooms rooms);
  // As Stop() without a deadline; engines still in use then end where they are dropped.
  ~ModelManager();
  ModelManager(const ModelManager&) = delete;
  ModelManager& operator=(const ModelManager&) = delete;

  // The operations. Until the new engine is published each can be cancelled (Operations::Cancel()), then no more; the
  // configured model's load cannot at all. Each returns its id, or kResourceExhausted when the queue is full,
  // kUnavailable when stopping, kNotFound for a model or plugin nobody serves. What needs the disk is checked when its
  // turn has come, in this order: paths, digests, memory, files.

  // The configured model, taken as it is, before any other operation is accepted; its plugins are those of models
  // loaded later while none is served.
  Result<uint64_t> LoadConfigured(EngineSpec spec);

  struct ModelChange {
    std::string directory;  // inside the allowed directories, or relative to one of them
    std::string name;       // empty: the directory's name for a load, the default model for a swap
    std::string sha256;     // of the directory's files as DirectorySha256(); empty: not checked
    // Packed tables by layer, inside the allowed directories too. Empty: those the directory has now or as configured,
    // if it is one of these two; else the rows come from the model's files.
    std::map<uint32_t, std::string> tables;
  };
  // Adds a model, with the default model's plugins. kFailedPrecondition when the name is taken.
  Result<uint64_t> Load(ModelChange change);
  // Replaces the model that is served as `name`, which stays its name, with the same plugins.
  Result<uint64_t> Swap(ModelChange change);
  // Removes a model; its metrics go with it.
  Result<uint64_t> Unload(std::string name);

  struct PluginChange {
    std::string name;    // a tier's name, or the backbone's plugin, as configured
    std::string path;    // a plugin's name or path in the plugin directories
    std::string sha256;  // of that file; empty: not checked
    std::string model;   // empty: the default model
  };
  // Loads the model again with the other plugin file in that place.
  Result<uint64_t> SwapPlugin(PluginChange change);

  // What is served, loads or drains: the default first, then by age.
  std::vector<ServedModel> List() const;

  // Nothing more is taken or published: waiting operations are cancelled and every engine drains, all until the
  // deadline. False when an operation still runs then (a load cannot be interrupted).
  bool Stop(std::chrono::steady_clock::time_point deadline);

 private:
  struct Job {
    uint64_t operation = 0;
    std::function<Status(uint64_t operation)> work;
  };
  struct Entry {
    EngineSpec spec;
    ServedModel::State state = ServedModel::State::kLoading;
    int64_t loaded_unix_s = 0;
    std::weak_ptr<Engine> engine;
    const Engine* identity = nullptr;  // of `engine`, also when it is expired
  };

  // `configured`: with LoadConfigured(), which must be the first.
  Result<uint64_t> Enqueue(const char* kind, std::string target, std::string path,
                           std::function<Status(uint64_t operation)> work, const EngineSpec* configured = nullptr);
  Result<EngineSpec> SpecOf(const std::string& name) const;
  Result<std::filesystem::path*> PluginPlace(EngineSpec& spec, const PluginChange& change) const;

  // The swap thread's.
  void Run();
  // A step that can be the last: kCancelled, or kUnavailable when stopping.
  Status Step(uint64_t operation, std::string stage, double progress) const;
  Status CheckGoOn(uint64_t operation) const;  // any thread
  Status RunLoad(uint64_t operation, const ModelChange& change);
  Status RunSwap(uint64_t operation, const ModelChange& change);
  Status RunUnload(uint64_t operation, const std::string& name);
  Status RunPluginSwap(uint64_t operation, const PluginChange& change);
  Status UseDirectory(uint64_t operation, const ModelChange& change, EngineSpec& spec) const;
  Status CheckMemory(const EngineSpec& spec) const;
  // Who calls these gives its reference to `old` away: it ends when the last one is gone.
  Status Replace(uint64_t operation, std::shared_ptr<Engine> old, const EngineSpec& spec);
  Status Exchange(uint64_t operation, std::shared_ptr<Engine> old, std::shared_ptr<Engine> fresh,
                  const std::function<void()>& change);
  void Retire(uint64_t operation, std::shared_ptr<Engine> old);
  void Bury();

  const ModelManagerOptions options_;
  const Rooms rooms_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;  // Stop(): the thread finished a job
  std::deque<Job> jobs_;          // guarded by mutex_, as all below
  std::vector<Entry> entries_;
  EngineSpec configured_;
  bool busy_ = false;
  bool stopping_ = false;
  bool retired_came_ = false;

  const std::shared_ptr<RetiredEngines> retired_;
  std::thread thread_;
};

}  // namespace engram
