// SPDX-License-Identifier: Apache-2.0
#include "memory/safetensors_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "memory/from_sdk.h"

namespace engram {
namespace {

using sdk::TensorInfo;
using sdk::TensorType;

Status CheckShape(const sdk::SafetensorsModel& model, const std::string& name, const TensorInfo& tensor, uint64_t rows,
                  uint64_t columns) {
  const std::string place = model.FilePath(tensor.file) + ": tensor '" + name + "'";
  if (tensor.shape.size() != 2)
    return InvalidArgument(place + " has shape " + sdk::ShapeText(tensor.shape) + ", expected [rows, values]");
  if (tensor.shape[0] != rows)
    return InvalidArgument(place + " has " + std::to_string(tensor.shape[0]) +
                           " rows, the model's Engram geometry gives " + std::to_string(rows));
  if (tensor.shape[1] != columns)
    return InvalidArgument(place + " has " + std::to_string(tensor.shape[1]) + " values per row, expected " +
                           std::to_string(columns));
  return {};
}

std::string TensorPrefix(const sdk::SafetensorsModel& model, uint32_t layer) {
  const std::string plain = "layers." + std::to_string(layer) + ".engram.embed.";
  // DeepSeek-V4.1 names them without "model.".
  return model.Find(plain + "weight") != nullptr ? plain : "model." + plain;
}

}  // namespace

Result<std::shared_ptr<const sdk::SafetensorsModel>> OpenSafetensors(const std::filesystem::path& model_dir) {
  return FromSdk("reading safetensors", [&]() -> Result<std::shared_ptr<const sdk::SafetensorsModel>> {
    return std::make_shared<const sdk::SafetensorsModel>(model_dir.string());
  });
}

Result<std::unique_ptr<SafetensorsTable>> SafetensorsTable::Open(std::shared_ptr<const sdk::SafetensorsModel> model,
                                                                 uint32_t layer, uint64_t num_rows, uint32_t head_dim) {
  return FromSdk("reading safetensors", [&]() -> Result<std::unique_ptr<SafetensorsTable>> {
    const std::string prefix = TensorPrefix(*model, layer);
    std::unique_ptr<SafetensorsTable> table(new SafetensorsTable());
    table->weight_ = prefix + "weight";
    const TensorInfo& weight = model->Get(table->weight_);
    const std::string place = model->FilePath(weight.file) + ": tensor '" + table->weight_ + "'";
    ENGRAM_CHECK_OK(CheckShape(*model, table->weight_, weight, num_rows, head_dim));
    const TensorInfo* scale = model->Find(prefix + "scale");
    switch (weight.type) {
      case TensorType::kBF16:
        table->format_ = ENGRAM_ROW_BF16;
        break;
      case TensorType::kF16:
        table->format_ = ENGRAM_ROW_F16;
        break;
      case TensorType::kF32:
        table->format_ = ENGRAM_ROW_F32;
        break;
      case TensorType::kF8E4M3:
        table->format_ = ENGRAM_ROW_FP8_E4M3_UE8M0;
        break;
      default:
        return InvalidArgument(place + " has type " + sdk::Name(weight.type) + ", expected BF16, F16, F32 or F8_E4M3");
    }
    if (table->format_ == ENGRAM_ROW_FP8_E4M3_UE8M0) {
      table->scale_ = prefix + "scale";
      if (scale == nullptr)
        return NotFound(place + " is F8_E4M3, but tensor '" + table->scale_ + "' with its scales is missing");
      table->scale_bytes_ = (head_dim + 31) / 32;
      ENGRAM_CHECK_OK(CheckShape(*model, table->scale_, *scale, num_rows, table->scale_bytes_));
      if (scale->type != TensorType::kF8E8M0)
        return InvalidArgument(model->FilePath(scale->file) + ": tensor '" + table->scale_ + "' has type " +
                               sdk::Name(scale->type) + ", expected F8_E8M0");
    } else if (scale != nullptr) {
      return InvalidArgument(model->FilePath(scale->file) + ": tensor '" + prefix + "scale' belongs to an F8_E4M3 " +
                             "table, but '" + table->weight_ + "' has type " + sdk::Name(weight.type));
    }
    table->code_bytes_ = head_dim * sdk::NumBytes(weight.type);
    table->layer_ = layer;
    table->num_rows_ = num_rows;
    table->model_ = std::move(model);
    return table;
  });
}

Result<SafetensorsTable::Shape> SafetensorsTable::StatedShape(const sdk::SafetensorsModel& model, uint32_t layer) {
  return FromSdk("reading safetensors", [&]() -> Result<Shape> {
    const std::string name = TensorPrefix(model, layer) + "weight";
    const TensorInfo& weight = model.Get(name);
    if (weight.shape.size() != 2 || weight.shape[1] > std::numeric_limits<uint32_t>::max())
      return InvalidArgument(model.FilePath(weight.file) + ": tensor '" + name + "' has shape " +
                             sdk::ShapeText(weight.shape) + ", expected [rows, values]");
    return Shape{weight.shape[0], static_cast<uint32_t>(weight.shape[1])};
  });
}

Status SafetensorsTable::Read(uint64_t first_row, uint64_t num_rows, uint8_t* dst) const {
  if (first_row > num_rows_ || num_rows > num_rows_ - first_row)
    return InvalidArgument("rows " + std::to_string(first_row) + "+" + std::to_string(num_rows) + " of a table of " +
                           std::to_string(num_rows_) + " rows");
  return FromSdk("reading safetensors", [&]() -> Status {
    if (scale_bytes_ == 0) {
      model_->Read(weight_, first_row * code_bytes_, num_rows * code_bytes_, dst);
      return {};
    }
    // Codes and scales are two tensors; a row holds them one behind the other. In pieces that stay in the L2 cache.
    constexpr uint64_t kPieceBytes = 512 << 10;
    const uint64_t piece = std::clamp<uint64_t>(kPieceBytes / row_bytes(), 1, std::max<uint64_t>(num_rows, 1));
    std::vector<uint8_t> codes(piece * code_bytes_);
    std::vector<uint8_t> scales(piece * scale_bytes_);
    for (uint64_t done = 0; done < num_rows; done += piece) {
      const uint64_t count = std::min(piece, num_rows - done);
      model_->Read(weight_, (first_row + done) * code_bytes_, count * code_bytes_, codes.data());
      model_->Read(scale_, (first_row + done) * scale_bytes_, count * scale_bytes_, scales.data());
      for (uint64_t i = 0; i < count; ++i, dst += row_bytes()) {
        std::memcpy(dst, &codes[i * code_bytes_], code_bytes_);
        std::memcpy(dst + code_bytes_, &scales[i * scale_bytes_], scale_bytes_);
      }
    }
    return {};
  });
}

engram_row_source SafetensorsTable::source() const {
  engram_row_source source{};
  source.context = const_cast<SafetensorsTable*>(this);
  source.read = [](void* context, uint64_t first_row, uint64_t num_rows, uint8_t* dst, engram_message* message) {
    const Status read = static_cast<const SafetensorsTable*>(context)->Read(first_row, num_rows, dst);
    if (read) return engram_status{ENGRAM_OK};
    WriteMessage(message, read.error().message);
    return StatusFromErrorCode(read.error().code);
  };
  return source;
}

}  // namespace engram
