// SPDX-License-Identifier: Apache-2.0
#include "http/json_body.h"

#include <gtest/gtest.h>

#include "http/json_fields.h"

namespace engram {
namespace {

TEST(JsonBody, ReadsAnObject) {
  const auto object = ParseJsonObject(" {\"a\": [1, 2.5, \"\\ud83d\\ude42\"], \"b\": {\"a\": null}} ");
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_EQ(object->at("a").as_array().at(2).as_string(), "\xF0\x9F\x99\x82");
}

TEST(JsonBody, RefusesEverythingElseWithAPosition) {
  const std::string deep(200'000, '[');
  for (const std::string& body :
       std::vector<std::string>{"{", "{\"a\":1}x", "{\"a\":1,}", "{'a':1}", "\xEF\xBB\xBF{}", "{\"a\":\"\\ud800\"}",
                                "{\"a\":\"\\udc00\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":1e400}",
                                "{\"a\":-1e400}", "{\"a\":NaN}", "{\"a\":01}", "{\"a\":" + deep, deep}) {
    const auto object = ParseJsonObject(body);
    ASSERT_FALSE(object) << body.substr(0, 40);
    EXPECT_EQ(object.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(object.error().message.find("at byte"), std::string::npos) << object.error().message;
  }
  for (const char* body : {"", " \n", "[]", "1", "\"a\"", "null"}) EXPECT_FALSE(ParseJsonObject(body)) << body;
}

TEST(JsonBody, NamesAKeyGivenTwice) {
  for (const char* body : {"{\"k\":1,\"k\":1}", "{\"x\":[{\"k\":1,\"y\":{},\"k\":2}]}", "{\"k\":1,\"\\u006b\":1}"}) {
    const auto object = ParseJsonObject(body);
    ASSERT_FALSE(object) << body;
    EXPECT_EQ(object.error().field, "k");
  }
  EXPECT_TRUE(ParseJsonObject("{\"k\":{\"k\":{\"k\":1}}, \"j\":[{\"k\":1},{\"k\":1}]}"));
}

TEST(JsonFields, TakesTypedFields) {
  const auto object = ParseJsonObject("{\"i\":3,\"d\":0.5,\"s\":\"x\",\"b\":true,\"n\":null,\"l\":[1,2]}");
  ASSERT_TRUE(object);
  JsonFields fields(*object);
  EXPECT_EQ(fields.Int("i", 0, 0, 9), 3);
  EXPECT_EQ(fields.Number("d", 0, 0, 1), 0.5);
  EXPECT_EQ(fields.Number("i2", 7, 0, 1), 7);
  EXPECT_EQ(fields.String("s", ""), "x");
  EXPECT_TRUE(fields.Bool("b", false));
  EXPECT_EQ(fields.OptionalInt("n", 0, 1), std::nullopt);
  EXPECT_EQ(fields.Ints("l", 0, 2), (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(fields.Finish());
}

TEST(JsonFields, KeepsTheFirstErrorAndNamesItsPath) {
  const auto object = ParseJsonObject("{\"i\":3.0,\"l\":[1,5],\"u\":18446744073709551615}");
  ASSERT_TRUE(object);
  JsonFields fields(*object, "outer");
  EXPECT_EQ(fields.Int("i", 42, 0, 9), 42);
  EXPECT_TRUE(fields.Ints("l", 0, 2).empty());
  EXPECT_EQ(fields.Finish().error().field, "outer.i");
  JsonFields list(*object);
  EXPECT_TRUE(list.Ints("l", 0, 2).empty());
  EXPECT_EQ(list.Finish().error().field, "l[1]");
  JsonFields big(*object);
  EXPECT_EQ(big.OptionalInt("u", INT64_MIN, INT64_MAX), std::nullopt);
  EXPECT_EQ(big.Finish().error().field, "u");
}

TEST(JsonFields, RefusesWhatNobodyAskedFor) {
  const auto object = ParseJsonObject("{\"a\":1,\"unknown\":null,\"ok\":2}");
  ASSERT_TRUE(object);
  JsonFields fields(*object);
  fields.Int("a", 0, 0, 9);
  fields.Accept({"ok"});
  EXPECT_EQ(fields.Finish().error().field, "unknown");
}

}  // namespace
}  // namespace engram
