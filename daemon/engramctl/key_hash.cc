// SPDX-License-Identifier: Apache-2.0
// key hash: what goes into auth.keys for a key.
#include <cstdio>

#include "core/sha256.h"
#include "engramctl/commands.h"
#include "engramctl/key_commands.h"

namespace engram {

int RunKeyHash(const Arguments& arguments) {
  if (arguments.words().size() != 1) return Report(InvalidArgument("key hash takes the key from standard input"), true);
  auto key = ReadStandardInput();
  if (!key) return Report(key.error());
  while (key->ends_with('\n') || key->ends_with('\r')) key->pop_back();
  if (key->empty()) return Report(InvalidArgument("no key on standard input"));
  Sha256 digest;
  digest.Update(*key);
  std::printf("%s\n", HexDigits(digest.Finish()).c_str());
  return kDone;
}

}  // namespace engram
