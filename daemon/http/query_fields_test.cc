// SPDX-License-Identifier: Apache-2.0
#include "http/query_fields.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

Request Of(const std::string& query) {
  Request request;
  request.target = "/x" + query;
  return request;
}

TEST(QueryFields, ReadsTypedParameters) {
  QueryFields fields(Of("?a=7&ids=1,2,18446744073709551615&text=x+y%2Bz&yes=true&&empty="));
  EXPECT_EQ(fields.Int("a", 1, 0, 10), 7u);
  EXPECT_EQ(fields.Int("b", 5, 0, 10), 5u);
  EXPECT_FALSE(fields.OptionalInt("c", 0, 10));
  EXPECT_EQ(fields.Ints("ids", 3), (std::vector<uint64_t>{1, 2, UINT64_MAX}));
  EXPECT_TRUE(fields.Ints("none", 3).empty());
  EXPECT_EQ(fields.String("text"), "x y+z");
  EXPECT_EQ(fields.String("empty", "fallback"), "");
  EXPECT_TRUE(fields.Bool("yes", false));
  EXPECT_TRUE(fields.Finish());
  QueryFields none(Of(""));
  EXPECT_EQ(none.Int("a", 3, 0, 10), 3u);
  EXPECT_TRUE(none.Finish());
}

TEST(QueryFields, NamesWhatIsWrong) {
  const auto error = [](const std::string& query) {
    QueryFields fields(Of(query));
    fields.RequiredInt("a", 1, 10);
    fields.Ints("ids", 2);
    fields.Bool("flag", false);
    const Status status = fields.Finish();
    return status ? std::string() : status.error().field;
  };
  EXPECT_EQ(error("?a=1"), "");
  EXPECT_EQ(error(""), "a");
  for (const char* bad : {"?a=0", "?a=11", "?a=", "?a=1.5", "?a=-1", "?a=+1", "?a=1x", "?a=99999999999999999999"})
    EXPECT_EQ(error(bad), "a") << bad;
  EXPECT_EQ(error("?a=1&a=1"), "a");
  EXPECT_EQ(error("?a=1&ids=1,x"), "ids[1]");
  EXPECT_EQ(error("?a=1&ids=1,"), "ids[1]");
  EXPECT_EQ(error("?a=1&ids=1,2,3"), "ids");
  EXPECT_EQ(error("?a=1&flag=1"), "flag");
  EXPECT_EQ(error("?a=1&other=1"), "other");
  EXPECT_EQ(error("?a=1&b%zz=1"), "b%zz");
}

}  // namespace
}  // namespace engram
