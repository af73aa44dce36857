// SPDX-License-Identifier: Apache-2.0
#include "http/static_files.h"

#include <openssl/evp.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/file.h"
#include "http/api_error.h"
#include "http/websocket_request.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 4096;
constexpr uint64_t kMaxBytes = 64u << 20;

// Only what its own origin serves, no inline scripts or styles; nobody may frame it.
constexpr char kContentSecurityPolicy[] =
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".webp", "image/webp"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".wasm", "application/wasm"},
    {".txt", "text/plain; charset=utf-8"},
};

std::string_view TypeOf(const fs::path& path) {
  const std::string extension = path.extension().string();
  for (const auto& [known, type] : kTypes)
    if (known == extension) return type;
  return "application/octet-stream";
}

// "index-DQ3kx2aB.js", "logo.0a1b2c3d4e.svg": bundlers put 8 or more characters of a hash before the extension. A word
// such as "maskable" has no digit or capital.
bool HasHash(const fs::path& path) {
  const std::string stem = path.stem().string();
  const size_t mark = stem.find_last_of("-.");
  if (mark == std::string::npos || mark == 0 || stem.size() - mark - 1 < 8) return false;
  return stem.find_first_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", mark) != std::string::npos;
}

Result<std::string> ETag(std::string_view body) {
  unsigned char digest[32];
  unsigned int size = 0;
  if (EVP_Digest(body.data(), body.size(), digest, &size, EVP_sha256(), nullptr) != 1)
    return Internal("SHA-256 is not available");
  std::string tag = "\"";
  for (size_t i = 0; i < 16; ++i) {
    tag += "0123456789abcdef"[digest[i] >> 4];
    tag += "0123456789abcdef"[digest[i] & 15];
  }
  return tag + '"';
}

bool IsBelow(const fs::path& path, const fs::path& root) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

}  // namespace

Result<StaticFiles> StaticFiles::Load(const fs::path& root) {
  StaticFiles out;
  std::error_code error;
  const fs::path base = fs::canonical(root, error);
  if (error) return NotFound("dashboard directory " + root.string() + ": " + error.message());
  fs::recursive_directory_iterator entries(base, error);
  uint64_t num_bytes = 0;
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    const fs::path target = fs::canonical(entries->path(), error);
    if (error || !IsBelow(target, base) || !fs::is_regular_file(target, error) || error) {
      error.clear();  // a directory, or a link that leads nowhere or out of the root
      continue;
    }
    if (out.files_.size() == kMaxFiles)
      return ResourceExhausted("dashboard directory " + root.string() + " has more than " + std::to_string(kMaxFiles) +
                               " files");
    File file;
    ENGRAM_TRY(file.body, ReadFile(target, kMaxBytes));
    num_bytes += file.body.size();
    if (num_bytes > kMaxBytes)
      return ResourceExhausted("dashboard directory " + root.string() + " has more than " +
                               std::to_string(kMaxBytes >> 20) + " MiB");
    ENGRAM_TRY(file.etag, ETag(file.body));
    file.content_type = TypeOf(entries->path());
    file.immutable = HasHash(entries->path());
    out.files_.emplace(entries->path().lexically_relative(base).generic_string(), std::move(file));
  }
  if (error) return IoError("dashboard directory " + root.string() + ": " + error.message());
  if (!out.files_.contains("index.html"))
    return NotFound("dashboard directory " + root.string() + " has no index.html");
  return out;
}

Response StaticFiles::Get(std::string_view name, const Request& request) const {
  auto found = files_.find(name.empty() ? "index.html" : name);
  const bool is_place = name.find('.', name.rfind('/') + 1) == std::string_view::npos;
  if (found == files_.end() && is_place) found = files_.find("index.html");
  if (found == files_.end()) {
    return ErrorResponse({404, empty() ? "the dashboard is not installed; see web.root"
                                       : "the dashboard has no file " + std::string(name.substr(0, 200))});
  }
  const File& file = found->second;
  Response response;
  response.headers = {{"ETag", file.etag},
                      {"Cache-Control", file.immutable ? "public, max-age=31536000, immutable" : "no-cache"},
                      {"Content-Security-Policy", kContentSecurityPolicy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"X-Frame-Options", "DENY"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"}};
  response.content_type = file.content_type;
  for (const std::string_view tag : HeaderItems(request, "if-none-match")) {
    if (tag != "*" && tag != file.etag && tag != "W/" + file.etag) continue;
    response.status = 304;
    return response;
  }
  response.body = file.body;
  return response;
}

}  // namespace engram
