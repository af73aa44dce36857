// SPDX-License-Identifier: Apache-2.0
// engramctl table as a program: real models in, the same bytes out, and what it says about bad files.
#include <engram/packed_table.h>
#include <engram/safetensors.h>
#include <engram/synthetic_rows.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>

#include "process.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kVectors = fs::path(ENGRAM_TEST_SOURCE_DIR) / "tests" / "vectors";

Outcome Table(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {std::string(ENGRAM_TEST_BIN_DIR) + "/engramctl", "table"});
  return RunProgram(std::move(arguments));
}

class TableCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "engramctl-table-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    file_ = (directory_ / "t.ngt").string();
  }
  void TearDown() override { fs::remove_all(directory_); }
  json::value Inspect() {
    const Outcome outcome = Table({"inspect", file_, "--json"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.status == 0 ? json::parse(outcome.out) : json::value();
  }
  std::vector<uint8_t> BytesAt(uint64_t offset, size_t num_bytes) {
    std::vector<uint8_t> bytes(num_bytes);
    std::ifstream in(file_, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(offset));
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(num_bytes));
    EXPECT_EQ(static_cast<size_t>(in.gcount()), num_bytes);
    return bytes;
  }

  fs::path directory_;
  std::string file_;
};

std::string TensorBytes(const sdk::SafetensorsModel& model, const std::string& name) {
  std::string bytes(model.Get(name).num_bytes, '\0');
  model.Read(name, 0, bytes.size(), bytes.data());
  return bytes;
}

TEST_F(TableCommandTest, PackedAndUnpackedTensorsAreTheModels) {
  for (const char* name : {"dense-paper", "moe-paper-hc4-fp8", "dense-v41-hc4-fp8"}) {
    const fs::path model_dir = kVectors / "models" / name;
    const sdk::SafetensorsModel model(model_dir.string());
    std::ifstream config(model_dir / "config.json");
    const json::value parsed = json::parse(std::string(std::istreambuf_iterator<char>(config), {}));
    for (const json::value& layer : parsed.at("engram").at("layer_ids").as_array()) {
      const std::string number = std::to_string(layer.as_int64());
      const Outcome packed = Table({"pack", "--model", model_dir.string(), "--layer", number, "--out", file_,
                                    "--tokenizer", (kVectors / "tokenizer.json").string()});
      ASSERT_EQ(packed.status, 0) << packed.err;
      const json::value header = Inspect();
      const std::string prefix = "model.layers." + number + ".engram.embed.";
      EXPECT_EQ(header.at("layer"), layer);
      EXPECT_EQ(header.at("num_rows").to_number<uint64_t>(), model.Get(prefix + "weight").shape[0]);
      EXPECT_TRUE(header.at("hash_digest").is_string());
      const Outcome verified = Table({"verify", file_});
      EXPECT_EQ(verified.status, 0) << verified.err;
      EXPECT_THAT(verified.out, HasSubstr("intact, content digest matches"));

      const fs::path unpacked = directory_ / "out";
      fs::create_directory(unpacked);
      const Outcome back = Table({"unpack", file_, "--out", (unpacked / "model.safetensors").string()});
      ASSERT_EQ(back.status, 0) << back.err;
      const sdk::SafetensorsModel again(unpacked.string());
      EXPECT_EQ(again.tensors().size(), model.Find(prefix + "scale") == nullptr ? 1u : 2u);
      for (const auto& [tensor, info] : again.tensors()) {
        EXPECT_EQ(info.shape, model.Get(tensor).shape) << tensor;
        EXPECT_EQ(info.type, model.Get(tensor).type) << tensor;
        EXPECT_TRUE(TensorBytes(again, tensor) == TensorBytes(model, tensor)) << tensor;
      }
    }
  }
}

TEST_F(TableCommandTest, UnaddressedTakesTheTensorsShapeAndStatesNoConstants) {
  const Outcome packed = Table({"pack", "--model", (kVectors / "models" / "dense-v41-hc4-fp8").string(), "--layer", "3",
                                "--out", file_, "--unaddressed"});
  ASSERT_EQ(packed.status, 0) << packed.err;
  EXPECT_TRUE(Inspect().at("hash_digest").is_null());
  EXPECT_EQ(Inspect().at("num_rows"), 4554);
}

// DeepSeek-V4.1-Flash's geometry: rows far beyond 64 GiB, computed anew and compared.
TEST_F(TableCommandTest, SparseSyntheticTableOfFullSize) {
  const Outcome written = Table({"synth", "--rows", "384016682", "--row-bytes", "264", "--format", "fp8_e4m3_ue8m0",
                                 "--layer", "14", "--sparse", "--seed", "5", "--out", file_});
  ASSERT_EQ(written.status, 0) << written.err;
  const auto header = BytesAt(0, 4096);
  const sdk::PackedTableInfo info = sdk::DecodePackedHeader(header.data(), fs::file_size(file_), file_);
  EXPECT_EQ(info.file_bytes(), 4096 + uint64_t{25'601'113} * 4096);
  EXPECT_EQ(info.head_dim, 256u);
  const uint64_t far = (uint64_t{80} << 30) / 4096 / 4096 * 4096;
  for (const uint64_t page : {uint64_t{0}, far, info.num_pages - 1}) {
    const auto bytes = BytesAt(info.PageOffset(page), 4096);
    EXPECT_TRUE(sdk::PackedPageIntact(info, page, bytes.data()));
    for (uint64_t row = page * 15; row < page * 15 + info.RowsIn(page); ++row) {
      std::vector<uint8_t> expected(264);
      sdk::SyntheticRow(5, row, info.row_format, 256, expected.data());
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin() + info.OffsetInPage(row))) << row;
    }
  }
  const auto hole = BytesAt(info.PageOffset(far + 1), 4096);
  EXPECT_EQ(hole, std::vector<uint8_t>(4096));
  EXPECT_TRUE(sdk::PackedPageIntact(info, far + 1, hole.data()));
}

TEST_F(TableCommandTest, SyntheticTableOfAModelStatesItsConstants) {
  const std::string model = (kVectors / "models" / "dense-paper").string();
  const std::string tokenizer = (kVectors / "tokenizer.json").string();
  std::ifstream config(model + "/config.json");
  const json::value parsed = json::parse(std::string(std::istreambuf_iterator<char>(config), {}));
  const std::string layer = std::to_string(parsed.at("engram").at("layer_ids").at(0).as_int64());
  ASSERT_EQ(Table({"pack", "--model", model, "--layer", layer, "--out", file_, "--tokenizer", tokenizer}).status, 0);
  const json::value packed = Inspect();
  const Outcome written = Table({"synth", "--model", model, "--layer", layer, "--out", file_, "--tokenizer", tokenizer,
                                 "--format", std::string(packed.at("row_format").as_string())});
  ASSERT_EQ(written.status, 0) << written.err;
  for (const char* field : {"num_rows", "row_bytes", "hash_digest"}) EXPECT_EQ(Inspect().at(field), packed.at(field));
  EXPECT_NE(Inspect().at("content_digest"), packed.at("content_digest"));
  EXPECT_EQ(Table({"verify", file_}).status, 0);
}

TEST_F(TableCommandTest, VerifyNamesEveryDamagedPage) {
  const std::vector<std::string> synth = {"synth",          "--rows",  "100", "--head-dim", "256", "--format",
                                          "fp8_e4m3_ue8m0", "--layer", "2",   "--out",      file_};
  ASSERT_EQ(Table(synth).status, 0);
  {
    std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
    for (const int page : {1, 4}) {
      file.seekp(4096 + page * 4096 + 300);
      file.put('\x55');
    }
  }
  const Outcome verified = Table({"verify", file_});
  EXPECT_EQ(verified.status, 1);
  EXPECT_THAT(verified.err, AllOf(HasSubstr("layer 2, page 1 at byte 8192 (rows 15 to 29) is damaged"),
                                  HasSubstr("layer 2, page 4 at byte 20480 (rows 60 to 74) is damaged"),
                                  HasSubstr("2 of 7 pages are damaged")));
  // Rows that are damaged are not handed on, and no half a file is left.
  const fs::path out = directory_ / "out.safetensors";
  const Outcome unpacked = Table({"unpack", file_, "--out", out.string()});
  EXPECT_EQ(unpacked.status, 1);
  EXPECT_THAT(unpacked.err, HasSubstr("page 1 at byte 8192"));
  EXPECT_FALSE(fs::exists(out));

  fs::resize_file(file_, 20'000);
  for (const char* action : {"verify", "inspect"}) {
    const Outcome truncated = Table({action, file_});
    EXPECT_EQ(truncated.status, 1);
    EXPECT_THAT(truncated.err, HasSubstr("t.ngt: truncated: 20000 bytes"));
  }
  const Outcome foreign = Table({"verify", (kVectors / "tokenizer.json").string()});
  EXPECT_EQ(foreign.status, 1);
  EXPECT_THAT(foreign.err, HasSubstr("tokenizer.json: not a packed table"));
}

TEST_F(TableCommandTest, WrongUsageIsSaid) {
  const auto usage = [](std::vector<std::string> arguments) {
    const Outcome outcome = Table(std::move(arguments));
    return std::to_string(outcome.status) + " " + outcome.err;
  };
  const std::string model = (kVectors / "models" / "dense-paper").string();
  EXPECT_THAT(usage({}), HasSubstr("2 engramctl: table needs an action"));
  EXPECT_THAT(usage({"paint"}), HasSubstr("2 engramctl: unknown action \"paint\""));
  EXPECT_THAT(usage({"verify"}), HasSubstr("2 engramctl: table verify needs one FILE"));
  EXPECT_THAT(usage({"pack", "--layer", "1"}), HasSubstr("2 engramctl: table pack needs --model"));
  EXPECT_THAT(usage({"verify", "x", "--json"}), HasSubstr("2 engramctl: table verify does not take --json"));
  EXPECT_THAT(usage({"verify", "/none"}), HasSubstr("1 engramctl: /none: cannot open"));
  const std::vector<std::string> synth = {"synth", "--layer", "1", "--out", file_, "--rows", "5"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), synth.begin(), synth.end());
    return usage(std::move(more));
  };
  EXPECT_THAT(with({"--format", "f64", "--head-dim", "4"}), HasSubstr("2 engramctl: --format: \"f64\""));
  EXPECT_THAT(with({"--format", "bf16"}), HasSubstr("2 engramctl: table synth needs --rows and one of"));
  EXPECT_THAT(with({"--format", "bf16", "--row-bytes", "7"}), HasSubstr("2 engramctl: --row-bytes: no number of"));
  EXPECT_THAT(with({"--format", "bf16", "--model", model}), HasSubstr("2 engramctl: --model gives the rows"));
  EXPECT_THAT(usage({"pack", "--model", model, "--layer", "999", "--out", file_, "--tokenizer",
                     (kVectors / "tokenizer.json").string()}),
              HasSubstr("layer 999 has no Engram table"));
  EXPECT_TRUE(fs::is_empty(directory_));
}

}  // namespace
}  // namespace engram
