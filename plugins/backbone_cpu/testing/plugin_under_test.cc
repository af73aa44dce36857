// SPDX-License-Identifier: Apache-2.0
#include "testing/plugin_under_test.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace backbone_cpu::testing {

namespace {

struct Message {
  char text[512] = "";
  engram_message message = {text, sizeof(text)};
};

void Check(engram_status status, const Message& message) {
  if (status != ENGRAM_OK) throw std::runtime_error("status " + std::to_string(status) + ": " + message.text);
}

}  // namespace

const engram_backbone_functions& Plugin() {
  static const engram_backbone_functions* const functions = [] {
    void* library = dlopen(ENGRAM_TEST_PLUGIN_DIR "/backbone_cpu.so", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    const auto entry =
        reinterpret_cast<const engram_plugin_descriptor* (*)()>(dlsym(library, ENGRAM_PLUGIN_ENTRY_SYMBOL));
    if (entry == nullptr) throw std::runtime_error("no entry symbol");
    return static_cast<const engram_backbone_functions*>(entry()->functions);
  }();
  return *functions;
}

std::vector<int64_t> Addresser::Rows(uint32_t layer, const std::vector<int32_t>& tokens) const {
  const LayerHash& hash = layers.at(layer);
  std::vector<int64_t> rows;
  for (size_t t = 0; t < tokens.size(); ++t) {
    int64_t offset = 0;
    uint64_t mix = 0;
    for (uint32_t n = 1; n <= max_ngram_size; ++n) {
      const int32_t id = t + 1 >= n ? compressed.at(static_cast<size_t>(tokens[t + 1 - n])) : pad;
      mix ^= static_cast<uint64_t>(id) * static_cast<uint64_t>(hash.multipliers[n - 1]);
      for (uint32_t head = 0; n >= 2 && head < num_heads; ++head) {
        const int64_t prime = hash.primes[(n - 2) * num_heads + head];
        rows.push_back(static_cast<int64_t>(mix) % prime + offset);
        offset += prime;
      }
    }
  }
  return rows;
}

RowSource::RowSource(const std::string& model_dir, std::vector<uint32_t> layers) {
  const engram::sdk::SafetensorsModel model(model_dir);
  for (const uint32_t layer : layers) {
    const std::string name = "model.layers." + std::to_string(layer) + ".engram.embed.";
    Table table;
    const auto read = [&](const std::string& tensor, std::vector<uint8_t>* out) {
      const engram::sdk::TensorInfo& info = model.Get(tensor);
      out->resize(info.num_bytes);
      model.Read(tensor, 0, info.num_bytes, out->data());
      return info.num_bytes / info.shape[0];
    };
    table.weight_bytes = read(name + "weight", &table.weights);
    if (model.Find(name + "scale") != nullptr) table.scale_bytes = read(name + "scale", &table.scales);
    tables_.push_back(std::move(table));
  }
}

void RowSource::Append(uint32_t index, int64_t row, std::vector<uint8_t>* out) const {
  const Table& table = tables_.at(index);
  const auto add = [&](const std::vector<uint8_t>& bytes, uint64_t row_bytes) {
    const auto begin = bytes.begin() + row * static_cast<int64_t>(row_bytes);
    out->insert(out->end(), begin, begin + static_cast<int64_t>(row_bytes));
  };
  if (static_cast<uint64_t>(row + 1) * table.weight_bytes > table.weights.size()) throw std::out_of_range("row");
  add(table.weights, table.weight_bytes);
  add(table.scales, table.scale_bytes);
}

OpenedModel::OpenedModel(const std::string& model_dir, Addresser addresser,
                         std::vector<std::pair<std::string, std::string>> options)
    : addresser_(std::move(addresser)) {
  host_.struct_size = sizeof(host_);
  host_.context = this;
  host_.log = Log;
  host_.await_rows = AwaitRows;
  std::vector<engram_option> list;
  for (const auto& [key, value] : options) list.push_back({key.c_str(), value.c_str()});
  Message message;
  Check(Plugin().open(&host_, model_dir.c_str(), list.data(), static_cast<uint32_t>(list.size()), &backbone_,
                      &message.message),
        message);
  info_.struct_size = sizeof(info_);
  Check(Plugin().describe(backbone_, &info_), message);
  source_ = std::make_unique<RowSource>(
      model_dir, std::vector<uint32_t>(info_.engram_layers, info_.engram_layers + info_.num_engram_layers));
}

OpenedModel::~OpenedModel() {
  Plugin().close(backbone_);
}

void OpenedModel::Log(void* context, engram_log_level, const char* message) {
  static_cast<OpenedModel*>(context)->log_ += message;
}

engram_status OpenedModel::AwaitRows(void* context, engram_batch_rows* rows, uint32_t layer, engram_row_view* view,
                                     engram_message*) {
  auto* model = static_cast<OpenedModel*>(context);
  if (rows != reinterpret_cast<engram_batch_rows*>(&model->rows_)) return ENGRAM_INTERNAL;
  if (++model->num_awaits_.at(layer) != 1) return ENGRAM_INTERNAL;
  const std::vector<uint8_t>& bytes = model->rows_.at(layer);
  view->num_columns = model->info_.num_columns;
  view->row_bytes = static_cast<uint32_t>(model->info_.row_format == ENGRAM_ROW_F32 ? 4 * model->info_.row_values
                                          : model->info_.row_format == ENGRAM_ROW_FP8_E4M3_UE8M0
                                              ? model->info_.row_values + (model->info_.row_values + 31) / 32
                                              : 2 * model->info_.row_values);
  view->num_tokens = static_cast<uint32_t>(bytes.size() / view->num_columns / view->row_bytes);
  view->data = bytes.data();
  return ENGRAM_OK;
}

engram_sequence_id OpenedModel::New(uint32_t reserve, std::vector<int32_t> history) {
  Message message;
  engram_sequence_id id = 0;
  Check(Plugin().sequence_new(backbone_, reserve, &id, &message.message), message);
  histories_[id].tokens = std::move(history);
  return id;
}

engram_sequence_id OpenedModel::Fork(engram_sequence_id source, uint32_t reserve) {
  Message message;
  engram_sequence_id id = 0;
  Check(Plugin().sequence_fork(backbone_, source, reserve, &id, &message.message), message);
  histories_[id] = histories_.at(source);
  return id;
}

void OpenedModel::Truncate(engram_sequence_id sequence, uint32_t length) {
  Message message;
  Check(Plugin().sequence_truncate(backbone_, sequence, length, &message.message), message);
  histories_[sequence].length = length;
}

void OpenedModel::Free(engram_sequence_id sequence) {
  Plugin().sequence_free(backbone_, sequence);
  histories_.erase(sequence);
}

StepResult OpenedModel::Step(const std::vector<SliceRequest>& requests) {
  std::vector<engram_slice> slices;
  std::vector<int32_t> tokens;
  bool uses_memory = false;
  rows_.assign(info_.num_engram_layers, {});
  num_awaits_.assign(info_.num_engram_layers, 0);
  for (const SliceRequest& request : requests) {
    Past& past = histories_.at(request.sequence);
    slices.push_back({request.sequence, static_cast<uint32_t>(tokens.size()), request.num_tokens, past.length,
                      request.memory_off ? uint32_t{ENGRAM_SLICE_MEMORY_OFF} : 0u});
    uses_memory = uses_memory || (!request.memory_off && info_.num_engram_layers != 0);
    const auto begin = past.tokens.begin() + past.length;
    tokens.insert(tokens.end(), begin, begin + request.num_tokens);
    for (uint32_t index = 0; index < info_.num_engram_layers; ++index) {
      const std::vector<int64_t> rows = addresser_.Rows(info_.engram_layers[index], past.tokens);
      for (size_t i = size_t{past.length} * info_.num_columns;
           i < size_t{past.length + request.num_tokens} * info_.num_columns; ++i) {
        const size_t old_size = rows_[index].size();
        source_->Append(index, rows[i], &rows_[index]);
        // Rows of slices without memory are unspecified: 0x7f is NaN in FP8 and huge or NaN elsewhere.
        if (request.memory_off)
          std::fill(rows_[index].begin() + static_cast<ptrdiff_t>(old_size), rows_[index].end(), 0x7f);
      }
    }
    past.length += request.num_tokens;
  }
  const std::vector<uint8_t> wants(tokens.size(), 1);
  engram_batch batch = {};
  batch.struct_size = sizeof(batch);
  batch.flags = ENGRAM_BATCH_GATES | ENGRAM_BATCH_HIDDEN | (looks_closely_ ? uint32_t{ENGRAM_BATCH_LENS} : 0u);
  batch.num_slices = static_cast<uint32_t>(slices.size());
  batch.num_tokens = static_cast<uint32_t>(tokens.size());
  batch.slices = slices.data();
  batch.tokens = tokens.data();
  batch.wants_logits = wants.data();
  batch.rows = uses_memory ? reinterpret_cast<engram_batch_rows*>(&rows_) : nullptr;
  engram_step_output output = {};
  output.struct_size = sizeof(output);
  Message message;
  Check(Plugin().step(backbone_, &batch, &output, &message.message), message);
  for (const int count : num_awaits_) {
    if (count != (uses_memory ? 1 : 0)) throw std::runtime_error("await_rows was not called once per layer");
  }
  if (output.num_logits != tokens.size()) throw std::runtime_error("num_logits");
  StepResult result;
  for (size_t t = 0; t < tokens.size(); ++t) {
    const float* logits = output.logits + t * info_.vocab_size;
    result.logits.emplace_back(logits, logits + info_.vocab_size);
    const float* hidden = output.hidden + t * info_.hidden_size;
    result.hidden.emplace_back(hidden, hidden + info_.hidden_size);
  }
  const auto split = [&](const float* values, size_t num_layers, size_t width) {
    std::vector<std::vector<std::vector<float>>> split(num_layers);
    for (size_t layer = 0; layer < num_layers; ++layer) {
      for (size_t t = 0; t < tokens.size(); ++t) {
        const float* at = values + (layer * tokens.size() + t) * width;
        split[layer].emplace_back(at, at + width);
      }
    }
    return split;
  };
  result.gates = split(output.gates, info_.num_engram_layers, info_.num_streams);
  if (looks_closely_) {
    result.lens = split(output.lens_logits, info_.num_layers, info_.vocab_size);
    result.memory_norms = split(output.memory_norms, info_.num_engram_layers, info_.num_streams);
    result.stream_norms = split(output.stream_norms, info_.num_engram_layers, info_.num_streams);
  } else if (output.lens_logits != nullptr || output.memory_norms != nullptr || output.stream_norms != nullptr) {
    throw std::runtime_error("the lens was filled without being asked for");
  }
  return result;
}

StepResult OpenedModel::RunAll(engram_sequence_id sequence, uint32_t chunk, bool memory_off) {
  StepResult all;
  const auto append = [](auto& to, auto& part) {
    to.resize(part.size());
    for (size_t layer = 0; layer < part.size(); ++layer)
      std::move(part[layer].begin(), part[layer].end(), std::back_inserter(to[layer]));
  };
  const Past& past = histories_.at(sequence);
  while (past.length < past.tokens.size()) {
    const uint32_t count = std::min(chunk, static_cast<uint32_t>(past.tokens.size()) - past.length);
    StepResult part = Step({{sequence, count, memory_off}});
    std::move(part.logits.begin(), part.logits.end(), std::back_inserter(all.logits));
    std::move(part.hidden.begin(), part.hidden.end(), std::back_inserter(all.hidden));
    append(all.gates, part.gates);
    append(all.lens, part.lens);
    append(all.memory_norms, part.memory_norms);
    append(all.stream_norms, part.stream_norms);
  }
  return all;
}

std::vector<int32_t> OpenedModel::Greedy(const std::vector<int32_t>& prompt, size_t count, bool memory_off) {
  const engram_sequence_id sequence = New(static_cast<uint32_t>(prompt.size() + count), prompt);
  std::vector<int32_t> generated;
  while (generated.size() < count) {
    const StepResult result = RunAll(sequence, info_.max_batch_tokens, memory_off);
    generated.push_back(Argmax(result.logits.back()));
    History(sequence).push_back(generated.back());
  }
  Free(sequence);
  return generated;
}

int32_t Argmax(const std::vector<float>& values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace backbone_cpu::testing
