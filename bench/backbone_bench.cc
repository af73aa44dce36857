// SPDX-License-Identifier: Apache-2.0
// Measures a backbone plugin through its ABI on a synthetic model with random bf16 weights:
//   backbone_bench [--preset A|B] [--hidden N] [--layers N] [--heads N] [--kv-heads N] [--head-dim N] [--ffn N]
//                  [--vocab N] [--threads 1,2] [--streams 1,4,8] [--prefill 512] [--repeats 5] [--kernels NAME]
//                  [--plugin PATH]
// Preset A: hidden 384, 8 layers, vocabulary 8192. Preset B: the shape of Qwen3-0.6B. Prints the median of the repeats
// and, for decoding, weight bytes read per second over the memory bandwidth measured in the same run with as many
// threads (above 1 when the weights fit into the last-level cache).
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engram/abi.h"
#include "engram/backbone.h"

namespace {

struct Shape {
  uint64_t hidden = 384, layers = 8, heads = 6, kv_heads = 2, head_dim = 64, ffn = 1024, vocab = 8192;
};
constexpr Shape kQwen3Small = {1024, 28, 16, 8, 128, 3072, 151936};

struct Arguments {
  Shape shape;
  std::vector<uint64_t> threads = {1, 2};
  std::vector<uint64_t> streams = {1, 4, 8};
  uint64_t prefill = 512;
  uint64_t repeats = 5;
  std::string kernels;
  std::string plugin = ENGRAM_BENCH_PLUGIN_DIR "/backbone_cpu.so";
};

std::vector<uint64_t> ParseList(const std::string& text) {
  std::vector<uint64_t> list;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const uint64_t value = std::strtoull(text.substr(at, comma - at).c_str(), nullptr, 10);
    if (value == 0 || value > (1u << 24)) throw std::runtime_error("not a number from 1: " + text);
    list.push_back(value);
    at = comma + 1;
  }
  return list;
}

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc) throw std::runtime_error(flag + " needs a value");
    const std::string value = argv[i + 1];
    const auto number = [&] { return ParseList(value).front(); };
    if (flag == "--preset" && value == "A") {
      arguments.shape = Shape();
    } else if (flag == "--preset" && value == "B") {
      arguments.shape = kQwen3Small;
    } else if (flag == "--hidden") {
      arguments.shape.hidden = number();
    } else if (flag == "--layers") {
      arguments.shape.layers = number();
    } else if (flag == "--heads") {
      arguments.shape.heads = number();
    } else if (flag == "--kv-heads") {
      arguments.shape.kv_heads = number();
    } else if (flag == "--head-dim") {
      arguments.shape.head_dim = number();
    } else if (flag == "--ffn") {
      arguments.shape.ffn = number();
    } else if (flag == "--vocab") {
      arguments.shape.vocab = number();
    } else if (flag == "--threads") {
      arguments.threads = ParseList(value);
    } else if (flag == "--streams") {
      arguments.streams = ParseList(value);
    } else if (flag == "--prefill") {
      arguments.prefill = number();
    } else if (flag == "--repeats") {
      arguments.repeats = number();
    } else if (flag == "--kernels") {
      arguments.kernels = value;
    } else if (flag == "--plugin") {
      arguments.plugin = value;
    } else {
      throw std::runtime_error("unknown argument " + flag + " " + value);
    }
  }
  return arguments;
}

// Removes the model's directory.
class ModelDirectory {
 public:
  ModelDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "backbone_bench.XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
    path_ = pattern;
  }
  ~ModelDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ModelDirectory(const ModelDirectory&) = delete;
  ModelDirectory& operator=(const ModelDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void WriteModel(const Shape& s, const std::string& directory) {
  std::ofstream config(directory + "/config.json");
  config << "{\"model_type\": \"qwen3\", \"tie_word_embeddings\": true, \"rms_norm_eps\": 1e-6, "
         << "\"max_position_embeddings\": 4096, \"vocab_size\": " << s.vocab << ", \"hidden_size\": " << s.hidden
         << ", \"num_hidden_layers\": " << s.layers << ", \"num_attention_heads\": " << s.heads
         << ", \"num_key_value_heads\": " << s.kv_heads << ", \"head_dim\": " << s.head_dim
         << ", \"intermediate_size\": " << s.ffn << "}";
  std::string header = "{";
  uint64_t num_bytes = 0;
  const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
    uint64_t count = 1;
    std::string text;
    for (const uint64_t size : shape) {
      count *= size;
      text += (text.empty() ? "" : ",") + std::to_string(size);
    }
    header += (header.size() == 1 ? "\"" : ",\"") + name + "\":{\"dtype\":\"BF16\",\"shape\":[" + text +
              "],\"data_offsets\":[" + std::to_string(num_bytes) + "," + std::to_string(num_bytes + 2 * count) + "]}";
    num_bytes += 2 * count;
  };
  add("model.embed_tokens.weight", {s.vocab, s.hidden});
  add("model.norm.weight", {s.hidden});
  for (uint64_t layer = 0; layer < s.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    add(prefix + "input_layernorm.weight", {s.hidden});
    add(prefix + "post_attention_layernorm.weight", {s.hidden});
    add(prefix + "self_attn.q_proj.weight", {s.heads * s.head_dim, s.hidden});
    add(prefix + "self_attn.k_proj.weight", {s.kv_heads * s.head_dim, s.hidden});
    add(prefix + "self_attn.v_proj.weight", {s.kv_heads * s.head_dim, s.hidden});
    add(prefix + "self_attn.o_proj.weight", {s.hidden, s.heads * s.head_dim});
    add(prefix + "self_attn.q_norm.weight", {s.head_dim});
    add(prefix + "self_attn.k_norm.weight", {s.head_dim});
    add(prefix + "mlp.gate_proj.weight", {s.ffn, s.hidden});
    add(prefix + "mlp.up_proj.weight", {s.ffn, s.hidden});
    add(prefix + "mlp.down_proj.weight", {s.hidden, s.ffn});
  }
  header += "}";
  std::ofstream file(directory + "/model.safetensors", std::ios::binary);
  for (int i = 0; i < 8; ++i) file.put(static_cast<char>(header.size() >> 8 * i));
  file << header;
  // Values of about 1/64, either sign: sums stay finite at any depth.
  std::vector<uint16_t> chunk(1u << 20);
  uint64_t random = 1;
  for (uint64_t done = 0; done < num_bytes; done += chunk.size() * 2) {
    for (uint16_t& value : chunk) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      value = static_cast<uint16_t>((random >> 48 & 0x807f) | 0x3c80);
    }
    file.write(reinterpret_cast<const char*>(chunk.data()),
               static_cast<std::streamsize>(std::min<uint64_t>(chunk.size() * 2, num_bytes - done)));
  }
  if (!file.flush() || !config.flush()) throw std::runtime_error("cannot write the model to " + directory);
}

double Seconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Bytes per second when `num_threads` threads read 512 MiB front to back; the best of five.
double MemoryBandwidth(uint64_t num_threads) {
  static const std::vector<uint64_t> words(64u << 20, 1);
  static volatile uint64_t sink;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double seconds = Seconds([&] {
      std::vector<std::thread> threads;
      const size_t part = words.size() / num_threads / 8 * 8;
      for (uint64_t thread = 0; thread < num_threads; ++thread) {
        threads.emplace_back([begin = words.data() + thread * part, part] {
          uint64_t sums[8] = {};
          for (size_t i = 0; i < part; i += 8) {
            for (size_t j = 0; j < 8; ++j) sums[j] += begin[i + j];
          }
          for (const uint64_t sum : sums) sink = sink + sum;
        });
      }
      for (std::thread& thread : threads) thread.join();
    });
    best = std::max(best, static_cast<double>(words.size()) * 8 / seconds);
  }
  return best;
}

class Model {
 public:
  Model(const Arguments& arguments, const std::string& directory, uint64_t num_threads) {
    void* library = dlopen(arguments.plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    const auto entry =
        reinterpret_cast<const engram_plugin_descriptor* (*)()>(dlsym(library, ENGRAM_PLUGIN_ENTRY_SYMBOL));
    if (entry == nullptr) throw std::runtime_error(arguments.plugin + " is no plugin");
    functions_ = static_cast<const engram_backbone_functions*>(entry()->functions);
    host_.struct_size = sizeof(host_);
    host_.log = [](void*, engram_log_level, const char*) {};
    const std::string threads = std::to_string(num_threads);
    const std::string batch_tokens = std::to_string(std::max<uint64_t>(arguments.prefill, 64));
    std::vector<engram_option> options = {
        {"threads", threads.c_str()}, {"kv_cache_tokens", "8192"}, {"max_batch_tokens", batch_tokens.c_str()}};
    if (!arguments.kernels.empty()) options.push_back({"kernels", arguments.kernels.c_str()});
    Check(functions_->open(&host_, directory.c_str(), options.data(), static_cast<uint32_t>(options.size()), &backbone_,
                           &message_));
    info_.struct_size = sizeof(info_);
    Check(functions_->describe(backbone_, &info_));
  }
  ~Model() { functions_->close(backbone_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const engram_backbone_info& info() const { return info_; }

  engram_sequence_id New(uint32_t reserve) {
    engram_sequence_id id = 0;
    Check(functions_->sequence_new(backbone_, reserve, &id, &message_));
    return id;
  }
  void Truncate(engram_sequence_id id, uint32_t length) {
    Check(functions_->sequence_truncate(backbone_, id, length, &message_));
  }
  void Free(engram_sequence_id id) { functions_->sequence_free(backbone_, id); }

  // Runs `count` tokens of each sequence, logits for the last of each.
  void Step(const std::vector<engram_sequence_id>& ids, uint32_t position, uint32_t count) {
    std::vector<engram_slice> slices;
    std::vector<int32_t> tokens;
    std::vector<uint8_t> wants;
    for (const engram_sequence_id id : ids) {
      slices.push_back({id, static_cast<uint32_t>(tokens.size()), count, position, 0});
      for (uint32_t i = 0; i < count; ++i) {
        tokens.push_back(static_cast<int32_t>((tokens.size() * 7919 + position * 31) % info_.vocab_size));
        wants.push_back(i + 1 == count);
      }
    }
    engram_batch batch = {};
    batch.struct_size = sizeof(batch);
    batch.num_slices = static_cast<uint32_t>(slices.size());
    batch.num_tokens = static_cast<uint32_t>(tokens.size());
    batch.slices = slices.data();
    batch.tokens = tokens.data();
    batch.wants_logits = wants.data();
    engram_step_output output = {};
    output.struct_size = sizeof(output);
    Check(functions_->step(backbone_, &batch, &output, &message_));
  }

 private:
  void Check(engram_status status) const {
    if (status != ENGRAM_OK) throw std::runtime_error(text_);
  }

  const engram_backbone_functions* functions_ = nullptr;
  engram_host host_ = {};
  engram_backbone* backbone_ = nullptr;
  engram_backbone_info info_ = {};
  char text_[512] = "";
  engram_message message_ = {text_, sizeof(text_)};
};

void Measure(const Arguments& arguments, const std::string& directory, uint64_t num_threads) {
  constexpr uint32_t kPrompt = 32;
  constexpr uint32_t kSteps = 16;
  const double bandwidth = MemoryBandwidth(num_threads);
  Model model(arguments, directory, num_threads);
  std::printf("%s, weights %.1f MB %s, memory %.1f GB/s\n", model.info().device,
              static_cast<double>(model.info().weight_bytes) / 1e6, model.info().weight_type, bandwidth / 1e9);
  for (const uint64_t streams : arguments.streams) {
    std::vector<engram_sequence_id> ids;
    for (uint64_t i = 0; i < streams; ++i) {
      ids.push_back(model.New(kPrompt + kSteps));
      model.Step({ids.back()}, 0, kPrompt);
    }
    std::vector<double> seconds;
    for (uint64_t repeat = 0; repeat < arguments.repeats; ++repeat) {
      for (const engram_sequence_id id : ids) model.Truncate(id, kPrompt);
      seconds.push_back(Seconds([&] {
        for (uint32_t step = 0; step < kSteps; ++step) model.Step(ids, kPrompt + step, 1);
      }));
      for (const engram_sequence_id id : ids) model.Truncate(id, kPrompt);
    }
    const double steps_per_second = kSteps / Median(seconds);
    std::printf("  decode  %3llu streams  %9.1f tok/s  %8.3f ms/step  %5.2f of memory bandwidth\n",
                static_cast<unsigned long long>(streams), steps_per_second * static_cast<double>(streams),
                1e3 / steps_per_second, steps_per_second * static_cast<double>(model.info().weight_bytes) / bandwidth);
    for (const engram_sequence_id id : ids) model.Free(id);
  }
  const engram_sequence_id id = model.New(static_cast<uint32_t>(arguments.prefill));
  std::vector<double> seconds;
  for (uint64_t repeat = 0; repeat < arguments.repeats; ++repeat) {
    model.Truncate(id, 0);
    seconds.push_back(Seconds([&] { model.Step({id}, 0, static_cast<uint32_t>(arguments.prefill)); }));
  }
  // Two operations per weight and token, all but the output matrix, which serves one token.
  const Shape& s = arguments.shape;
  const double flops = (static_cast<double>(model.info().weight_bytes) / 2 - static_cast<double>(s.vocab * s.hidden)) *
                       2 * static_cast<double>(arguments.prefill);
  std::printf("  prefill %4llu tokens  %9.1f tok/s  %8.1f GFLOP/s\n",
              static_cast<unsigned long long>(arguments.prefill),
              static_cast<double>(arguments.prefill) / Median(seconds), flops / Median(seconds) / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = Parse(argc, argv);
    const ModelDirectory directory;
    WriteModel(arguments.shape, directory.path());
    for (const uint64_t threads : arguments.threads) Measure(arguments, directory.path(), threads);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "backbone_bench: %s\n", error.what());
    return 1;
  }
}
