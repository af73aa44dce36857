// SPDX-License-Identifier: Apache-2.0
#include "http/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <string_view>
#include <utility>

#include "http/websocket_request.h"

namespace engram {
namespace {

constexpr std::pair<std::string_view, Scope> kScopes[] = {
    {"generate", Scope::kGenerate}, {"read", Scope::kRead}, {"edit", Scope::kEdit}, {"operate", Scope::kOperate}};

uint32_t Bit(Scope scope) {
  return 1u << static_cast<uint32_t>(scope);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool ParseDigest(std::string_view hex, std::array<unsigned char, 32>& digest) {
  if (hex.size() != 2 * digest.size()) return false;
  for (size_t i = 0; i < digest.size(); ++i) {
    const int high = HexDigit(hex[2 * i]);
    const int low = HexDigit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return true;
}

ApiError Unauthorized(std::string message) {
  ApiError error(401, std::move(message), {}, "invalid_api_key");
  error.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"engramd\"");
  return error;
}

// The key of "Authorization: Bearer KEY"; the scheme's case does not matter.
std::string_view BearerKey(std::string_view header) {
  constexpr std::string_view kScheme = "bearer ";
  if (header.size() <= kScheme.size()) return {};
  for (size_t i = 0; i < kScheme.size(); ++i) {
    const char c = header[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != kScheme[i]) return {};
  }
  header.remove_prefix(kScheme.size());
  while (!header.empty() && header.front() == ' ') header.remove_prefix(1);
  while (!header.empty() && header.back() == ' ') header.remove_suffix(1);
  return header;
}

}  // namespace

std::string_view ScopeName(Scope scope) {
  for (const auto& [name, candidate] : kScopes)
    if (candidate == scope) return name;
  return "none";
}

Result<Authenticator> Authenticator::Create(const std::vector<ApiKey>& keys) {
  Authenticator out;
  for (const ApiKey& key : keys) {
    Key& added = out.keys_.emplace_back();
    added.name = key.name;
    if (!(key.limits == KeyLimits())) added.limiter = std::make_shared<KeyLimiter>(key.limits);
    if (!ParseDigest(key.sha256, added.digest)) {
      return InvalidArgument("API key \"" + key.name + "\": sha256 must be 64 lowercase hex digits", "keys");
    }
    for (const std::string& name : key.scopes) {
      const uint32_t before = added.scopes;
      for (const auto& [text, scope] : kScopes)
        if (text == name) added.scopes |= Bit(scope);
      if (added.scopes == before) {
        return InvalidArgument("API key \"" + key.name + "\": unknown or repeated scope \"" + name + "\"", "keys");
      }
    }
  }
  return out;
}

std::optional<ApiError> Authenticator::Check(Request& request, Scope scope) const {
  request.client = request.peer;
  if (keys_.empty() || scope == Scope::kNone) return std::nullopt;
  const std::string* header = request.Header("authorization");
  std::string_view presented = header == nullptr ? std::string_view() : BearerKey(*header);
  if (header == nullptr && IsUpgrade(request)) presented = SubprotocolKey(request);
  if (presented.empty()) return Unauthorized("an API key is needed: send \"Authorization: Bearer KEY\"");

  std::array<unsigned char, 32> digest;
  unsigned int size = 0;
  if (EVP_Digest(presented.data(), presented.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1 ||
      size != digest.size()) {
    return ApiError(500, "SHA-256 is not available");
  }
  // Every key is compared, and each in constant time, so that timing tells nothing about digests.
  const Key* found = nullptr;
  for (const Key& key : keys_) {
    if (CRYPTO_memcmp(key.digest.data(), digest.data(), digest.size()) == 0) found = &key;
  }
  if (found == nullptr) return Unauthorized("the API key is not known");
  request.client = found->name;
  request.limiter = found->limiter;
  if ((found->scopes & Bit(scope)) == 0) {
    return ApiError(403, "API key \"" + found->name + "\" lacks the scope \"" + std::string(ScopeName(scope)) + "\"",
                    {}, "insufficient_scope");
  }
  return found->limiter ? found->limiter->TakeRequest() : std::nullopt;
}

}  // namespace engram
