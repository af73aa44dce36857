// SPDX-License-Identifier: Apache-2.0
// Database: one SQLite connection, its statements and transactions, with errors as Results.
//
// Errors name the file and carry SQLite's text. kOutOfSpace: the disk is full; kIo: the operating system reported an
// error; kDataLoss: the file is damaged or no database; kUnavailable: another process holds it.
// One thread at a time.
#pragma once

#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"

namespace engram {

class Database;

// A prepared statement. Parameters count from 1, columns from 0. Must not outlive its database.
class Statement {
 public:
  template <std::integral T>
  Statement& Bind(int parameter, T value) {
    return Note(sqlite3_bind_int64(statement_.get(), parameter, static_cast<int64_t>(value)));
  }
  Statement& Bind(int parameter, std::string_view text);               // copied
  Statement& BindBlob(int parameter, std::span<const uint8_t> bytes);  // must stay until the next Step() or Run()
  Statement& BindReal(int parameter, double value);
  Statement& BindNull(int parameter);
  template <std::integral T>
  Statement& Bind(int parameter, const std::optional<T>& value) {
    return value ? Bind(parameter, *value) : BindNull(parameter);
  }

  // True: a row is there. A failed Bind() is the error of the next Step().
  Result<bool> Step();
  // Steps to the end and makes the statement ready for new parameters.
  Status Run();
  void Reset();

  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  double Real(int column) const { return sqlite3_column_double(statement_.get(), column); }
  bool IsNull(int column) const { return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL; }
  std::string Text(int column) const;
  // Valid until the next Step() or Reset().
  std::span<const uint8_t> Blob(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  Statement(const Database* database, sqlite3_stmt* statement) : database_(database), statement_(statement) {}
  Statement& Note(int code);
  const Database* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int bind_error_ = SQLITE_OK;
};

class Database {
 public:
  struct Options {
    std::filesystem::path path;  // empty: in memory
    bool read_only = false;
    std::string vfs;  // empty: SQLite's default
  };
  // Opens, or creates unless read_only, with write-ahead log, synchronous=FULL, foreign keys, and deletion that
  // overwrites with zeros. The log is written back only by Checkpoint().
  static Result<std::unique_ptr<Database>> Open(Options options);
  ~Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::string& place() const { return place_; }  // the path, or "the journal in memory"
  bool in_memory() const { return options_.path.empty(); }

  Status Execute(const char* sql);  // any number of statements, results dropped
  Result<Statement> Prepare(std::string_view sql) const;
  // The first column of the first row of a query that has one.
  Result<int64_t> QueryInt(std::string_view sql) const;

  // Log pages that wait to be written back.
  int wal_pages() const { return wal_pages_; }
  // Writes the log back and, if told, empties its file. False when a reader of another process stands in the way.
  Result<bool> Checkpoint(bool truncate);

  // Copies everything to a new file, some pages at a time; changes through this connection in between are part of it.
  class Backup {
   public:
    ~Backup();
    // True when complete; `pages_done` and `pages_total` are updated.
    Result<bool> Step(int pages);
    uint64_t pages_done = 0;
    uint64_t pages_total = 0;

   private:
    friend class Database;
    struct Finish {
      void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
    };
    std::unique_ptr<Database> target_;
    std::unique_ptr<sqlite3_backup, Finish> backup_;
  };
  // kFailedPrecondition if `path` exists.
  Result<std::unique_ptr<Backup>> StartBackup(const std::filesystem::path& path);

  Error MakeError(int code, std::string_view doing) const;

 private:
  friend class Transaction;
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close(handle); }
  };
  explicit Database(Options options);
  Status Configure();
  const Options options_;
  const std::string place_;
  std::unique_ptr<sqlite3, Close> handle_;
  int wal_pages_ = 0;
};

// A write transaction; rolled back unless committed.
class Transaction {
 public:
  static Result<Transaction> Begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  // Durable when it returns without an error. After one, nothing happened.
  Status Commit();

 private:
  explicit Transaction(Database* database) : database_(database) {}
  Database* database_;  // nullptr: over
};

}  // namespace engram
