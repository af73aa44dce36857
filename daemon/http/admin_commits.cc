// SPDX-License-Identifier: Apache-2.0
// Commits, rollback, history.
#include <charconv>

#include "core/json_text.h"
#include "http/admin_memory.h"
#include "http/commit_body.h"
#include "http/deferred_reply.h"
#include "http/endpoints.h"
#include "http/json_body.h"
#include "http/memory_json.h"

namespace engram {
namespace {

constexpr std::string_view kCommits = "/admin/v1/commits";
constexpr uint64_t kMaxList = 1000;
constexpr uint64_t kMaxVersion = INT64_MAX;
// Of a page of a diff: rendered on the journal's thread, where a thousand rows take some milliseconds.
constexpr uint64_t kMaxDiffRows = 1000;

struct CommitCall {
  MemoryTarget target;
  CommitBody body;
  std::vector<TensorCommit::Place> places;  // of an upload
};

Result<CommitCall> ReadUpload(const LiveMemoryDirectory& memories, const Request& request) {
  CommitCall call;
  QueryFields query(request);
  auto target = FindMemory(memories, query);
  ENGRAM_CHECK_OK(query.Finish());
  if (!target) return std::move(target).error();
  call.target = std::move(*target);
  ENGRAM_TRY(auto commit, ReadCommitTensors(request.body, call.target.live->options().max_commit_rows));
  call.body = std::move(commit.body);
  call.places = std::move(commit.places);
  return call;
}

Result<CommitCall> ReadCommit(const LiveMemoryDirectory& memories, const Request& request) {
  if (IsUpload(request)) return ReadUpload(memories, request);
  CommitCall call;
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  ENGRAM_TRY(call.target, FindMemory(memories, request, fields));
  ENGRAM_TRY(call.body, ReadCommitFields(fields, call.target.tokens(), call.target.live->options().max_commit_rows));
  return call;
}

Response RenderAnswer(const CommitAnswer& answer) {
  std::string out;
  AppendCommitAnswer(out, answer);
  Response response = JsonTextResponse(201, std::move(out));
  response.headers.emplace_back("Location", std::string(kCommits) + "/" + std::to_string(answer.version));
  if (answer.repeated) response.headers.emplace_back("Idempotent-Replayed", "true");
  return response;
}

Reply PostCommit(const LiveMemoryDirectory& memories, const Request& request) {
  auto call = ReadCommit(memories, request);
  if (!call) return ErrorResponse(call.error());
  auto key = ReadIdempotencyKey(request);
  if (!key) return ErrorResponse(key.error());
  CommitRequest& commit = call->body.request;
  commit.idempotency = std::move(*key);
  commit.actor = request.client;
  if (commit.author.empty()) commit.author = request.client;
  const auto explain = [places = std::move(call->places)](Error error) {
    return places.empty() ? error : InTensorTerms(std::move(error), places);
  };
  if (call->body.plan) {
    auto report = call->target.live->Plan(commit);
    if (!report) return ErrorResponse(explain(std::move(report).error()));
    std::string out;
    AppendPlan(out, *report, call->target.model.tokenizer.get());
    return JsonTextResponse(200, std::move(out));
  }
  DeferredReply reply = MakeDeferredReply();
  call->target.live->Commit(std::move(commit), AnswerWith<CommitAnswer>(reply.send, RenderAnswer, explain));
  return std::move(reply.source);
}

Reply PostRollback(const LiveMemoryDirectory& memories, const Request& request) {
  auto body = ParseJsonObject(request.body);
  if (!body) return ErrorResponse(body.error());
  JsonFields fields(*body);
  auto target = FindMemory(memories, request, fields);
  if (!target) return ErrorResponse(target.error());
  auto rollback = ReadRollbackFields(fields);
  if (!rollback) return ErrorResponse(rollback.error());
  auto key = ReadIdempotencyKey(request);
  if (!key) return ErrorResponse(key.error());
  rollback->idempotency = std::move(*key);
  rollback->actor = request.client;
  if (rollback->author.empty()) rollback->author = request.client;
  DeferredReply reply = MakeDeferredReply();
  target->live->Rollback(std::move(*rollback), AnswerWith<CommitAnswer>(reply.send, RenderAnswer));
  return std::move(reply.source);
}

Reply ListCommits(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  const uint64_t limit = query.Int("limit", 100, 1, kMaxList);
  const auto before = query.OptionalInt("before", 1, kMaxVersion);
  auto target = FindMemory(memories, query);
  if (Status status = query.Finish(); !status) return ErrorResponse(status.error());
  if (!target) return ErrorResponse(target.error());
  DeferredReply reply = MakeDeferredReply();
  target->live->ListCommits(
      limit, before, AnswerWith<std::vector<CommitInfo>>(reply.send, [limit](const std::vector<CommitInfo>& commits) {
        std::string out = "{\"commits\":[";
        for (const CommitInfo& commit : commits) {
          if (out.back() != '[') out += ',';
          AppendCommitInfo(out, commit);
        }
        // A page that is not full is the last one; version 1 is the first commit.
        const bool more = commits.size() == limit && commits.back().version > 1;
        out += "],\"next_before\":" + (more ? std::to_string(commits.back().version) : std::string("null")) + "}";
        return JsonTextResponse(200, std::move(out));
      }));
  return std::move(reply.source);
}

Reply GetCommit(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  auto target = FindMemory(memories, query);
  if (Status status = query.Finish(); !status) return ErrorResponse(status.error());
  if (!target) return ErrorResponse(target.error());
  const std::string_view text = PathRest(request, "/admin/v1/commits/");
  uint64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size())
    return ErrorResponse(NotFound("\"" + std::string(text.substr(0, 100)) + "\" is not a version", "version"));
  DeferredReply reply = MakeDeferredReply();
  target->live->FindCommit(version, AnswerWith<CommitInfo>(reply.send, [](const CommitInfo& commit) {
                             std::string out;
                             AppendCommitInfo(out, commit);
                             return JsonTextResponse(200, std::move(out));
                           }));
  return std::move(reply.source);
}

Reply GetDiff(const LiveMemoryDirectory& memories, const Request& request) {
  QueryFields query(request);
  DiffRequest diff;
  diff.from = query.RequiredInt("from", 0, kMaxVersion);
  diff.to = query.RequiredInt("to", 0, kMaxVersion);
  diff.limit = query.Int("limit", 100, 1, kMaxDiffRows);
  diff.offset = query.Int("cursor", 0, 0, kMaxVersion);
  auto target = FindMemory(memories, query);
  if (Status status = query.Finish(); !status) return ErrorResponse(status.error());
  if (!target) return ErrorResponse(target.error());
  DeferredReply reply = MakeDeferredReply();
  target->live->Diff(diff, AnswerWith<DiffReport>(reply.send, [diff](const DiffReport& report) {
                       std::string out;
                       AppendDiff(out, diff, report);
                       return JsonTextResponse(200, std::move(out));
                     }));
  return std::move(reply.source);
}

}  // namespace

void AddCommitEndpoints(Router& router, const EndpointEnvironment& environment) {
  if (environment.admin.memories == nullptr) return;
  const LiveMemoryDirectory& memories = *environment.admin.memories;
  const auto with = [&memories](Reply (*endpoint)(const LiveMemoryDirectory&, const Request&)) {
    return [&memories, endpoint](const Request& request) { return endpoint(memories, request); };
  };
  // Blocks: a plan reads rows, and mode add is checked against them.
  router.Add("POST", std::string(kCommits), Scope::kEdit, with(PostCommit), {.blocks = true, .uploads = true});
  router.Add("GET", std::string(kCommits), Scope::kRead, with(ListCommits));
  router.Add("GET", "/admin/v1/commits/*", Scope::kRead, with(GetCommit));
  router.Add("GET", "/admin/v1/commits/diff", Scope::kRead, with(GetDiff));
  router.Add("GET", "/admin/v1/diff", Scope::kRead, with(GetDiff));
  router.Add("POST", "/admin/v1/rollback", Scope::kEdit, with(PostRollback));
}

}  // namespace engram
