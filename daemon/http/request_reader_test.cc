// SPDX-License-Identifier: Apache-2.0
#include "http/request_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace engram {
namespace {

using State = RequestReader::State;

// Feeds `bytes` in pieces of `step` until a request is complete or has failed; leaves the rest in `bytes`.
State Feed(RequestReader& reader, std::string_view& bytes, size_t step) {
  State state = reader.Advance();
  if (state == State::kBody) state = reader.Advance();
  while ((state == State::kHeader || state == State::kBody) && !bytes.empty()) {
    const size_t size = std::min(step, bytes.size());
    const auto space = reader.Prepare(size);
    if (space.empty()) break;
    std::memcpy(space.data(), bytes.data(), space.size());
    reader.Commit(space.size());
    bytes.remove_prefix(space.size());
    state = reader.Advance();
    if (state == State::kBody) state = reader.Advance();
  }
  return state;
}

int StatusOf(std::string_view bytes, size_t step = 1000) {
  RequestReader reader(2000, 100);
  return Feed(reader, bytes, step) == State::kFailed ? reader.error().status : 0;
}

TEST(RequestReader, ReadsPipelinedRequestsInPiecesOfAnySize) {
  const std::string wire =
      "POST /a%20b?q=1 HTTP/1.1\r\nHost: x\r\nX-Thing:  v \r\nContent-Length: 3\r\n\r\nabc"
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n"
      "GET http://other/d HTTP/1.0\r\n\r\n";
  for (size_t step = 1; step <= wire.size(); ++step) {
    RequestReader reader(2000, 100);
    std::string_view bytes = wire;
    ASSERT_EQ(Feed(reader, bytes, step), State::kComplete);
    EXPECT_EQ(reader.request().path, "/a b");
    EXPECT_EQ(reader.request().body, "abc");
    ASSERT_NE(reader.request().Header("x-thing"), nullptr);
    EXPECT_EQ(*reader.request().Header("x-thing"), "v");
    EXPECT_TRUE(reader.request().keep_alive);
    reader.Next();
    ASSERT_EQ(Feed(reader, bytes, step), State::kComplete);
    EXPECT_EQ(reader.request().path, "/c");
    EXPECT_EQ(reader.request().body, "abcde");
    reader.Next();
    ASSERT_EQ(Feed(reader, bytes, step), State::kComplete);
    EXPECT_EQ(reader.request().path, "/d");
    EXPECT_TRUE(reader.request().http_1_0);
    EXPECT_FALSE(reader.request().keep_alive);
    reader.Next();
    EXPECT_EQ(reader.Advance(), State::kHeader);
    EXPECT_EQ(reader.buffered_bytes(), 0u);
  }
}

// A last chunk without a trailer and with nothing before it is shorter than the parser takes for granted.
TEST(RequestReader, ALastChunkMayComeByteByByte) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string body : {"0\r\n\r\n", "1\r\na\r\n0\r\n\r\n", "0;x=y\r\nA: b\r\n\r\n"}) {
    for (size_t step = 1; step <= 6; ++step) {
      RequestReader reader(2000, 100);
      std::string_view bytes = head;
      ASSERT_EQ(Feed(reader, bytes, 1000), State::kBody);
      bytes = body;
      ASSERT_EQ(Feed(reader, bytes, step), State::kComplete) << body << " in pieces of " << step;
      EXPECT_TRUE(bytes.empty());
    }
  }
}

TEST(RequestReader, LimitsHeaderAndBody) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\n";
  for (const size_t step : {1u, 7u, 1000u, 100'000u}) {
    EXPECT_EQ(StatusOf(head + "A: " + std::string(3000, 'a') + "\r\n\r\n", step), 431);
    EXPECT_EQ(StatusOf(head + "Content-Length: 101\r\n\r\n", step), 413);
    EXPECT_EQ(
        StatusOf(head + "Transfer-Encoding: chunked\r\n\r\n64\r\n" + std::string(100, 'a') + "\r\n1\r\na\r\n", step),
        413);
    EXPECT_EQ(StatusOf(head + "Content-Length: 100\r\n\r\n" + std::string(100, 'a'), step), 0);
  }
}

// Request line and fields together, in pieces of any size.
TEST(RequestReader, TheHeaderLimitIsExact) {
  for (const size_t target : {1u, 900u, 1900u}) {
    const std::string line = "GET /" + std::string(target, 'p') + " HTTP/1.1\r\nHost: x\r\nA: ";
    for (size_t step = 1; step <= 2100; step += step < 10 ? 1 : 13) {
      for (const size_t over : {0, 1, 5, 60}) {
        const std::string bytes = line + std::string(2000 + over - line.size() - 4, 'a') + "\r\n\r\n";
        EXPECT_EQ(StatusOf(bytes, step), over == 0 ? 0 : 431) << target << " " << step << " " << over;
        EXPECT_EQ(StatusOf(bytes + bytes, step), over == 0 ? 0 : 431) << target << " " << step << " " << over;
      }
    }
  }
}

TEST(RequestReader, RefusesWhatIsAmbiguous) {
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\n";
  EXPECT_EQ(StatusOf(post + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(post + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(post + "Content-Length: 1, 1\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(post + "Transfer-Encoding: gzip, chunked\r\n\r\n"), 501);
  EXPECT_EQ(StatusOf(post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), 505);
  EXPECT_EQ(StatusOf("GET /%0 HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf(post + "Expect: more\r\n\r\n"), 417);
}

TEST(RequestReader, StopsAfterTheHeader) {
  RequestReader reader(2000, 100);
  std::string_view head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
  EXPECT_EQ(Feed(reader, head, 1000), State::kBody);
  EXPECT_TRUE(reader.expects_continue());
  EXPECT_TRUE(reader.request().has_body);
  std::string_view body = "{}";
  EXPECT_EQ(Feed(reader, body, 1), State::kComplete);
  EXPECT_EQ(reader.request().body, "{}");
}

TEST(RequestReader, ARequestMayBeAllowedMore) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\n";
  const std::string body(150, 'b');
  const auto status = [&](const std::string& wire, uint64_t allowed) {
    RequestReader reader(2000, 100);
    std::string_view bytes = wire;
    const auto space = reader.Prepare(bytes.size());
    std::memcpy(space.data(), bytes.data(), bytes.size());
    reader.Commit(bytes.size());
    if (reader.Advance() != State::kBody) return -1;
    reader.AllowBody(allowed);
    if (reader.Advance() == State::kFailed) return reader.error().status;
    EXPECT_EQ(reader.request().body, body);
    // The next request is under the usual limit again.
    reader.Next();
    bytes = wire;
    return Feed(reader, bytes, 1000) == State::kFailed ? 0 : -2;
  };
  const std::string sized = head + "Content-Length: 150\r\n\r\n" + body;
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n96\r\n" + body + "\r\n0\r\n\r\n";
  EXPECT_EQ(status(sized, 150), 0);
  EXPECT_EQ(status(sized, 149), 413);
  EXPECT_EQ(status(chunked, 150), 0);
  EXPECT_EQ(status(chunked, 149), 413);
  RequestReader reader(2000, 100);
  std::string_view bytes = sized;
  EXPECT_EQ(Feed(reader, bytes, 1000), State::kFailed);
  EXPECT_EQ(reader.announced_body_bytes(), 150u);
}

}  // namespace
}  // namespace engram
