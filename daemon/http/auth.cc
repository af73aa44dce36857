// SPDX-License-Identifier: Apache-2.0
#include "http/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/clock.h"
#include "http/websocket_request.h"

namespace engram {
namespace {

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

Authenticator::Authenticator(std::shared_ptr<const AccessKeys> keys, const Authenticator* before)
    : keys_(std::move(keys)) {
  for (const auto& key : keys_->keys) {
    const KeyLimits limits{key->requests_per_s, key->tokens_per_s};
    if (key->revoked_ms || limits == KeyLimits()) continue;
    std::shared_ptr<KeyLimiter>& limiter = limiters_[key->id];
    if (before != nullptr) {
      const auto known = before->limiters_.find(key->id);
      if (known != before->limiters_.end()) limiter = known->second;
    }
    if (limiter == nullptr) limiter = std::make_shared<KeyLimiter>(limits);
  }
}

std::optional<ApiError> Authenticator::Check(Request& request, Scope scope) const {
  request.client = request.peer;
  if (!required() || scope == Scope::kNone) return std::nullopt;
  const std::string* header = request.Header("authorization");
  std::string_view presented = header == nullptr ? std::string_view() : BearerKey(*header);
  if (header == nullptr && IsUpgrade(request)) presented = SubprotocolKey(request);
  if (presented.empty()) return Unauthorized("an API key is needed: send \"Authorization: Bearer KEY\"");

  Sha256Digest digest;
  unsigned int size = 0;
  if (EVP_Digest(presented.data(), presented.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1 ||
      size != digest.size()) {
    return ApiError(500, "SHA-256 is not available");
  }
  // Every key is compared, and each in constant time, so that timing tells nothing about digests.
  const std::shared_ptr<const AccessKey>* found = nullptr;
  for (const auto& key : keys_->keys) {
    if (CRYPTO_memcmp(key->sha256.data(), digest.data(), digest.size()) == 0) found = &key;
  }
  if (found == nullptr) return Unauthorized("the API key is not known");
  const int64_t now_ms = UnixMs();
  const std::shared_ptr<const AccessKey>& key = *found;
  request.key = key;
  request.client = key->name;
  const auto limiter = limiters_.find(key->id);
  if (limiter != limiters_.end()) request.limiter = limiter->second;
  if (auto objection = Objection(key.get(), scope, now_ms)) return objection;
  key->last_used_ms->store(now_ms);
  return request.limiter ? request.limiter->TakeRequest() : std::nullopt;
}

std::optional<ApiError> Authenticator::Objection(const AccessKey* key, Scope scope, int64_t now_ms) const {
  if (!required() || scope == Scope::kNone) return std::nullopt;
  if (key == nullptr) return Unauthorized("an API key is needed now");
  // What was known of it when the request came may be old.
  const AccessKey* current = nullptr;
  for (const auto& candidate : keys_->keys)
    if (candidate->id == key->id) current = candidate.get();
  if (current == nullptr || current->revoked_ms) return Unauthorized("the API key was revoked");
  if (!current->valid_at(now_ms)) return Unauthorized("the API key has expired");
  if (scope == Scope::kAny || (current->scopes & ScopeBit(scope)) != 0) return std::nullopt;
  return ApiError(403, "API key \"" + current->name + "\" lacks the scope \"" + std::string(ScopeName(scope)) + "\"",
                  {}, "insufficient_scope");
}

std::optional<int64_t> Authenticator::NextExpiry(int64_t unix_ms) const {
  std::optional<int64_t> next;
  for (const auto& key : keys_->keys) {
    if (key->revoked_ms || !key->expires_ms || *key->expires_ms <= unix_ms) continue;
    next = std::min(next.value_or(*key->expires_ms), *key->expires_ms);
  }
  return next;
}

}  // namespace engram
