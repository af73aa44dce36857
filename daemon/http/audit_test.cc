// SPDX-License-Identifier: Apache-2.0
#include "http/audit.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

Request Of(const char* method, const char* path, Scope scope, const char* body = "") {
  Request request;
  request.method = method;
  request.path = path;
  request.scope = scope;
  request.body = body;
  request.peer = "10.0.0.1";
  return request;
}

TEST(Audit, WhatIsRecorded) {
  EXPECT_TRUE(IsAudited(Of("POST", "/admin/v1/commits", Scope::kEdit)));
  EXPECT_TRUE(IsAudited(Of("DELETE", "/admin/v1/keys/a", Scope::kOperate)));
  EXPECT_FALSE(IsAudited(Of("GET", "/admin/v1/keys", Scope::kOperate)));
  EXPECT_FALSE(IsAudited(Of("POST", "/admin/v1/locate", Scope::kRead)));
  EXPECT_FALSE(IsAudited(Of("POST", "/v1/completions", Scope::kGenerate)));
  Request request = Of("GET", "/", Scope::kNone);
  EXPECT_TRUE(IsDenied(request, 401));
  EXPECT_FALSE(IsDenied(request, 403));  // a foreign page
  EXPECT_FALSE(IsDenied(request, 404));
  request.key = std::make_shared<const AccessKey>();
  EXPECT_TRUE(IsDenied(request, 403));
}

TEST(Audit, SaysWhoDidWhatToWhat) {
  Request request = Of("DELETE", "/admin/v1/keys/key_1", Scope::kOperate);
  AccessKey key;
  key.id = "key_2";
  key.name = "ann";
  request.key = std::make_shared<const AccessKey>(key);
  const AuditEntry entry = MakeAuditEntry(request, "/admin/v1/keys/*", 200, R"({"id":"key_1","name":"bob"})");
  EXPECT_EQ(entry.action, "DELETE /admin/v1/keys/*");
  EXPECT_EQ(entry.target, "key_1");
  EXPECT_EQ(entry.key_id, "key_2");
  EXPECT_EQ(entry.key_name, "ann");
  EXPECT_EQ(entry.address, "10.0.0.1");
  EXPECT_EQ(entry.status, 200);
  EXPECT_EQ(entry.detail, "id key_1, name bob");
  EXPECT_GT(entry.unix_ms, 0);
}

TEST(Audit, CountsRecords) {
  const Request plan = Of("POST", "/admin/v1/plan", Scope::kEdit);
  const std::string body = R"({"version":3,"rows":[{"layer":1,"row":7},{"layer":2,"row":9}],"plan":true,"entries":[]})";
  EXPECT_EQ(MakeAuditEntry(plan, "/admin/v1/plan", 200, body).detail, "version 3, rows 2, plan true");
}

TEST(Audit, KeepsSecretsOutAndTextShort) {
  const Request create = Of("POST", "/admin/v1/keys", Scope::kOperate, R"({"name":"ci","scopes":["read"]})");
  const AuditEntry made =
      MakeAuditEntry(create, "/admin/v1/keys", 201, R"({"id":"key_1","scopes":["read","edit"],"key":"engram_secret"})");
  EXPECT_EQ(made.target, "ci");
  EXPECT_EQ(made.detail, "id key_1, scopes read,edit");

  const AuditEntry wrong =
      MakeAuditEntry(create, "/admin/v1/keys", 409, R"({"error":{"message":"a key named \"ci\" exists"}})");
  EXPECT_EQ(wrong.detail, "a key named \"ci\" exists");
  EXPECT_EQ(MakeAuditEntry(create, "/admin/v1/keys", 499, "").detail, "the client left before the answer");

  // Cut between characters, whatever the body is.
  std::string utf8 = "x";
  for (int i = 0; i < 150; ++i) utf8 += "\xc3\xa9";
  const std::string body = "{\"name\":\"" + utf8 + "\"}";
  const AuditEntry cut = MakeAuditEntry(Of("POST", "/a", Scope::kEdit, body.c_str()), "/a", 200, "");
  EXPECT_EQ(cut.target, utf8.substr(0, 199) + "…");
  EXPECT_EQ(MakeAuditEntry(Of("POST", "/a", Scope::kEdit, "[not json"), "/a", 400, "<html>").target, "");
}

}  // namespace
}  // namespace engram
