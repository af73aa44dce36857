// SPDX-License-Identifier: Apache-2.0
// SafetensorsTable: the rows of one Engram layer as stored in the model's safetensors files, in the raw form of
// engram/host.h. Immutable after Open(); Read() from any threads at once, blocking on the disk.
#pragma once

#include <engram/host.h>
#include <engram/safetensors.h>
#include <engram/tier.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/result.h"

namespace engram {

// Opens the safetensors files of a model directory; headers only.
Result<std::shared_ptr<const sdk::SafetensorsModel>> OpenSafetensors(const std::filesystem::path& model_dir);

class SafetensorsTable {
 public:
  // [model.]layers.<layer>.engram.embed.weight, with embed.scale where it is fp8; the two may lie in different files.
  // kNotFound for a missing tensor, kInvalidArgument for a shape or type other than `num_rows` and `head_dim` ask for,
  // with both numbers, file and tensor.
  static Result<std::unique_ptr<SafetensorsTable>> Open(std::shared_ptr<const sdk::SafetensorsModel> model,
                                                        uint32_t layer, uint64_t num_rows, uint32_t head_dim);

  // Rows and values per row that the layer's weight tensor states, for tables whose model says neither.
  struct Shape {
    uint64_t num_rows = 0;
    uint32_t head_dim = 0;
  };
  static Result<Shape> StatedShape(const sdk::SafetensorsModel& model, uint32_t layer);

  uint32_t layer() const { return layer_; }
  uint64_t num_rows() const { return num_rows_; }
  uint32_t row_bytes() const { return code_bytes_ + scale_bytes_; }
  engram_row_format row_format() const { return format_; }

  // Rows [first_row, first_row + num_rows) to dst, dense, row_bytes() each.
  Status Read(uint64_t first_row, uint64_t num_rows, uint8_t* dst) const;
  // The same as the ABI's callback; valid as long as this object.
  engram_row_source source() const;

 private:
  SafetensorsTable() = default;
  std::shared_ptr<const sdk::SafetensorsModel> model_;
  uint32_t layer_ = 0;
  uint64_t num_rows_ = 0;
  engram_row_format format_ = 0;
  std::string weight_;        // tensor name
  std::string scale_;         // tensor name; empty without scales
  uint32_t code_bytes_ = 0;   // of a row, in `weight_`
  uint32_t scale_bytes_ = 0;  // of a row, in `scale_`
};

}  // namespace engram
