// SPDX-License-Identifier: Apache-2.0
#include "journal/database.h"

#include <utility>

#include "core/log.h"

namespace engram {
namespace {

// Another process can hold the file only for a check or a copy; a commit waits this long for it.
constexpr int kBusyTimeoutMs = 2000;

ErrorCode CodeOf(int sqlite_code) {
  if (sqlite_code == SQLITE_CONSTRAINT_UNIQUE || sqlite_code == SQLITE_CONSTRAINT_PRIMARYKEY)
    return ErrorCode::kFailedPrecondition;
  switch (sqlite_code & 0xff) {
    case SQLITE_FULL:
      return ErrorCode::kOutOfSpace;
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return ErrorCode::kResourceExhausted;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return ErrorCode::kIo;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return ErrorCode::kDataLoss;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kUnavailable;
    default:
      return ErrorCode::kInternal;
  }
}

}  // namespace

Statement& Statement::Note(int code) {
  if (code != SQLITE_OK) bind_error_ = code;
  return *this;
}

Statement& Statement::Bind(int parameter, std::string_view text) {
  return Note(sqlite3_bind_text64(statement_.get(), parameter, text.data() == nullptr ? "" : text.data(), text.size(),
                                  SQLITE_TRANSIENT, SQLITE_UTF8));
}

Statement& Statement::BindBlob(int parameter, std::span<const uint8_t> bytes) {
  // A null pointer would bind NULL.
  static constexpr uint8_t kNothing = 0;
  return Note(sqlite3_bind_blob64(statement_.get(), parameter, bytes.empty() ? &kNothing : bytes.data(), bytes.size(),
                                  SQLITE_STATIC));
}

Statement& Statement::BindReal(int parameter, double value) {
  return Note(sqlite3_bind_double(statement_.get(), parameter, value));
}

Statement& Statement::BindNull(int parameter) {
  return Note(sqlite3_bind_null(statement_.get(), parameter));
}

Result<bool> Statement::Step() {
  if (bind_error_ != SQLITE_OK)
    return database_->MakeError(std::exchange(bind_error_, SQLITE_OK), sqlite3_sql(statement_.get()));
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  Error error = database_->MakeError(code, sqlite3_sql(statement_.get()));
  sqlite3_reset(statement_.get());
  return error;
}

Status Statement::Run() {
  for (;;) {
    ENGRAM_TRY(const bool row, Step());
    if (!row) break;
  }
  Reset();
  return {};
}

void Statement::Reset() {
  // Repeats the error of the last step, which its caller has.
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

std::string Statement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return {};
  return std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

std::span<const uint8_t> Statement::Blob(int column) const {
  const auto* bytes = static_cast<const uint8_t*>(sqlite3_column_blob(statement_.get(), column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

Database::Database(Options options)
    : options_(std::move(options)), place_(options_.path.empty() ? "the journal in memory" : options_.path.string()) {}

Error Database::MakeError(int code, std::string_view doing) const {
  std::string message = place_ + ": ";
  // The handle's text belongs to the last call, which is the one that failed.
  const bool of_handle = handle_ != nullptr && (sqlite3_errcode(handle_.get()) & 0xff) == (code & 0xff);
  message += of_handle ? sqlite3_errmsg(handle_.get()) : sqlite3_errstr(code);
  message += " (SQLite code " + std::to_string(code) + ")";
  message += ", at: " + std::string(doing.substr(0, 80));
  return {CodeOf(code), std::move(message), {}};
}

Result<std::unique_ptr<Database>> Database::Open(Options options) {
  std::unique_ptr<Database> database(new Database(std::move(options)));
  const Options& chosen = database->options_;
  const int flags = (chosen.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
                    SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const std::string name = chosen.path.empty() ? ":memory:" : chosen.path.string();
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, chosen.vfs.empty() ? nullptr : chosen.vfs.c_str());
  database->handle_.reset(handle);
  if (code != SQLITE_OK) return database->MakeError(code, "opening");
  ENGRAM_CHECK_OK(database->Configure());
  return database;
}

Status Database::Configure() {
  sqlite3_busy_timeout(handle_.get(), kBusyTimeoutMs);
  if (options_.read_only) return Execute("PRAGMA query_only=ON");
  if (!in_memory()) {
    // Rows come in blobs of hundreds of KiB: large pages write them in fewer pieces. Only a new file heeds it.
    ENGRAM_CHECK_OK(Execute("PRAGMA page_size=16384"));
    ENGRAM_TRY(Statement mode, Prepare("PRAGMA journal_mode=WAL"));
    ENGRAM_CHECK_OK(mode.Step());
    if (mode.Text(0) != "wal")
      return IoError(place_ + ": the file system cannot hold a write-ahead log (journal mode is " + mode.Text(0) + ")");
  }
  // Checkpoint() decides when the log is written back: never while somebody waits for a commit.
  sqlite3_wal_hook(
      handle_.get(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<Database*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  return Execute(
      "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY;"
      "PRAGMA trusted_schema=OFF; PRAGMA cache_size=-16384");
}

Status Database::Execute(const char* sql) {
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return MakeError(code, sql);
  return {};
}

Result<Statement> Database::Prepare(std::string_view sql) const {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(handle_.get(), sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
  if (code != SQLITE_OK) return MakeError(code, sql);
  return Statement(this, statement);
}

Result<int64_t> Database::QueryInt(std::string_view sql) const {
  ENGRAM_TRY(Statement query, Prepare(sql));
  ENGRAM_TRY(const bool found, query.Step());
  if (!found) return Internal(place_ + ": no answer to: " + std::string(sql));
  return query.Int(0);
}

Result<bool> Database::Checkpoint(bool truncate) {
  if (in_memory()) return true;
  int log_pages = 0;
  int written_pages = 0;
  const int code = sqlite3_wal_checkpoint_v2(handle_.get(), nullptr,
                                             truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE,
                                             &log_pages, &written_pages);
  if (code == SQLITE_BUSY) return false;
  if (code != SQLITE_OK) return MakeError(code, "writing the log back");
  if (written_pages == log_pages) wal_pages_ = 0;
  return written_pages == log_pages;
}

Database::Backup::~Backup() = default;

Result<std::unique_ptr<Database::Backup>> Database::StartBackup(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return FailedPrecondition(path.string() + " exists already");
  auto backup = std::make_unique<Backup>();
  Options options;
  options.path = path;
  options.vfs = options_.vfs;
  backup->target_.reset(new Database(std::move(options)));
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
      options_.vfs.empty() ? nullptr : options_.vfs.c_str());
  backup->target_->handle_.reset(handle);
  if (code != SQLITE_OK) return backup->target_->MakeError(code, "creating a backup");
  backup->backup_.reset(sqlite3_backup_init(handle, "main", handle_.get(), "main"));
  if (!backup->backup_) return backup->target_->MakeError(sqlite3_errcode(handle), "starting a backup");
  return backup;
}

Result<bool> Database::Backup::Step(int pages) {
  const int code = sqlite3_backup_step(backup_.get(), pages);
  pages_total = static_cast<uint64_t>(sqlite3_backup_pagecount(backup_.get()));
  pages_done = pages_total - static_cast<uint64_t>(sqlite3_backup_remaining(backup_.get()));
  if (code == SQLITE_OK) return false;
  if (code != SQLITE_DONE) return target_->MakeError(code, "copying the journal");
  backup_.reset();
  return true;
}

Result<Transaction> Transaction::Begin(Database& database) {
  ENGRAM_CHECK_OK(database.Execute("BEGIN IMMEDIATE"));
  return Transaction(&database);
}

Transaction::~Transaction() {
  if (database_ == nullptr) return;
  // After a full disk or an I/O error SQLite has often rolled back by itself.
  if (sqlite3_get_autocommit(database_->handle_.get()) != 0) return;
  if (Status undone = database_->Execute("ROLLBACK"); !undone) log::Error("journal: {}", undone.error().message);
}

Status Transaction::Commit() {
  ENGRAM_CHECK_OK(database_->Execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace engram
