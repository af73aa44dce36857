// SPDX-License-Identifier: Apache-2.0
#include "http/origin.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

bool Allows(const OriginPolicy& policy, const char* host, const char* origin) {
  Request request;
  if (host != nullptr) request.headers.emplace_back("host", host);
  if (origin != nullptr) request.headers.emplace_back("origin", origin);
  const auto error = CheckOrigin(request, policy);
  EXPECT_EQ(error ? error->status : 403, 403);
  return !error;
}

TEST(Origin, ThePagesOfTheServerItselfMay) {
  EXPECT_TRUE(Allows({}, "example.org", nullptr));
  EXPECT_TRUE(Allows({}, "example.org:8484", "http://example.org:8484"));
  EXPECT_TRUE(Allows({}, "Example.org", "https://example.ORG"));
  EXPECT_TRUE(Allows({}, "example.org:443", "https://example.org"));
  EXPECT_TRUE(Allows({}, "[::1]:8484", "http://[::1]:8484"));
  EXPECT_FALSE(Allows({}, "example.org:8484", "http://example.org"));
  EXPECT_FALSE(Allows({}, "example.org:443", "http://example.org"));
  EXPECT_FALSE(Allows({}, "localhost:8484", "http://localhost:3000"));
  EXPECT_FALSE(Allows({}, "example.org", "https://evil.org"));
  EXPECT_FALSE(Allows({}, "example.org", "https://example.org.evil.org"));
  EXPECT_FALSE(Allows({}, "example.org", "null"));
  EXPECT_FALSE(Allows({}, "example.org", ""));
  EXPECT_FALSE(Allows({}, nullptr, "http://"));
}

TEST(Origin, OthersMayWhereTheyAreAllowed) {
  const OriginPolicy policy{{"https://App.example.org"}, false, {}};
  EXPECT_TRUE(Allows(policy, "api.example.org", "https://app.example.org"));
  EXPECT_FALSE(Allows(policy, "api.example.org", "http://app.example.org"));
}

TEST(Origin, WithoutKeysOnlyLocalNamesAreAnswered) {
  const OriginPolicy policy{{}, true, {"Engram.example.org"}};
  for (const char* good : {"localhost", "LOCALHOST:8484", "127.0.0.1:8484", "127.1.2.3", "[::1]", "[::1]:80",
                           "app.localhost:1", "engram.example.org:8484"}) {
    EXPECT_TRUE(Allows(policy, good, nullptr)) << good;
  }
  for (const char* bad :
       {"evil.org", "evil.org:8484", "127.0.0.1.evil.org", "localhost.evil.org", "[::2]", "", ":80", "example.org"}) {
    EXPECT_FALSE(Allows(policy, bad, nullptr)) << bad;
  }
  // HTTP/1.0; no browser leaves it out.
  EXPECT_TRUE(Allows(policy, nullptr, nullptr));
  EXPECT_FALSE(Allows(policy, "localhost:8484", "http://evil.org"));
}

}  // namespace
}  // namespace engram
