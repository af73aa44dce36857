// SPDX-License-Identifier: Apache-2.0
#include "http/tls_files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_dir.h"

namespace engram {
namespace {

TEST(TlsFiles, ChangesAreToldOnceWhenTheyHaveSettled) {
  const TempDir directory;
  const auto certificate = directory.path() / "cert.pem", key = directory.path() / "key.pem";
  const auto write = [](const std::filesystem::path& path, const char* text) { std::ofstream(path) << text; };
  write(certificate, "one");
  TlsFiles files(certificate, key, {});  // the key is not there yet
  EXPECT_FALSE(files.Changed());
  EXPECT_FALSE(files.Changed());
  write(key, "key");
  EXPECT_FALSE(files.Changed());  // it may be being written
  write(certificate, "longer");
  EXPECT_FALSE(files.Changed());
  EXPECT_TRUE(files.Changed());
  EXPECT_FALSE(files.Changed());

  // What a link leads to counts.
  write(directory.path() / "other.pem", "other!");
  std::filesystem::remove(certificate);
  std::filesystem::create_symlink(directory.path() / "other.pem", certificate);
  EXPECT_FALSE(files.Changed());
  EXPECT_TRUE(files.Changed());
  std::filesystem::remove(directory.path() / "other.pem");
  EXPECT_FALSE(files.Changed());
  EXPECT_TRUE(files.Changed());
}

}  // namespace
}  // namespace engram
