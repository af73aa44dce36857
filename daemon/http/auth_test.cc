// SPDX-License-Identifier: Apache-2.0
#include "http/auth.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

// SHA-256 of "abc", from FIPS 180-2.
const char* const kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

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
  const auto authenticator = Authenticator::Create({});
  ASSERT_TRUE(authenticator);
  Request request = With("Bearer whatever");
  EXPECT_FALSE(authenticator->Check(request, Scope::kOperate));
  EXPECT_EQ(request.client, "10.0.0.1");
}

TEST(Auth, ChecksKeyAndScope) {
  const auto authenticator = Authenticator::Create({{"alice", kAbc, {"generate"}}});
  ASSERT_TRUE(authenticator);
  for (const char* good : {"Bearer abc", "bearer abc", "BEARER  abc "}) {
    EXPECT_EQ(StatusOf(*authenticator, good, Scope::kGenerate), 200) << good;
  }
  for (const char* bad : {"Bearer abd", "Bearer ", "Bearer", "abc", "Basic abc", "Bearer abc abc"}) {
    EXPECT_EQ(StatusOf(*authenticator, bad, Scope::kGenerate), 401) << bad;
  }
  EXPECT_EQ(StatusOf(*authenticator, nullptr, Scope::kGenerate), 401);
  EXPECT_EQ(StatusOf(*authenticator, nullptr, Scope::kNone), 200);
  EXPECT_EQ(StatusOf(*authenticator, "Bearer abc", Scope::kRead), 403);
  Request request = With("Bearer abc");
  EXPECT_FALSE(authenticator->Check(request, Scope::kGenerate));
  EXPECT_EQ(request.client, "alice");
  Request nobody = With(nullptr);
  const auto error = authenticator->Check(nobody, Scope::kGenerate);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->headers.at(0).first, "WWW-Authenticate");
}

TEST(Auth, RefusesBadConfiguration) {
  EXPECT_FALSE(Authenticator::Create({{"a", "abc", {"read"}}}));
  EXPECT_FALSE(Authenticator::Create({{"a", std::string(64, 'A'), {"read"}}}));
  const auto unknown = Authenticator::Create({{"a", kAbc, {"fly"}}});
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("fly"), std::string::npos);
}

TEST(Auth, AnUpgradeMayBringItsKeyAsASubprotocol) {
  const auto authenticator = Authenticator::Create({{"alice", kAbc, {"generate"}}});
  ASSERT_TRUE(authenticator);
  Request request;
  request.method = "GET";
  request.headers = {{"connection", "keep-alive, Upgrade"},
                     {"upgrade", "websocket"},
                     {"sec-websocket-protocol", "engramd, bearer.abc"}};
  EXPECT_FALSE(authenticator->Check(request, Scope::kGenerate));
  EXPECT_EQ(request.client, "alice");
  EXPECT_EQ(authenticator->Check(request, Scope::kOperate)->status, 403);
  request.headers.back().second = "engramd, bearer.abd";
  EXPECT_EQ(authenticator->Check(request, Scope::kGenerate)->status, 401);
  // Not for anything else that a page could send.
  request.headers.back().second = "engramd, bearer.abc";
  request.headers.erase(request.headers.begin());
  EXPECT_EQ(authenticator->Check(request, Scope::kGenerate)->status, 401);
}

}  // namespace
}  // namespace engram
