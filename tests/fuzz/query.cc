// SPDX-License-Identifier: Apache-2.0
// What a request says beside its body, a line each: query string, path, Host, Origin, Connection, Upgrade,
// Sec-WebSocket-Key, -Version, -Protocol.
#include <string>

#include "fuzz/fuzz_target.h"
#include "http/origin.h"
#include "http/query_fields.h"
#include "http/websocket_request.h"

namespace engram {
namespace {

void CheckError(const std::optional<ApiError>& error) {
  if (!error) return;
  FUZZ_CHECK(error->status >= 400 && error->status < 500);
  FUZZ_CHECK(!ErrorJson(*error).empty());
}

}  // namespace

ENGRAM_FUZZ_TARGET(query, bytes) {
  FuzzInput input(bytes);
  Request request;
  request.method = "GET";
  request.target = "/x?" + std::string(input.Line());
  QueryFields query(request);
  const std::string text = query.String("model");
  const bool flag = query.Bool("deep", false);
  const uint64_t number = query.Int("limit", 10, 1, 100);
  const auto version = query.OptionalInt("as_of", 0, UINT64_MAX);
  const auto ids = query.Ints("ids", 64);
  const Status status = query.Finish();
  if (status) {
    FUZZ_CHECK(number >= 1 && number <= 100);
    FUZZ_CHECK(ids.size() <= 64);
    FUZZ_CHECK(text.size() <= request.target.size());
    FUZZ_CHECK(!flag || request.target.find("true") != std::string::npos ||
               request.target.find('%') != std::string::npos);
    FUZZ_CHECK(!version || request.target.size() > 6);
  } else {
    FUZZ_CHECK(!status.error().message.empty());
  }

  const std::string_view path = input.Line();
  if (const auto decoded = PercentDecode(path)) FUZZ_CHECK(decoded->size() <= path.size());
  for (const char* name : {"host", "origin", "connection", "upgrade", "sec-websocket-key", "sec-websocket-version",
                           "sec-websocket-protocol"})
    if (const std::string_view value = input.Line(); !value.empty()) request.headers.emplace_back(name, value);
  CheckError(CheckOrigin(request, {{"https://example.org"}, true, {"box.lan"}}));
  CheckError(CheckOrigin(request, {{}, false, {}}));
  CheckError(CheckUpgrade(request));
  for (const std::string_view item : HeaderItems(request, "sec-websocket-protocol")) FUZZ_CHECK(item == item.substr(0));
  if (!SubprotocolKey(request).empty()) FUZZ_CHECK(request.Header("sec-websocket-protocol") != nullptr);
}

}  // namespace engram
