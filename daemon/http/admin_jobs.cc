// SPDX-License-Identifier: Apache-2.0
// Long work on the memory: compaction, other base tables, backups, the n-gram index. Each is an operation.
#include <thread>

#include "control/operations.h"
#include "core/allowed_path.h"
#include "http/admin_memory.h"
#include "http/endpoints.h"
#include "http/json_body.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

struct JobName {
  const char* kind;
  std::string target;
  std::string path;
};

// Starts a job and answers with its operation; a job that is refused at once is an error right away.
template <typename T>
Response StartJob(Operations& operations, JobName name,
                  const std::function<void(LiveMemory::Progress, LiveMemory::Done<T>)>& start,
                  std::function<std::string(const T&)> summary) {
  const uint64_t id = operations.Add(name.kind, std::move(name.target), std::move(name.path));
  if (!operations.Start(id)) return Accepted(id);  // cancelled in between
  // `refused` is this thread's: only a callback that comes on it, before `start` returns, writes it.
  struct Call {
    std::thread::id thread = std::this_thread::get_id();
    bool inside = true;
    std::optional<Error> refused;
  };
  const auto call = std::make_shared<Call>();
  const auto progress = [&operations, id](const JobProgress& now) {
    operations.Report(id, now.stage,
                      now.total == 0 ? 0 : static_cast<double>(now.done) / static_cast<double>(now.total));
    return operations.CheckCancelled(id);
  };
  start(progress, [&operations, id, call, summary = std::move(summary)](Result<T> result) {
    if (!result) {
      if (std::this_thread::get_id() == call->thread && call->inside) call->refused = result.error();
      operations.Finish(id, std::move(result).error());
      return;
    }
    operations.Report(id, summary(*result), 1);
    operations.Finish(id, {});
  });
  call->inside = false;
  if (call->refused) return ErrorResponse(ApiError(*call->refused));
  return Accepted(id);
}

Result<Response> PostCompact(const AdminServices& admin, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body.empty() ? "{}" : request.body));
  JsonFields fields(body);
  ENGRAM_TRY(const MemoryTarget target, FindMemory(*admin.memories, request, fields));
  ENGRAM_CHECK_OK(fields.Finish());
  return StartJob<CompactionReport>(
      *admin.operations, {"memory.compact", target.model.name, {}},
      [&](LiveMemory::Progress progress, LiveMemory::Done<CompactionReport> done) {
        target.live->Compact(request.client, std::move(progress), std::move(done));
      },
      [](const CompactionReport& report) {
        uint64_t rows = 0;
        for (const CompactionReport::Table& table : report.tables) rows += table.rows_folded;
        return "folded " + std::to_string(rows) + " rows into " + std::to_string(report.tables.size()) +
               " tables; the base is version " + std::to_string(report.base_version) +
               (report.problem.empty() ? "" : "; " + report.problem);
      });
}

Result<Response> PostTableSwap(const AdminServices& admin, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  ENGRAM_TRY(const MemoryTarget target, FindMemory(*admin.memories, request, fields));
  TableSwapRequest swap;
  swap.layer = JsonLayer(fields, "layer");
  const std::string path = fields.String("path", "");
  if (path.empty()) fields.Fail("path", "is required");
  const std::string sha256 = ReadSha256(fields, "sha256");
  swap.note = fields.String("note", "");
  swap.author = fields.String("author", request.client);
  swap.actor = request.client;
  ENGRAM_CHECK_OK(fields.Finish());
  ENGRAM_CHECK_OK(target.LayerIndex(swap.layer));
  if (!sha256.empty()) {
    ENGRAM_TRY(swap.digest, ParseSha256(sha256));
  }
  auto allowed = ResolveAllowed(path, admin.table_directories, "table");
  if (!allowed) {
    Error error = std::move(allowed).error();
    if (error.field.empty()) error.field = "path";
    return error;
  }
  swap.path = std::move(*allowed);
  const std::string shown = swap.path.string();
  return StartJob<CommitAnswer>(
      *admin.operations, {"memory.table_swap", target.model.name, shown},
      [&](LiveMemory::Progress progress, LiveMemory::Done<CommitAnswer> done) {
        target.live->SwapTable(std::move(swap), std::move(progress), std::move(done));
      },
      [shown](const CommitAnswer& answer) {
        return "serving from " + shown + " as version " + std::to_string(answer.version);
      });
}

// A new directory inside the allowed ones; a name alone lies in the first of them.
Result<fs::path> BackupPlace(const std::string& text, const std::vector<fs::path>& directories) {
  constexpr const char* kField = "directory";
  if (directories.empty())
    return Unsupported("backups are not configured: backup.directories is empty and there is no state_dir", kField);
  fs::path path = text;
  if (path.is_relative()) path = directories.front() / path;
  // state_dir/backups is not there before the first backup; what an operator configured must be.
  std::error_code ignored;
  fs::create_directory(directories.front(), ignored);
  const fs::path name = path.filename();
  if (name.empty() || name == "." || name == "..")
    return InvalidArgument("directory \"" + text + "\" has no name of its own", kField);
  auto parent = ResolveAllowed(path.parent_path(), directories, "backup directory");
  if (!parent) {
    Error error = std::move(parent).error();
    error.field = kField;
    return error;
  }
  return *parent / name;
}

Result<Response> PostBackup(const AdminServices& admin, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  const std::string model = fields.String("model", "");
  const std::string directory = fields.String("directory", "");
  if (directory.empty()) fields.Fail("directory", "is required: a new one");
  ENGRAM_CHECK_OK(fields.Finish());
  ENGRAM_TRY(const auto live, admin.memories->Find(model));
  ENGRAM_TRY(const fs::path place, BackupPlace(directory, admin.backup_directories));
  return StartJob<BackupReport>(
      *admin.operations, {"memory.backup", live->model().name, place.string()},
      [&](LiveMemory::Progress progress, LiveMemory::Done<BackupReport> done) {
        live->Backup(place, request.client, std::move(progress), std::move(done));
      },
      [](const BackupReport& report) {
        std::string text = std::to_string(report.files.size()) + " files, " + std::to_string(report.bytes) +
                           " bytes, version " + std::to_string(report.version);
        for (const fs::path& left : report.left_out) text += "; not copied: " + left.string();
        return text;
      });
}

Result<Response> PostNgramIndex(const AdminServices& admin, const Request& request) {
  ENGRAM_TRY(const boost::json::object body, ParseJsonObject(request.body));
  JsonFields fields(body);
  ENGRAM_TRY(const MemoryTarget target, FindMemory(*admin.memories, request, fields));
  if (fields.Value("path") == nullptr) fields.Fail("path", "is required; empty to drop the index");
  const std::string path = fields.String("path", "");
  ENGRAM_CHECK_OK(fields.Finish());
  fs::path file;
  if (!path.empty()) {
    auto allowed = ResolveAllowed(path, admin.table_directories, "text");
    if (!allowed) {
      Error error = std::move(allowed).error();
      if (error.field.empty()) error.field = "path";
      return error;
    }
    file = std::move(*allowed);
  }
  return StartJob<NgramIndexReport>(
      *admin.operations, {"memory.ngram_index", target.model.name, file.string()},
      [&](LiveMemory::Progress progress, LiveMemory::Done<NgramIndexReport> done) {
        target.live->IndexNgrams(file, std::move(progress), std::move(done));
      },
      [](const NgramIndexReport& report) {
        return std::to_string(report.ngrams) + " n-grams of " + std::to_string(report.tokens) + " tokens";
      });
}

}  // namespace

void AddJobEndpoints(Router& router, const EndpointEnvironment& environment) {
  const AdminServices& admin = environment.admin;
  if (admin.memories == nullptr || admin.operations == nullptr) return;
  const auto add = [&](const char* path, Result<Response> (*endpoint)(const AdminServices&, const Request&)) {
    // Blocks: paths are looked at.
    router.Add(
        "POST", path, Scope::kOperate,
        [&admin, endpoint](const Request& request) { return Reply(Respond([&] { return endpoint(admin, request); })); },
        {.blocks = true});
  };
  add("/admin/v1/compact", PostCompact);
  add("/admin/v1/tables/swap", PostTableSwap);
  add("/admin/v1/backup", PostBackup);
  add("/admin/v1/ngram-index", PostNgramIndex);
}

}  // namespace engram
