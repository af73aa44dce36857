// SPDX-License-Identifier: Apache-2.0
#include "fuzz/served_world.h"

#include <dlfcn.h>

#include <filesystem>
#include <future>
#include <stdexcept>
#include <utility>

namespace engram {
namespace {

namespace fs = std::filesystem;

// Inputs that one world serves.
constexpr uint32_t kInputsPerWorld = 20'000;

template <typename T>
T OrThrow(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}

fs::path Vectors() {
  return fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors";
}
// The file. Its code stays in the process for good: libFuzzer goes on writing to the counters of code that was closed.
fs::path Plugin(const char* name) {
  fs::path file = fs::path(ENGRAM_TEST_PLUGIN_DIR) / name;
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) throw std::runtime_error(dlerror());
  dlclose(handle);
  return file;
}

}  // namespace

HttpOptions ServedWorld::Options() {
  HttpOptions options;
  options.server_version = "0";
  options.max_body_bytes = 1u << 20;
  options.max_upload_bytes = 2u << 20;
  options.max_prompts = 4;
  return options;
}

std::unique_ptr<Engine> ServedWorld::LoadEngine() {
  const fs::path source = Vectors() / "models/dense-paper";
  for (const char* name : {"config.json", "model.safetensors"}) fs::create_symlink(source / name, dir_.path() / name);
  fs::create_symlink(Vectors() / "tokenizer.json", dir_.path() / "tokenizer.json");
  dir_.Write("tokenizer_config.json", R"({"chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n)"
                                      R"({% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"})");
  ModelOptions options;
  options.name = "m";
  options.directory = dir_.path();
  options.backbone = OrThrow(plugins_.Load(Plugin("test/null_backbone.so"), ENGRAM_PLUGIN_BACKBONE));
  options.backbone_options = {{"max_positions", "128"}};
  options.tiers = {{"dram", OrThrow(plugins_.Load(Plugin("tier_dram.so"), ENGRAM_PLUGIN_TIER)), {}}};
  options.retain_versions = 64;
  // An input can keep the engine busy for some hundred steps at most.
  EngineOptions engine;
  engine.max_choices = 4;
  return std::make_unique<Engine>(OrThrow(Model::Load(std::move(options))), engine, metrics_);
}

ServedWorld::ServedWorld() {
  // The manager keeps its functions longer than this constructor runs.
  const auto served = std::make_shared<std::promise<std::shared_ptr<Engine>>>();
  const auto first = std::make_shared<bool>(true);
  ModelManagerOptions manager;
  manager.model_directories = {dir_.path() / "none"};
  manager.plugin_directories = manager.model_directories;
  manager.estimate = [](const EngineSpec& spec) -> Result<MemoryNeed> {
    if (spec.name != "m") return NotFound("no such model");
    return MemoryNeed{};
  };
  manager.load = [this, first](const EngineSpec&, const auto&) -> Result<std::unique_ptr<Engine>> {
    if (!std::exchange(*first, false)) return NotFound("no such model");
    return LoadEngine();
  };
  manager.publish_hook = [served](const auto&, const auto& fresh, const auto& publish) {
    publish();
    if (fresh != nullptr) served->set_value(fresh);  // once: nothing else loads
    return Status();
  };
  models_.emplace(std::move(manager), ModelManager::Rooms{engines_, operations_, metrics_, plugins_});
  EngineSpec spec;
  spec.name = "m";
  spec.directory = dir_.path();
  spec.backbone_name = "null_backbone";
  spec.backbone = Plugin("test/null_backbone.so");
  spec.tiers = {{"dram", Plugin("tier_dram.so")}};
  OrThrow(models_->LoadConfigured(std::move(spec)));
  LiveMemoryOptions live;
  live.retain_versions = 64;
  live.max_overlays = 100;
  live_ = OrThrow(LiveMemory::Open(std::move(live), LiveModel::Of(served->get_future().get())));
  memories_.Publish(live_);

  admin_.models = &*models_;
  admin_.operations = &operations_;
  admin_.plugins = &plugins_;
  admin_.memories = &memories_;
  AccessOptions access;
  access.path = dir_.path() / "access.sqlite";
  access_ = OrThrow(AccessStore::Open(std::move(access)));
  admin_.access = access_.get();
  admin_.memory_events = &memory_events_;
  admin_.table_directories = {dir_.path() / "none"};
  admin_.config_json = [] { return std::string("{}"); };
  http_metrics_.emplace(metrics_, options_.server_version);
  events_.emplace(metrics_, &operations_, &memory_events_, [] { return std::string_view("ready"); });
  router_.emplace(authenticator_, OriginPolicy{{}, true, {}});
  AddEndpoints(*router_, {options_, engines_, metrics_, draining_, dashboard_, admin_, *events_});
}

ServedWorld::~ServedWorld() {
  live_->Stop();
}

ServedWorld& ServedWorld::Fresh() {
  static std::unique_ptr<ServedWorld> world;
  static uint32_t num_inputs = 0;
  if (world == nullptr || ++num_inputs % kInputsPerWorld == 0) {
    world.reset();
    world = std::make_unique<ServedWorld>();
  }
  return *world;
}

}  // namespace engram
