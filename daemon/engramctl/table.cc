// SPDX-License-Identifier: Apache-2.0
// table: packed tables, offline. Picks the action; the actions are in table_*.cc.
#include <algorithm>

#include "engramctl/table_commands.h"

namespace engram {
namespace {

struct Action {
  const char* name;
  bool takes_file;
  std::vector<std::string> required;
  std::vector<std::string> optional;
};

const std::vector<Action>& Actions() {
  static const std::vector<Action> actions = {
      {"pack", false, {"model", "layer", "out"}, {"tokenizer", "unaddressed"}},
      {"unpack", true, {"out"}, {}},
      {"verify", true, {}, {}},
      {"inspect", true, {}, {"json"}},
      {"synth",
       false,
       {"layer", "out", "format"},
       {"model", "tokenizer", "rows", "head-dim", "row-bytes", "sparse", "seed"}},
  };
  return actions;
}

const std::vector<OptionSpec> kOptions = {{"model", true},     {"layer", true}, {"out", true},  {"tokenizer", true},
                                          {"format", true},    {"rows", true},  {"seed", true}, {"head-dim", true},
                                          {"row-bytes", true}, {"unaddressed"}, {"sparse"},     {"json"}};

int Table(const Arguments& arguments) {
  const auto& words = arguments.words();
  const Action* action = nullptr;
  for (const Action& known : Actions())
    if (!words.empty() && words[0] == known.name) action = &known;
  if (!action)
    return Report(InvalidArgument((words.empty() ? "table needs an action" : "unknown action \"" + words[0] + "\"") +
                                  ": pack, unpack, verify, inspect or synth; see engramctl table --help"),
                  true);
  const std::string name = std::string("table ") + action->name;
  if (words.size() != (action->takes_file ? 2u : 1u))
    return Report(InvalidArgument(name + (action->takes_file ? " needs one FILE" : " takes options only")), true);
  for (const std::string& option : action->required)
    if (!arguments.Has(option)) return Report(InvalidArgument(name + " needs --" + option), true);
  for (const OptionSpec& spec : kOptions) {
    const auto has = [&](const std::vector<std::string>& names) {
      return std::find(names.begin(), names.end(), spec.name) != names.end();
    };
    if (arguments.Has(spec.name) && !has(action->required) && !has(action->optional))
      return Report(InvalidArgument(name + " does not take --" + spec.name), true);
  }
  if (words[0] == "pack") return TablePack(arguments);
  if (words[0] == "synth") return TableSynth(arguments);
  if (words[0] == "unpack") return TableUnpack(arguments, words[1]);
  if (words[0] == "verify") return TableVerify(arguments, words[1]);
  return TableInspect(arguments, words[1]);
}

}  // namespace

Command TableCommand() {
  return {"table", "packed tables: pack, unpack, verify, inspect, synth (offline)",
          R"(Usage: engramctl table pack --model DIR --layer L --out FILE [--tokenizer FILE] [--unaddressed]
       engramctl table unpack FILE --out FILE.safetensors
       engramctl table verify FILE
       engramctl table inspect FILE [--json]
       engramctl table synth --layer L --format F --out FILE [--sparse] [--seed N]
                             {--rows N {--head-dim N | --row-bytes N} | --model DIR [--tokenizer FILE]}

Packed tables hold the rows of one Engram layer in checksummed pages, so that tiers can read single rows from disk
(docs/formats.md). A file appears under its name only when it is complete. Memory use does not depend on its size.

pack     from a model's safetensors files
unpack   back to a safetensors file with embed.weight (and embed.scale)
verify   reads everything but holes; says which pages are damaged, with offset and rows, and exits with 1
inspect  prints the header
synth    pseudo-random rows, each a function of (seed, row): for tests and measurements

  --model DIR       model directory: config.json with an "engram" object, tokenizer.json, safetensors files
  --tokenizer FILE  default tokenizer.json in the model directory
  --layer L         the model's layer number
  --unaddressed     pack as many rows as the tensor has and state no hash constants, for models whose config.json has no
                    "engram" object
  --format F        bf16, f16, f32 or fp8_e4m3_ue8m0
  --head-dim N      values per row; or --row-bytes N, the bytes that makes
  --sparse          most pages are holes, which read as zero rows: full-size offsets on a small disk
  --seed N          default 0
)",
          Table, kOptions};
}

}  // namespace engram
