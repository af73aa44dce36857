// SPDX-License-Identifier: Apache-2.0
// The safetensors files of a model. Choice: 0 the file as it is; 1 its header, before 4 KiB of values; 2 the header
// alone, whose values are missing; 3 an index over a good file.
#include "memory/safetensors_rows.h"

#include <algorithm>
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "fuzz/scratch_file.h"

namespace engram {
namespace {

constexpr std::string_view kGood =
    R"({"layers.1.engram.embed.weight":{"dtype":"BF16","shape":[64,32],"data_offsets":[0,4096]}})";

std::string WithLength(std::string_view header) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  return file.append(header);
}

}  // namespace

ENGRAM_FUZZ_TARGET(safetensors, bytes) {
  static const ScratchFile whole("model.safetensors");
  static const ScratchFile index("model.safetensors.index.json");
  FuzzInput input(bytes);
  const uint32_t kind = input.Choice(4);
  const std::string values(4096, 'v');
  const ScratchFile& file = kind == 3 ? index : whole;
  if (kind == 0) file.Write(input.Rest());
  if (kind == 1) file.Write(WithLength(input.Rest()) + values);
  if (kind == 2) file.Write(WithLength(input.Rest()));
  if (kind == 3) {
    static const bool written = [&] {
      std::ofstream(index.directory() / "a.safetensors", std::ios::binary) << WithLength(kGood) + values;
      return true;
    }();
    FUZZ_CHECK(written);
    file.Write(input.Rest());
  }
  const auto model = OpenSafetensors(file.directory());
  if (!model) {
    FUZZ_CHECK(!model.error().message.empty());
    return;
  }
  std::vector<char> buffer(4096);
  for (const auto& [name, tensor] : (*model)->tensors()) {
    FUZZ_CHECK(tensor.num_bytes <= input.Rest().size() + values.size());
    const uint64_t num_bytes = std::min<uint64_t>(tensor.num_bytes, buffer.size());
    (*model)->Read(name, tensor.num_bytes - num_bytes, num_bytes, buffer.data());
  }
  const auto shape = SafetensorsTable::StatedShape(**model, 1);
  if (!shape) return;
  const auto table = SafetensorsTable::Open(*model, 1, shape->num_rows, shape->head_dim);
  if (!table || (*table)->row_bytes() > buffer.size()) return;
  const Status read = (*table)->Read(shape->num_rows - 1, 1, reinterpret_cast<uint8_t*>(buffer.data()));
  if (!read) FUZZ_CHECK(!read.error().message.empty());
}

}  // namespace engram
