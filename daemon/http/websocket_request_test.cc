// SPDX-License-Identifier: Apache-2.0
#include "http/websocket_request.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

Request Upgrade() {
  Request request;
  request.method = "GET";
  request.headers = {{"upgrade", "WebSocket"},
                     {"connection", "keep-alive, Upgrade"},
                     {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="},
                     {"sec-websocket-version", "13"}};
  return request;
}

int StatusWith(size_t header, const char* value) {
  Request request = Upgrade();
  request.headers[header].second = value;
  const auto error = CheckUpgrade(request);
  return error ? error->status : 101;
}

TEST(WebSocketRequest, ChecksTheUpgrade) {
  EXPECT_FALSE(CheckUpgrade(Upgrade()));
  EXPECT_EQ(StatusWith(0, "h2c"), 426);
  EXPECT_EQ(StatusWith(0, "websockets"), 426);
  EXPECT_EQ(StatusWith(1, "close"), 426);
  EXPECT_EQ(StatusWith(2, ""), 400);
  EXPECT_EQ(StatusWith(2, "dGhlIHNhbXBsZSBub25jZ"), 400);
  EXPECT_EQ(StatusWith(3, "8"), 426);
  Request request = Upgrade();
  request.method = "HEAD";
  const auto error = CheckUpgrade(request);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->status, 426);
  EXPECT_EQ(error->headers.at(0).first, "Upgrade");
  request = Upgrade();
  request.has_body = true;
  EXPECT_EQ(CheckUpgrade(request)->status, 400);
}

TEST(WebSocketRequest, FindsItemsAndKeys) {
  Request request;
  request.headers = {{"sec-websocket-protocol", " a ,, b,"}, {"x", "c"}, {"sec-websocket-protocol", "bearer.k-1"}};
  EXPECT_EQ(HeaderItems(request, "sec-websocket-protocol"), (std::vector<std::string_view>{"a", "b", "bearer.k-1"}));
  EXPECT_EQ(SubprotocolKey(request), "k-1");
  request.headers.pop_back();
  EXPECT_EQ(SubprotocolKey(request), "");
}

}  // namespace
}  // namespace engram
