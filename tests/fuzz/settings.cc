// SPDX-License-Identifier: Apache-2.0
// A configuration file.
#include "settings/settings.h"

#include "fuzz/fuzz_target.h"
#include "fuzz/scratch_file.h"
#include "settings/settings_json.h"

namespace engram {

ENGRAM_FUZZ_TARGET(settings, bytes) {
  static const ScratchFile file("engramd.yaml");
  file.Write(bytes);
  const LoadedSettings loaded = LoadSettings(file.path(), {});
  for (const SettingsProblem& problem : loaded.problems) {
    FUZZ_CHECK(!problem.message.empty());
    FUZZ_CHECK(!problem.Text().empty());
  }
  if (loaded.problems.empty()) FUZZ_CHECK(!SettingsJson(loaded.settings).empty());
  // The same as the value of one setting, as a command line gives it.
  for (const SettingsProblem& problem : LoadSettings({}, {{"--set", "memory", std::string(bytes), false}}).problems)
    FUZZ_CHECK(!problem.message.empty());
}

}  // namespace engram
