// SPDX-License-Identifier: Apache-2.0
#include "http/router.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "http/api_error.h"

namespace engram {
namespace {

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() : router_(authenticator_) {
    router_.Add("GET", "/thing", Scope::kNone, [](const Request&) { return Reply(Response{}); });
    router_.Add("POST", "/thing", Scope::kNone, [](const Request&) { return Reply(Response{}); });
    router_.Add("GET", "/thing/*", Scope::kNone, [](const Request&) -> Reply { throw std::runtime_error("oops"); });
  }
  Request Make(std::string method, std::string path) {
    Request request;
    request.method = std::move(method);
    request.path = std::move(path);
    return request;
  }
  int Check(Request request) {
    const auto response = router_.CheckHead(request);
    return response ? response->status : 0;
  }
  Published<Authenticator> authenticator_{Authenticator()};
  Router router_;
};

TEST_F(RouterTest, ChecksMethodAndPath) {
  EXPECT_EQ(Check(Make("GET", "/thing")), 0);
  EXPECT_EQ(Check(Make("HEAD", "/thing")), 0);
  EXPECT_EQ(Check(Make("GET", "/thing/a/b")), 0);
  EXPECT_EQ(Check(Make("GET", "/thing/")), 404);
  EXPECT_EQ(Check(Make("GET", "/thin")), 404);
  EXPECT_EQ(Check(Make("DELETE", "/thing")), 405);
  EXPECT_EQ(Check(Make("POST", "/thing/a")), 405);
  EXPECT_EQ(Check(Make("BREW", "/thing")), 501);
  EXPECT_EQ(Check(Make("OPTIONS", "/nothing")), 404);
  Request options = Make("OPTIONS", "/thing");
  EXPECT_EQ(router_.CheckHead(options)->headers.at(0).second, "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(router_.Label(Make("GET", "/thing/a")), "/thing/*");
  EXPECT_EQ(router_.Label(Make("GET", "/nope")), "other");
}

TEST_F(RouterTest, PutAndDeleteAreMethodsLikeTheOthers) {
  Response put;
  put.status = 201;
  router_.Add("PUT", "/kept/*", Scope::kNone, [put](const Request&) { return Reply(put); });
  router_.Add("DELETE", "/kept/*", Scope::kNone, [](const Request&) { return Reply(Response{}); });
  EXPECT_EQ(router_.Dispatch(Make("PUT", "/kept/a")).response.status, 201);
  EXPECT_EQ(router_.Dispatch(Make("DELETE", "/kept/a")).response.status, 200);
  Request get = Make("GET", "/kept/a");
  const auto refused = router_.CheckHead(get);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 405);
  ASSERT_FALSE(refused->headers.empty());
  EXPECT_EQ(refused->headers[0].second, "PUT, DELETE, OPTIONS");
  Request upload = Make("PUT", "/kept/a");
  upload.headers.emplace_back("content-type", "image/png");
  EXPECT_EQ(Check(upload), 415);
}

TEST_F(RouterTest, TheMostExactPathCounts) {
  Response teapot;
  teapot.status = 418;
  router_.Add("GET", "/thing/special", Scope::kNone, [teapot](const Request&) { return Reply(teapot); });
  router_.Add("POST", "/thing/*", Scope::kNone, [](const Request&) { return Reply(Response{}); });
  EXPECT_EQ(router_.Dispatch(Make("GET", "/thing/special")).response.status, 418);
  EXPECT_EQ(router_.Label(Make("GET", "/thing/special")), "/thing/special");
  EXPECT_EQ(Check(Make("POST", "/thing/special")), 405);
}

TEST_F(RouterTest, OnlySomeRoutesTakeUploads) {
  router_.Add("POST", "/upload", Scope::kNone, [](const Request&) { return Reply(Response{}); },
              {.blocks = true, .uploads = true});
  for (const char* type : {"application/octet-stream", "application/x-safetensors"}) {
    Request upload = Make("POST", "/upload");
    upload.headers.emplace_back("content-type", type);
    EXPECT_TRUE(IsUpload(upload)) << type;
    EXPECT_EQ(Check(upload), 0) << type;
  }
  Request picture = Make("POST", "/upload");
  picture.headers.emplace_back("content-type", "image/png");
  EXPECT_FALSE(IsUpload(picture));
  EXPECT_EQ(Check(picture), 415);
  EXPECT_TRUE(router_.OptionsOf(Make("POST", "/upload")).blocks);
  EXPECT_FALSE(router_.OptionsOf(Make("POST", "/thing")).uploads);
  EXPECT_FALSE(router_.OptionsOf(Make("POST", "/nope")).blocks);
}

TEST_F(RouterTest, ChecksContentType) {
  for (const char* type : {"application/json", "text/plain", "application/x-www-form-urlencoded"}) {
    Request request = Make("POST", "/thing");
    request.headers.emplace_back("content-type", type);
    EXPECT_EQ(Check(request), 0) << type;
  }
  Request upload = Make("POST", "/thing");
  upload.headers.emplace_back("content-type", "multipart/form-data; boundary=x");
  EXPECT_EQ(Check(upload), 415);
}

TEST_F(RouterTest, AnExceptionIsAnInternalError) {
  EXPECT_EQ(router_.Dispatch(Make("GET", "/thing/a")).response.status, 500);
}

TEST(ApiError, MapsCodes) {
  const std::pair<ErrorCode, int> statuses[] = {
      {ErrorCode::kInvalidArgument, 400},   {ErrorCode::kUnsupported, 400},
      {ErrorCode::kNotFound, 404},          {ErrorCode::kFailedPrecondition, 409},
      {ErrorCode::kResourceExhausted, 429}, {ErrorCode::kUnavailable, 503},
      {ErrorCode::kCancelled, 503},         {ErrorCode::kDeadlineExceeded, 504},
      {ErrorCode::kDataLoss, 500},          {ErrorCode::kIo, 500},
      {ErrorCode::kInternal, 500},          {ErrorCode::kOutOfSpace, 507}};
  for (const auto& [code, status] : statuses) {
    const ApiError error(Error{code, "m", "f"});
    EXPECT_EQ(error.status, status);
    EXPECT_EQ(!error.headers.empty(), status == 429 || status == 503);
  }
  EXPECT_EQ(ErrorJson(ApiError(InvalidArgument("say \"n\"", "n"))),
            R"({"error":{"message":"say \"n\"","type":"invalid_request_error","param":"n","code":null}})");
}

}  // namespace
}  // namespace engram
