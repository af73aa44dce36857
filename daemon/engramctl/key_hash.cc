// SPDX-License-Identifier: Apache-2.0
// key hash: what goes into auth.keys for a key.
#include <openssl/evp.h>

#include <cstdio>

#include "engramctl/commands.h"

namespace engram {
namespace {

int Key(const Arguments& arguments) {
  if (arguments.words() != std::vector<std::string>{"hash"})
    return Report(InvalidArgument("the only key command is: key hash"), true);
  auto key = ReadStandardInput();
  if (!key) return Report(key.error());
  while (key->ends_with('\n') || key->ends_with('\r')) key->pop_back();
  if (key->empty()) return Report(InvalidArgument("no key on standard input"));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(key->data(), key->size(), digest, &size, EVP_sha256(), nullptr) != 1)
    return Report(Internal("SHA-256 failed"));
  for (unsigned i = 0; i < size; ++i) std::printf("%02x", digest[i]);
  std::printf("\n");
  return kDone;
}

}  // namespace

Command KeyCommand() {
  return {"key",
          "hash an API key for the configuration (offline)",
          R"(Usage: engramctl key hash < FILE

Reads an API key from standard input (line breaks at its end do not count) and prints its SHA-256 for auth.keys:
  auth:
    keys:
      - name: alice
        sha256: ...
        scopes: [generate]
A new key:  openssl rand -base64 32 | tee key.txt | engramctl key hash
)",
          Key,
          {}};
}

}  // namespace engram
