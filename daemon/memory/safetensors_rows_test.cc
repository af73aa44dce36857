// SPDX-License-Identifier: Apache-2.0
#include "memory/safetensors_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Tensor {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::string bytes;
};

class SafetensorsRowsTest : public ::testing::Test {
 protected:
  void WriteFile(const std::string& file, const std::vector<Tensor>& tensors) {
    std::string header = "{";
    std::string data;
    for (const Tensor& tensor : tensors) {
      header += (header.size() > 1 ? "," : "") + ("\"" + tensor.name) + "\":{\"dtype\":\"" + tensor.dtype +
                "\",\"shape\":" + sdk::ShapeText(tensor.shape) + ",\"data_offsets\":[" + std::to_string(data.size()) +
                "," + std::to_string(data.size() + tensor.bytes.size()) + "]}";
      data += tensor.bytes;
    }
    header += "}";
    const uint64_t size = header.size();
    std::ofstream out(directory_ / file, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), 8);
    out << header << data;
  }
  Result<std::unique_ptr<SafetensorsTable>> Open(uint64_t num_rows, uint32_t head_dim) {
    auto model = OpenSafetensors(directory_);
    if (!model) return std::move(model).error();
    return SafetensorsTable::Open(*model, 3, num_rows, head_dim);
  }
  static std::string Bytes(size_t count, uint8_t seed) {
    std::string bytes(count, '\0');
    for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(seed + i * 7 + (i >> 8));
    return bytes;
  }

  const std::string weight_ = "model.layers.3.engram.embed.weight";
  const std::string scale_ = "model.layers.3.engram.embed.scale";
  const TempDir temp_dir_;
  const fs::path directory_ = temp_dir_.path();
};

// head_dim 40 has a whole and a part block of 32: 2 scales, 42 bytes a row.
TEST_F(SafetensorsRowsTest, InterleavesCodesAndScalesOfTwoFiles) {
  constexpr uint64_t kRows = 30'000;  // more than one piece
  const std::string codes = Bytes(kRows * 40, 1);
  const std::string scales = Bytes(kRows * 2, 99);
  WriteFile("a.safetensors", {{weight_, "F8_E4M3", {kRows, 40}, codes}});
  WriteFile("b.safetensors", {{scale_, "F8_E8M0", {kRows, 2}, scales}});
  std::ofstream(directory_ / "model.safetensors.index.json")
      << "{\"weight_map\":{\"" << weight_ << "\":\"a.safetensors\",\"" << scale_ << "\":\"b.safetensors\"}}";
  const auto table = Open(kRows, 40);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ((*table)->row_bytes(), 42u);
  EXPECT_EQ((*table)->row_format(), static_cast<engram_row_format>(ENGRAM_ROW_FP8_E4M3_UE8M0));
  for (const uint64_t first : {uint64_t{0}, uint64_t{17}}) {
    std::string rows((kRows - first) * 42, '\0');
    const engram_row_source source = (*table)->source();
    ASSERT_EQ(source.read(source.context, first, kRows - first, reinterpret_cast<uint8_t*>(rows.data()), nullptr),
              ENGRAM_OK);
    for (uint64_t r = first; r < kRows; ++r) {
      ASSERT_EQ(rows.substr((r - first) * 42, 40), codes.substr(r * 40, 40)) << r;
      ASSERT_EQ(rows.substr((r - first) * 42 + 40, 2), scales.substr(r * 2, 2)) << r;
    }
  }
  char text[200] = {};
  engram_message message = {text, sizeof(text)};
  const engram_row_source source = (*table)->source();
  EXPECT_EQ(source.read(source.context, kRows - 1, 2, nullptr, &message), ENGRAM_INVALID_ARGUMENT);
  EXPECT_STREQ(text, "rows 29999+2 of a table of 30000 rows");
}

TEST_F(SafetensorsRowsTest, KnowsTheNamesOfDeepSeekV41) {
  const std::string codes = Bytes(10 * 32, 1), scales = Bytes(10, 99);
  WriteFile("model.safetensors", {{"layers.3.engram.embed.weight", "F8_E4M3", {10, 32}, codes},
                                  {"layers.3.engram.embed.scale", "F8_E8M0", {10, 1}, scales}});
  const auto table = Open(10, 32);
  ASSERT_TRUE(table) << table.error().message;
  std::string row(33, '\0');
  ASSERT_TRUE((*table)->Read(9, 1, reinterpret_cast<uint8_t*>(row.data())));
  EXPECT_EQ(row, codes.substr(9 * 32) + scales.substr(9));
}

TEST_F(SafetensorsRowsTest, KnowsThePlainFormats) {
  const struct {
    const char* dtype;
    uint32_t value_bytes;
    engram_row_format format;
  } cases[] = {{"BF16", 2, ENGRAM_ROW_BF16}, {"F16", 2, ENGRAM_ROW_F16}, {"F32", 4, ENGRAM_ROW_F32}};
  for (const auto& c : cases) {
    const std::string bytes = Bytes(5 * 8 * c.value_bytes, 3);
    WriteFile("model.safetensors", {{weight_, c.dtype, {5, 8}, bytes}});
    const auto table = Open(5, 8);
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ((*table)->row_format(), c.format);
    ASSERT_EQ((*table)->row_bytes(), 8 * c.value_bytes);
    std::string rows(3 * 8 * c.value_bytes, '\0');
    ASSERT_TRUE((*table)->Read(2, 3, reinterpret_cast<uint8_t*>(rows.data())));
    EXPECT_EQ(rows, bytes.substr(2 * 8 * c.value_bytes));
  }
}

TEST_F(SafetensorsRowsTest, RefusalsNameFileTensorAndBothNumbers) {
  const auto why = [&](uint64_t num_rows, uint32_t head_dim) {
    const auto table = Open(num_rows, head_dim);
    return table ? "opened" : table.error().message;
  };
  const std::string file = (directory_ / "model.safetensors").string();
  EXPECT_THAT(why(5, 8), HasSubstr(file));
  WriteFile("model.safetensors", {{weight_, "BF16", {5, 8}, Bytes(80, 0)}});
  EXPECT_EQ(why(6, 8), file + ": tensor '" + weight_ + "' has 5 rows, the model's Engram geometry gives 6");
  EXPECT_EQ(why(5, 9), file + ": tensor '" + weight_ + "' has 8 values per row, expected 9");
  WriteFile("model.safetensors", {{weight_, "BF16", {40}, Bytes(80, 0)}});
  EXPECT_THAT(why(5, 8), HasSubstr("has shape [40], expected [rows, values]"));
  WriteFile("model.safetensors", {{weight_, "I16", {5, 8}, Bytes(80, 0)}});
  EXPECT_THAT(why(5, 8), HasSubstr("has type I16, expected BF16, F16, F32 or F8_E4M3"));
  WriteFile("model.safetensors", {{weight_, "F8_E4M3", {5, 8}, Bytes(40, 0)}});
  EXPECT_THAT(why(5, 8), HasSubstr("tensor '" + scale_ + "' with its scales is missing"));
  WriteFile("model.safetensors",
            {{weight_, "F8_E4M3", {5, 8}, Bytes(40, 0)}, {scale_, "F8_E8M0", {4, 1}, Bytes(4, 0)}});
  EXPECT_THAT(why(5, 8), HasSubstr(scale_ + "' has 4 rows, the model's Engram geometry gives 5"));
  WriteFile("model.safetensors", {{weight_, "F8_E4M3", {5, 8}, Bytes(40, 0)}, {scale_, "U8", {5, 1}, Bytes(5, 0)}});
  EXPECT_THAT(why(5, 8), HasSubstr("has type U8, expected F8_E8M0"));
  WriteFile("model.safetensors", {{weight_, "BF16", {5, 8}, Bytes(80, 0)}, {scale_, "F8_E8M0", {5, 1}, Bytes(5, 0)}});
  EXPECT_THAT(why(5, 8), HasSubstr("belongs to an F8_E4M3 table"));
}

// A file cut after it was opened is an error of the read, not the end of the process.
TEST_F(SafetensorsRowsTest, AFileCutWhileOpenIsAnError) {
  WriteFile("model.safetensors", {{weight_, "BF16", {500, 8}, Bytes(8000, 0)}});
  const auto table = Open(500, 8);
  ASSERT_TRUE(table) << table.error().message;
  fs::resize_file(directory_ / "model.safetensors", 3000);
  std::vector<uint8_t> rows(8000);
  const Status read = (*table)->Read(0, 500, rows.data());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(read.error().message, HasSubstr(weight_));
}

}  // namespace
}  // namespace engram
