// SPDX-License-Identifier: Apache-2.0
#include "http/admin_memory.h"

#include <algorithm>

#include "core/sha256.h"

namespace engram {
namespace {

constexpr size_t kMaxKeyBytes = 255;

}  // namespace

TokenReader MemoryTarget::tokens() const {
  return {model.tokenizer.get(), model.memory->compressed_map().num_tokens()};
}

Result<uint32_t> MemoryTarget::LayerIndex(uint32_t layer) const {
  const std::vector<uint32_t>& layers = model.memory->layers();
  const auto found = std::find(layers.begin(), layers.end(), layer);
  if (found != layers.end()) return static_cast<uint32_t>(found - layers.begin());
  std::string known;
  for (const uint32_t each : layers) known += (known.empty() ? "" : ", ") + std::to_string(each);
  return InvalidArgument("layer " + std::to_string(layer) + " has no Engram memory; layers that have: " + known,
                         "layer");
}

Result<MemoryTarget> FindMemory(const LiveMemoryDirectory& memories, std::string_view model_name) {
  MemoryTarget target;
  ENGRAM_TRY(target.live, memories.Find(model_name));
  target.model = target.live->model();
  if (target.model.memory == nullptr)
    return Unsupported("model \"" + target.model.name + "\" has no Engram memory", "model");
  return target;
}

Result<MemoryTarget> FindMemory(const LiveMemoryDirectory& memories, const Request& request, JsonFields& fields) {
  QueryFields query(request);
  const std::string in_query = query.String("model");
  ENGRAM_CHECK_OK(query.Finish());
  const std::string name = fields.String("model", in_query);
  if (fields.failed()) return fields.Finish().error();
  return FindMemory(memories, name);
}

Result<MemoryTarget> FindMemory(const LiveMemoryDirectory& memories, QueryFields& query) {
  return FindMemory(memories, query.String("model"));
}

std::string_view PathRest(const Request& request, std::string_view prefix) {
  return std::string_view(request.path).substr(prefix.size());
}

Result<std::optional<IdempotencyKey>> ReadIdempotencyKey(const Request& request) {
  const std::string* header = request.Header("idempotency-key");
  if (header == nullptr) return std::optional<IdempotencyKey>();
  if (header->empty() || header->size() > kMaxKeyBytes) {
    return InvalidArgument("Idempotency-Key must have 1 to " + std::to_string(kMaxKeyBytes) + " bytes",
                           "Idempotency-Key");
  }
  Sha256 digest;
  digest.UpdateText(request.target);
  digest.UpdateText(request.body);
  return std::optional(IdempotencyKey{*header, digest.Finish()});
}

}  // namespace engram
