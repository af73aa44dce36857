// SPDX-License-Identifier: Apache-2.0
#include "http/auth.h"

#include <gtest/gtest.h>

#include "core/clock.h"
#include "core/sha256.h"

namespace engram {
namespace {

Sha256Digest DigestOf(std::string_view secret) {
  Sha256 digest;
  digest.Update(secret);
  return digest.Finish();
}

AccessKey Key(const std::string& name, std::string_view secret, std::vector<std::string> scopes) {
  AccessKey key;
  key.id = "id_" + name;
  key.name = name;
  key.sha256 = DigestOf(secret);
  key.scopes = *ParseScopes(scopes);
  return key;
}

std::shared_ptr<const AccessKeys> KeysOf(const std::vector<AccessKey>& list) {
  auto keys = std::make_shared<AccessKeys>();
  keys->required = !list.empty();
  for (const AccessKey& key : list) keys->keys.push_back(std::make_shared<const AccessKey>(key));
  return keys;
}

Request With(const char* authorization) {
  Request request;
  request.peer = "10.0.0.1";
  if (authorization != nullptr) request.headers.emplace_back("authorization", authorization);
  return request;
}

int StatusOf(const Authenticator& authenticator, const char* authorization, Scope scope) {
  Request request = With(authorization);
  const auto error = authenticator.Check(request, scope);
  return error ? error->status : 200;
}

TEST(Auth, WithoutKeysEverybodyMay) {
  const Authenticator authenticator;
  Request request = With("Bearer whatever");
  EXPECT_FALSE(authenticator.Check(request, Scope::kOperate));
  EXPECT_EQ(request.client, "10.0.0.1");
}

TEST(Auth, ChecksKeyAndScope) {
  const Authenticator authenticator(KeysOf({Key("alice", "abc", {"generate"})}));
  for (const char* good : {"Bearer abc", "bearer abc", "BEARER  abc "}) {
    EXPECT_EQ(StatusOf(authenticator, good, Scope::kGenerate), 200) << good;
  }
  for (const char* bad : {"Bearer abd", "Bearer ", "Bearer", "abc", "Basic abc", "Bearer abc abc"}) {
    EXPECT_EQ(StatusOf(authenticator, bad, Scope::kGenerate), 401) << bad;
  }
  EXPECT_EQ(StatusOf(authenticator, nullptr, Scope::kGenerate), 401);
  EXPECT_EQ(StatusOf(authenticator, nullptr, Scope::kNone), 200);
  EXPECT_EQ(StatusOf(authenticator, nullptr, Scope::kAny), 401);
  EXPECT_EQ(StatusOf(authenticator, "Bearer abc", Scope::kAny), 200);
  EXPECT_EQ(StatusOf(authenticator, "Bearer abc", Scope::kRead), 403);
  Request request = With("Bearer abc");
  EXPECT_FALSE(authenticator.Check(request, Scope::kGenerate));
  EXPECT_EQ(request.client, "alice");
  Request nobody = With(nullptr);
  const auto error = authenticator.Check(nobody, Scope::kGenerate);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->headers.at(0).first, "WWW-Authenticate");
}

TEST(Auth, RevokedAndExpiredKeysAreRefusedAndWhatTheyBeganIsObjectedTo) {
  AccessKey alice = Key("alice", "abc", {"generate"});
  const Authenticator before(KeysOf({alice}));
  EXPECT_FALSE(before.Objection(&alice, Scope::kGenerate, UnixMs()));
  EXPECT_EQ(before.Objection(&alice, Scope::kRead, UnixMs())->status, 403);
  EXPECT_EQ(before.Objection(nullptr, Scope::kGenerate, UnixMs())->status, 401);
  EXPECT_FALSE(before.Objection(nullptr, Scope::kNone, UnixMs()));

  AccessKey revoked = alice;
  revoked.revoked_ms = 5;
  const Authenticator after(KeysOf({revoked}));
  EXPECT_EQ(StatusOf(after, "Bearer abc", Scope::kGenerate), 401);
  EXPECT_EQ(StatusOf(after, "Bearer abc", Scope::kAny), 401);
  EXPECT_EQ(after.Objection(&alice, Scope::kGenerate, UnixMs())->message, "the API key was revoked");
  EXPECT_EQ(Authenticator(KeysOf({Key("bob", "abd", {"generate"})})).Objection(&alice, Scope::kGenerate, 0)->status,
            401);

  AccessKey expired = alice;
  expired.expires_ms = 1000;
  const Authenticator later(KeysOf({expired}));
  EXPECT_EQ(StatusOf(later, "Bearer abc", Scope::kGenerate), 401);
  EXPECT_FALSE(later.Objection(&alice, Scope::kGenerate, 999));
  EXPECT_EQ(later.Objection(&alice, Scope::kGenerate, 1000)->message, "the API key has expired");
  EXPECT_EQ(later.NextExpiry(0), 1000);
  EXPECT_EQ(later.NextExpiry(1000), std::nullopt);
}

TEST(Auth, LimitsGoOnWhenKeysChange) {
  AccessKey alice = Key("alice", "abc", {"generate"});
  alice.requests_per_s = 0.001;  // one at once
  const Authenticator before(KeysOf({alice}));
  EXPECT_EQ(StatusOf(before, "Bearer abc", Scope::kGenerate), 200);
  EXPECT_EQ(StatusOf(before, "Bearer abc", Scope::kGenerate), 429);
  const auto more = KeysOf({alice, Key("bob", "abd", {"read"})});
  EXPECT_EQ(StatusOf(Authenticator(more, &before), "Bearer abc", Scope::kGenerate), 429);
  EXPECT_EQ(StatusOf(Authenticator(more), "Bearer abc", Scope::kGenerate), 200);
}

TEST(Auth, NotesWhenAKeyWasUsed) {
  const AccessKey alice = Key("alice", "abc", {"generate"});
  const Authenticator authenticator(KeysOf({alice}));
  EXPECT_EQ(StatusOf(authenticator, "Bearer abd", Scope::kGenerate), 401);
  EXPECT_EQ(StatusOf(authenticator, "Bearer abc", Scope::kRead), 403);
  EXPECT_EQ(alice.last_used_ms->load(), 0);
  EXPECT_EQ(StatusOf(authenticator, "Bearer abc", Scope::kGenerate), 200);
  EXPECT_GT(alice.last_used_ms->load(), 0);
}

TEST(Auth, AnUpgradeMayBringItsKeyAsASubprotocol) {
  const Authenticator authenticator(KeysOf({Key("alice", "abc", {"generate"})}));
  Request request;
  request.method = "GET";
  request.headers = {{"connection", "keep-alive, Upgrade"},
                     {"upgrade", "websocket"},
                     {"sec-websocket-protocol", "engramd, bearer.abc"}};
  EXPECT_FALSE(authenticator.Check(request, Scope::kGenerate));
  EXPECT_EQ(request.client, "alice");
  EXPECT_EQ(authenticator.Check(request, Scope::kOperate)->status, 403);
  request.headers.back().second = "engramd, bearer.abd";
  EXPECT_EQ(authenticator.Check(request, Scope::kGenerate)->status, 401);
  // Not for anything else that a page could send.
  request.headers.back().second = "engramd, bearer.abc";
  request.headers.erase(request.headers.begin());
  EXPECT_EQ(authenticator.Check(request, Scope::kGenerate)->status, 401);
}

}  // namespace
}  // namespace engram
