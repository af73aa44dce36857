// SPDX-License-Identifier: Apache-2.0
#include "core/file_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunkBytes = 1u << 20;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    good_ = context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1;
  }
  void Add(const void* bytes, size_t num_bytes) {
    good_ = good_ && EVP_DigestUpdate(context_.get(), bytes, num_bytes) == 1;
  }
  Result<std::string> Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!good_ || EVP_DigestFinal_ex(context_.get(), digest, &size) != 1)
      return Internal("SHA-256 is not to be had from OpenSSL");
    std::string hex;
    for (unsigned i = 0; i < size; ++i) {
      hex += "0123456789abcdef"[digest[i] >> 4];
      hex += "0123456789abcdef"[digest[i] & 15];
    }
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
  bool good_ = false;
};

}  // namespace

Result<std::string> FileSha256(const fs::path& path, const std::function<Status()>& go_on) {
  ENGRAM_TRY(const ReadOnlyFile file, ReadOnlyFile::Open(path));
  Sha256 digest;
  std::vector<char> chunk(std::min<uint64_t>(kChunkBytes, file.size_bytes()));
  for (uint64_t at = 0; at < file.size_bytes(); at += chunk.size()) {
    if (go_on) ENGRAM_CHECK_OK(go_on());
    const size_t num_bytes = std::min<uint64_t>(chunk.size(), file.size_bytes() - at);
    ENGRAM_CHECK_OK(file.ReadAt(at, chunk.data(), num_bytes));
    digest.Add(chunk.data(), num_bytes);
  }
  return digest.Hex();
}

Result<std::string> DirectorySha256(const fs::path& directory, const std::function<Status()>& go_on) {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entries(directory, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (!name.starts_with('.') && entries->is_regular_file(error)) names.push_back(name);
  }
  if (error) return IoError(directory.string() + ": " + error.message());
  std::sort(names.begin(), names.end());
  Sha256 digest;
  for (const std::string& name : names) {
    ENGRAM_TRY(const std::string hex, FileSha256(directory / name, go_on));
    const std::string line = hex + "  " + name + "\n";
    digest.Add(line.data(), line.size());
  }
  return digest.Hex();
}

}  // namespace engram
