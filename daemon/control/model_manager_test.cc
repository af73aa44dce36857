// SPDX-License-Identifier: Apache-2.0
// Swaps with real models, plugins and engines. What a whole daemon makes of them: tests/e2e/swap.test.mjs.
#include "control/model_manager.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/file_digest.h"
#include "serve/test_generation.h"
#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path kVectors = fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests/vectors";
const fs::path kPlugins = ENGRAM_TEST_PLUGIN_DIR;

class ModelManagerTest : public ::testing::Test {
 protected:
  ModelManagerTest() {
    for (const char* model : {"dense-paper", "dense-paper-hc4"}) {
      fs::create_directories(dir_.path() / "models" / model);
      for (const char* file : {"config.json", "model.safetensors"})
        fs::copy_file(kVectors / "models" / model / file, dir_.path() / "models" / model / file);
      fs::copy_file(kVectors / "tokenizer.json", dir_.path() / "models" / model / "tokenizer.json");
    }
    fs::create_directory(dir_.path() / "plugins");
    for (const char* version : {"-1.so", "-2.so"})
      for (const char* name : {"backbone_cpu", "tier_dram"})
        fs::copy_file(kPlugins / (std::string(name) + ".so"), dir_.path() / "plugins" / (std::string(name) + version));
    options_.model_directories = {dir_.path() / "models"};
    options_.plugin_directories = {dir_.path() / "plugins"};
    options_.estimate = [this](const EngineSpec&) -> Result<MemoryNeed> { return need_; };
    options_.load = [this](const EngineSpec& spec, const auto&) { return LoadEngine(spec); };
    listening_ = operations_.Listen([this](const Operation&) {
      std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
  }

  Result<std::unique_ptr<Engine>> LoadEngine(const EngineSpec& spec) {
    ModelOptions options{spec.name, spec.directory, nullptr, {{"threads", "1"}}, {}};
    ENGRAM_TRY(options.backbone, plugins_.Load(spec.backbone, ENGRAM_PLUGIN_BACKBONE));
    ENGRAM_TRY(auto tier, plugins_.Load(spec.tiers.at("dram"), ENGRAM_PLUGIN_TIER));
    options.tiers.push_back({"dram", std::move(tier), {}});
    ENGRAM_TRY(auto model, Model::Load(std::move(options)));
    return std::make_unique<Engine>(std::move(model), EngineOptions{}, metrics_);
  }
  EngineSpec Configured() const {
    const fs::path plugins = dir_.path() / "plugins";
    return {"m",
            dir_.path() / "models/dense-paper",
            "backbone_cpu",
            plugins / "backbone_cpu-1.so",
            {{"dram", plugins / "tier_dram-1.so"}},
            {}};
  }
  // The manager, with "dense-paper" served as "m".
  void Start() {
    manager_.emplace(options_, ModelManager::Rooms{engines_, operations_, metrics_, plugins_});
    ASSERT_EQ(Over(manager_->LoadConfigured(Configured())).state, OperationState::kSucceeded);
    old_answer_ = Answer();
  }
  Operation Wait(const Result<uint64_t>& id, const std::function<bool(const Operation&)>& until) {
    EXPECT_TRUE(id) << (id ? "" : id.error().message);
    std::unique_lock lock(mutex_);
    while (true) {
      Result<Operation> now = operations_.Get(id ? *id : 0);
      if (!now || until(*now)) return now ? *now : Operation{};
      changed_.wait(lock);
    }
  }
  Operation Over(const Result<uint64_t>& id) {
    return Wait(id, [](const Operation& operation) { return IsOver(operation.state); });
  }
  // The failed operation's message; the old model must serve on as if nothing had happened.
  std::string WhyFailed(const Result<uint64_t>& id) {
    const Operation operation = Over(id);
    EXPECT_EQ(operation.state, OperationState::kFailed);
    EXPECT_EQ(Answer(), old_answer_);
    EXPECT_EQ(manager_->List().size(), 1u);
    return operation.error ? operation.error->message : "no error";
  }
  static GenerationRequest Greedy() {
    GenerationRequest request;
    request.prompt = {5, 6, 7};
    request.max_tokens = 8;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
    return request;
  }
  std::vector<int32_t> Answer(const std::string& name = "m") {
    const auto engine = engines_.Find(name);
    EXPECT_TRUE(engine) << (engine ? "" : engine.error().message);
    return engine ? Generate(**engine, Greedy()).choices[0].tokens : std::vector<int32_t>{};
  }
  bool IsMapped(const char* plugin) {
    void* handle = dlopen((dir_.path() / "plugins" / plugin).c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (handle != nullptr) dlclose(handle);
    return handle != nullptr;
  }
  double Metric(const std::string& series) const {
    const std::string text = metrics_.Text();
    const size_t at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
  }

  TempDir dir_;
  std::mutex mutex_;
  std::condition_variable changed_;
  MemoryNeed need_{1, 1, 0};
  MetricRegistry metrics_;
  EngineDirectory engines_;
  PluginShelf plugins_;
  Operations operations_;
  std::shared_ptr<void> listening_;
  ModelManagerOptions options_;
  std::optional<ModelManager> manager_;
  std::vector<int32_t> old_answer_;
};

TEST_F(ModelManagerTest, NothingBeforeTheConfiguredModel) {
  manager_.emplace(options_, ModelManager::Rooms{engines_, operations_, metrics_, plugins_});
  EXPECT_EQ(manager_->Load({.directory = "dense-paper-hc4"}).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(manager_->Swap({.directory = "dense-paper-hc4"}).error().code, ErrorCode::kUnavailable);
  ASSERT_EQ(Over(manager_->LoadConfigured(Configured())).state, OperationState::kSucceeded);
  const std::vector<ServedModel> models = manager_->List();
  ASSERT_EQ(models.size(), 1u);
  EXPECT_EQ(models[0].spec, Configured());
  EXPECT_EQ(models[0].state, ServedModel::State::kServing);
  EXPECT_TRUE(models[0].is_default);
  EXPECT_GT(models[0].loaded_unix_s, 0);
}

TEST_F(ModelManagerTest, ASwapLetsTheOldOneFinish) {
  Start();
  Door door;
  std::shared_ptr<RecordingListener> running;
  std::weak_ptr<Engine> old;
  {
    const auto engine = engines_.Find("m").value();
    old = engine;
    running = SubmitRecorded(*engine, Greedy(), [&](const GenerationEvent& event) {
      if (event.kind == GenerationEvent::Kind::kToken) door.WaitOpen();
      return true;
    });
  }
  door.WaitReached();
  const double tokens_before = Metric("engramd_memory_rows_requested_total{model=\"m\",layer=\"1\"}");
  const auto id = manager_->Swap({.directory = "dense-paper-hc4"});
  Wait(id, [](const Operation& operation) { return operation.stage.starts_with("the old one finishes 1 running"); });
  {
    const std::vector<ServedModel> models = manager_->List();
    ASSERT_EQ(models.size(), 2u);
    EXPECT_TRUE(models[0].is_default);
    EXPECT_EQ(models[0].spec.directory, dir_.path() / "models/dense-paper-hc4");
    EXPECT_EQ(models[1].state, ServedModel::State::kDraining);
  }
  const std::vector<int32_t> new_answer = Answer();
  EXPECT_NE(new_answer, old_answer_);
  door.Open();
  EXPECT_EQ(running->Wait().choices[0].tokens, old_answer_);
  const Operation done = Over(id);
  EXPECT_EQ(done.state, OperationState::kSucceeded);
  EXPECT_EQ(done.stage, "done");
  EXPECT_EQ(done.target, "m");
  EXPECT_TRUE(old.expired());
  EXPECT_EQ(manager_->List().size(), 1u);
  EXPECT_EQ(Answer(), new_answer);
  // One model's series: its counters go on, its gauges are the new engine's alone.
  EXPECT_GT(Metric("engramd_memory_rows_requested_total{model=\"m\",layer=\"1\"}"), tokens_before);
  EXPECT_EQ(Metric("engramd_kv_cache_capacity_tokens{model=\"m\"}"),
            static_cast<double>(engines_.Find("m").value()->stats().kv_capacity_tokens));
}

TEST_F(ModelManagerTest, PluginsAreSwappedAndUnmapped) {
  Start();
  EXPECT_EQ(Over(manager_->SwapPlugin({.name = "dram", .path = "tier_dram-2"})).state, OperationState::kSucceeded);
  EXPECT_EQ(Over(manager_->SwapPlugin({.name = "backbone_cpu", .path = "backbone_cpu-2"})).state,
            OperationState::kSucceeded);
  EXPECT_EQ(Answer(), old_answer_);
  EXPECT_FALSE(IsMapped("tier_dram-1.so"));
  EXPECT_FALSE(IsMapped("backbone_cpu-1.so"));
  EXPECT_TRUE(IsMapped("tier_dram-2.so"));
  EXPECT_EQ(plugins_.List().size(), 2u);
  // A model swap keeps the plugins.
  EXPECT_EQ(Over(manager_->Swap({.directory = "dense-paper-hc4"})).state, OperationState::kSucceeded);
  EXPECT_EQ(manager_->List().at(0).spec.tiers.at("dram"), dir_.path() / "plugins/tier_dram-2.so");
  EXPECT_EQ(manager_->SwapPlugin({.name = "nothing", .path = "x"}).error().code, ErrorCode::kNotFound);
}

TEST_F(ModelManagerTest, PackedTablesBelongToTheirDirectory) {
  const auto tables = [&] { return manager_->List().at(0).spec.tables; };
  const std::map<uint32_t, fs::path> configured = {{1, dir_.path() / "models/one.ngt"}};
  dir_.Write("models/two.ngt", "");
  manager_.emplace(options_, ModelManager::Rooms{engines_, operations_, metrics_, plugins_});
  EngineSpec spec = Configured();
  spec.tables = configured;
  ASSERT_EQ(Over(manager_->LoadConfigured(spec)).state, OperationState::kSucceeded);
  EXPECT_EQ(Over(manager_->SwapPlugin({.name = "dram", .path = "tier_dram-2"})).state, OperationState::kSucceeded);
  EXPECT_EQ(tables(), configured);
  EXPECT_EQ(Over(manager_->Swap({.directory = "dense-paper-hc4"})).state, OperationState::kSucceeded);
  EXPECT_TRUE(tables().empty());
  EXPECT_EQ(Over(manager_->Swap({.directory = "dense-paper"})).state, OperationState::kSucceeded);
  EXPECT_EQ(tables(), configured);
  const std::map<uint32_t, fs::path> two = {{2, dir_.path() / "models/two.ngt"}};
  EXPECT_EQ(Over(manager_->Swap({.directory = "dense-paper", .tables = {{2, "two.ngt"}}})).state,
            OperationState::kSucceeded);
  EXPECT_EQ(tables(), two);
}

TEST_F(ModelManagerTest, AFailureLeavesTheOldOneServing) {
  fs::create_directories(dir_.path() / "models/empty");
  fs::copy(dir_.path() / "models/dense-paper", dir_.path() / "models/broken");
  fs::resize_file(dir_.path() / "models/broken/model.safetensors", 100'000);
  fs::copy_file(kPlugins / "test/bad_major.so", dir_.path() / "plugins/bad_major.so");
  Start();
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "none"})), HasSubstr("\"none\" does not exist"));
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "/etc"})), HasSubstr("\"/etc\" is outside the allowed"));
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "dense-paper/config.json"})), HasSubstr("is not a directory"));
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "empty"})), HasSubstr("models/empty/config.json"));
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "broken"})), HasSubstr("models/broken/model.safetensors"));
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "dense-paper-hc4", .tables = {{1, "/etc/passwd"}}})),
              HasSubstr("\"/etc/passwd\" is outside the allowed"));
  EXPECT_THAT(WhyFailed(manager_->SwapPlugin({.name = "dram", .path = "none"})), HasSubstr("\"none\" not found"));
  EXPECT_THAT(WhyFailed(manager_->SwapPlugin({.name = "dram", .path = (kPlugins / "tier_dram.so").string()})),
              HasSubstr("outside the plugin directories"));
  EXPECT_THAT(WhyFailed(manager_->SwapPlugin({.name = "dram", .path = "bad_major"})), HasSubstr("ABI major 2"));
  EXPECT_THAT(WhyFailed(manager_->SwapPlugin({.name = "dram", .path = "backbone_cpu-2"})),
              HasSubstr("plugin is a backbone, expected a tier"));
}

TEST_F(ModelManagerTest, DigestsAreChecked) {
  Start();
  const std::string wrong(64, '0');
  const std::string model = DirectorySha256(dir_.path() / "models/dense-paper-hc4").value();
  const std::string plugin = FileSha256(dir_.path() / "plugins/tier_dram-2.so").value();
  EXPECT_THAT(WhyFailed(manager_->Swap({.directory = "dense-paper-hc4", .sha256 = wrong})),
              testing::AllOf(HasSubstr(wrong), HasSubstr(model)));
  EXPECT_THAT(WhyFailed(manager_->SwapPlugin({.name = "dram", .path = "tier_dram-2", .sha256 = wrong})),
              testing::AllOf(HasSubstr(wrong), HasSubstr(plugin)));
  EXPECT_EQ(Over(manager_->Swap({.directory = "dense-paper-hc4", .sha256 = model})).state, OperationState::kSucceeded);
  EXPECT_EQ(Over(manager_->SwapPlugin({.name = "dram", .path = "tier_dram-2", .sha256 = plugin})).state,
            OperationState::kSucceeded);
}

TEST_F(ModelManagerTest, MemoryIsCheckedBeforeAnythingLoads) {
  uint64_t loads = 0;
  options_.available_bytes = [] { return uint64_t{200} << 20; };
  options_.load = [&](const EngineSpec& spec, const auto&) {
    ++loads;
    return LoadEngine(spec);
  };
  Start();
  need_ = {uint64_t{150} << 20, uint64_t{49} << 20, 0};
  const std::string why = WhyFailed(manager_->Swap({.directory = "dense-paper-hc4"}));
  const BackboneInfo& info = engines_.Find("m").value()->model().backbone().info();
  const uint64_t needed = (uint64_t{199} << 20) + info.kv_capacity_tokens * info.kv_bytes_per_token;
  EXPECT_THAT(why, HasSubstr("needs " + std::to_string(needed) + " bytes"));
  EXPECT_THAT(why, HasSubstr(std::to_string(uint64_t{200} << 20) + " bytes"));
  EXPECT_EQ(loads, 1u);
}

TEST_F(ModelManagerTest, ThePublishHookMayRefuse) {
  std::vector<std::pair<bool, bool>> calls;  // old and fresh were there
  bool refuse = false;
  options_.publish_hook = [&](const std::shared_ptr<Engine>& old, const std::shared_ptr<Engine>& fresh,
                              const std::function<void()>& publish) -> Status {
    calls.emplace_back(old != nullptr, fresh != nullptr);
    if (refuse) return FailedPrecondition("the journal says no");
    publish();
    return {};
  };
  Start();
  refuse = true;
  EXPECT_EQ(WhyFailed(manager_->Swap({.directory = "dense-paper-hc4"})), "the journal says no");
  EXPECT_EQ(WhyFailed(manager_->Unload("m")), "the journal says no");
  refuse = false;
  EXPECT_EQ(Over(manager_->Unload("m")).state, OperationState::kSucceeded);
  EXPECT_EQ(calls, (std::vector<std::pair<bool, bool>>{{false, true}, {true, true}, {true, false}, {true, false}}));
}

TEST_F(ModelManagerTest, ModelsComeAndGoWithTheirMetrics) {
  Start();
  EXPECT_EQ(Over(manager_->Load({.directory = "dense-paper-hc4"})).state, OperationState::kSucceeded);
  EXPECT_EQ(Over(manager_->Load({.directory = "dense-paper", .name = "dense-paper-hc4"})).error->code,
            ErrorCode::kFailedPrecondition);
  EXPECT_NE(Answer("dense-paper-hc4"), old_answer_);
  EXPECT_THAT(metrics_.Text(), HasSubstr("model=\"dense-paper-hc4\""));
  EXPECT_EQ(engines_.List().size(), 2u);
  EXPECT_EQ(Over(manager_->Unload("m")).state, OperationState::kSucceeded);
  EXPECT_EQ(engines_.Find("m").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("model=\"m\"")));
  EXPECT_TRUE(manager_->List().at(0).is_default);
  EXPECT_EQ(Over(manager_->Unload("dense-paper-hc4")).state, OperationState::kSucceeded);
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("model=")));
  EXPECT_FALSE(IsMapped("backbone_cpu-1.so"));
  EXPECT_EQ(manager_->Unload("m").error().code, ErrorCode::kUnavailable);
  // With nothing served, the configured plugins are used.
  EXPECT_EQ(Over(manager_->Load({.directory = "dense-paper", .name = "m"})).state, OperationState::kSucceeded);
  EXPECT_EQ(Answer(), old_answer_);
}

TEST_F(ModelManagerTest, AnEngineStillHeldEndsLaterOnTheSwapThread) {
  options_.last_answers_timeout = milliseconds(1);
  Start();
  std::shared_ptr<Engine> held = engines_.Find("m").value();
  const Operation swapped = Over(manager_->Swap({.directory = "dense-paper-hc4"}));
  EXPECT_EQ(swapped.state, OperationState::kSucceeded);
  EXPECT_THAT(swapped.stage, HasSubstr("ends when clients have taken"));
  EXPECT_EQ(manager_->List().size(), 2u);
  EXPECT_EQ(held->Submit(Greedy(), nullptr).error().code, ErrorCode::kUnavailable);
  held = nullptr;
  // Operations run on the same thread, after what it has to end.
  EXPECT_EQ(Over(manager_->SwapPlugin({.name = "dram", .path = "tier_dram-2"})).state, OperationState::kSucceeded);
  EXPECT_EQ(manager_->List().size(), 1u);
}

TEST_F(ModelManagerTest, ARunningLoadIsCancelledAndNothingOfItStays) {
  Door door;
  std::atomic<int> loads = 0;
  options_.load = [&](const EngineSpec& spec, const auto& go_on) -> Result<std::unique_ptr<Engine>> {
    if (++loads == 2) {
      door.WaitOpen();
      ENGRAM_CHECK_OK(go_on());
    }
    return LoadEngine(spec);
  };
  Start();
  EXPECT_EQ(operations_.Cancel(1).error().code, ErrorCode::kFailedPrecondition);
  const auto running = manager_->Swap({.directory = "dense-paper-hc4"});
  door.WaitReached();
  ASSERT_TRUE(operations_.Cancel(*running));
  EXPECT_TRUE(operations_.Cancel(*running));  // it is being cancelled already
  EXPECT_TRUE(operations_.Get(*running)->cancelling);
  door.Open();
  const Operation over = Over(running);
  EXPECT_EQ(over.state, OperationState::kCancelled);
  EXPECT_FALSE(over.error);
  EXPECT_EQ(operations_.Cancel(*running).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(Answer(), old_answer_);
  EXPECT_EQ(manager_->List().size(), 1u);
  EXPECT_EQ(Over(manager_->Swap({.directory = "dense-paper-hc4"})).state, OperationState::kSucceeded);
}

TEST_F(ModelManagerTest, TheQueueIsBoundedAndStopCancelsIt) {
  Door door;
  std::atomic<int> loads = 0;
  options_.max_queued = 2;
  options_.load = [&](const EngineSpec& spec, const auto&) {
    if (++loads == 2) door.WaitOpen();
    return LoadEngine(spec);
  };
  Start();
  const auto running = manager_->Swap({.directory = "dense-paper-hc4"});
  door.WaitReached();
  const auto first = manager_->Swap({.directory = "dense-paper"});
  const auto second = manager_->Swap({.directory = "dense-paper"});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(manager_->Swap({.directory = "dense-paper"}).error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(operations_.Cancel(*first));
  EXPECT_FALSE(manager_->Stop(steady_clock::now()));
  EXPECT_EQ(operations_.Get(*second)->state, OperationState::kCancelled);
  EXPECT_EQ(manager_->Swap({.directory = "dense-paper"}).error().code, ErrorCode::kUnavailable);
  door.Open();
  const Operation late = Over(running);
  ASSERT_EQ(late.state, OperationState::kFailed);
  EXPECT_EQ(late.error->message, "the daemon is stopping");
  EXPECT_TRUE(engines_.Find("m").value()->stats().draining);
}

}  // namespace
}  // namespace engram
