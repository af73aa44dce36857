// SPDX-License-Identifier: Apache-2.0
#include "http/static_files.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/temp_dir.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

std::string Header(const Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return "";
}

class StaticFilesTest : public ::testing::Test {
 protected:
  StaticFilesTest() : root_(dir_.path() / "ui") {
    fs::create_directories(root_ / "assets");
    Write(root_ / "index.html", "<html>");
    Write(root_ / "assets/index-DQ3kx2aB.js", "code");
    Write(root_ / "assets/logo-maskable.svg", "<svg>");
    Write(dir_.path() / "secret.txt", "secret");
  }
  void Write(const fs::path& path, const char* text) { std::ofstream(path) << text; }
  Response Get(std::string_view name, const char* if_none_match = nullptr) {
    const auto files = StaticFiles::Load(root_);
    EXPECT_TRUE(files) << files.error().message;
    Request request;
    if (if_none_match != nullptr) request.headers.emplace_back("if-none-match", if_none_match);
    return files->Get(name, request);
  }
  TempDir dir_;
  const fs::path root_;
};

TEST_F(StaticFilesTest, ServesWhatIsThere) {
  for (const char* name : {"", "index.html", "models", "models/some"}) {
    const Response index = Get(name);
    EXPECT_EQ(index.body, "<html>") << name;
    EXPECT_EQ(index.content_type, "text/html; charset=utf-8");
    EXPECT_EQ(Header(index, "Cache-Control"), "no-cache");
    EXPECT_NE(Header(index, "Content-Security-Policy").find("default-src 'self'"), std::string::npos);
    EXPECT_EQ(Header(index, "Content-Security-Policy").find("unsafe"), std::string::npos);
    EXPECT_EQ(Header(index, "X-Content-Type-Options"), "nosniff");
  }
  const Response script = Get("assets/index-DQ3kx2aB.js");
  EXPECT_EQ(script.body, "code");
  EXPECT_EQ(script.content_type, "text/javascript; charset=utf-8");
  EXPECT_EQ(Header(script, "Cache-Control"), "public, max-age=31536000, immutable");
  EXPECT_EQ(Header(Get("assets/logo-maskable.svg"), "Cache-Control"), "no-cache");
}

TEST_F(StaticFilesTest, AnswersWhatHasNotChanged) {
  const std::string tag = Header(Get(""), "ETag");
  for (const std::string& sent : {tag, "W/" + tag, "\"other\", " + tag, std::string("*")}) {
    const Response response = Get("", sent.c_str());
    EXPECT_EQ(response.status, 304) << sent;
    EXPECT_EQ(response.body, "");
    EXPECT_EQ(Header(response, "ETag"), tag);
  }
  EXPECT_EQ(Get("", "\"other\"").status, 200);
  Write(root_ / "index.html", "<other>");
  EXPECT_EQ(Get("", tag.c_str()).body, "<other>");
}

TEST_F(StaticFilesTest, NothingElse) {
  fs::create_symlink(dir_.path() / "secret.txt", root_ / "link.txt");
  fs::create_directory_symlink(dir_.path(), root_ / "up");
  fs::create_symlink("nowhere.txt", root_ / "dangling.txt");
  for (const char* name :
       {"missing.js", "../secret.txt", "assets/../../secret.txt", "assets/../index.html", "./index.html", "/index.html",
        "//secret.txt", "link.txt", "up/secret.txt", "dangling.txt", "index.html/x.js", ".."}) {
    EXPECT_EQ(Get(name).status, 404) << name;
  }
  // Not a directory listing: a place within the dashboard.
  EXPECT_EQ(Get("assets").body, "<html>");
  EXPECT_EQ(Get("assets/").body, "<html>");
}

TEST_F(StaticFilesTest, ARootIsALinkAsWell) {
  fs::create_directory_symlink(root_, dir_.path() / "other");
  const auto files = StaticFiles::Load(dir_.path() / "other");
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_EQ(files->Get("assets/index-DQ3kx2aB.js", {}).body, "code");
}

TEST_F(StaticFilesTest, ErrorsNameTheDirectory) {
  for (const fs::path& root : {dir_.path() / "none", root_ / "assets"}) {
    const auto files = StaticFiles::Load(root);
    ASSERT_FALSE(files);
    EXPECT_NE(files.error().message.find(root.string()), std::string::npos);
  }
  EXPECT_EQ(StaticFiles().Get("", {}).status, 404);
}

}  // namespace
}  // namespace engram
