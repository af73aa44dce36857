// SPDX-License-Identifier: Apache-2.0
// Backup: journal and tables as they are at the end, into a directory that is there only when it is complete.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "control/live_memory_impl.h"
#include "core/file.h"
#include "core/log.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

// Pages of 16 KiB that are copied before a waiting commit gets its turn.
constexpr int kBackupPages = 128;

Error FileError(const fs::path& path, const char* what) {
  const int code = errno;
  std::string message = path.string() + ": " + what + ": " + std::generic_category().message(code);
  if (code == ENOSPC || code == EDQUOT) return OutOfSpace(std::move(message));
  return IoError(std::move(message));
}

// Contents and name on the disk. Files of the same file system share their blocks where it can do that.
Status CopyFile(const fs::path& from, const fs::path& to, const std::function<Status()>& go_on) {
  const UniqueFd in(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return FileError(from, "cannot be opened");
  const UniqueFd out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) return FileError(to, "cannot be made");
  if (ioctl(out.get(), FICLONE, in.get()) != 0) {
    for (;;) {
      ENGRAM_CHECK_OK(go_on());
      const ssize_t copied = copy_file_range(in.get(), nullptr, out.get(), nullptr, size_t{64} << 20, 0);
      if (copied < 0 && errno == EINTR) continue;
      if (copied < 0) return FileError(to, "copying");
      if (copied == 0) break;
    }
  }
  if (fsync(out.get()) != 0) return FileError(to, "flushing");
  return {};
}

Status FlushDirectory(const fs::path& path) {
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || fsync(directory.get()) != 0) return FileError(path, "flushing");
  return {};
}

// What a backup that failed left behind, and nothing else: the directory stays when there is more in it.
Status RemovePartial(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) return {};
  for (const char* suffix : {"", "-journal", "-wal", "-shm"})
    fs::remove(directory / (std::string("journal.sqlite") + suffix), error);
  std::vector<fs::path> tables;
  for (const auto& entry : fs::directory_iterator(directory / "tables", error))
    if (entry.path().extension() == ".ngt") tables.push_back(entry.path());
  for (const fs::path& table : tables) fs::remove(table, error);
  fs::remove(directory / "tables", error);
  fs::remove(directory, error);
  if (error)
    return IoError("directory: " + directory.string() +
                   ", of a backup that did not end, cannot be removed: " + error.message());
  return {};
}

}  // namespace

Result<BackupReport> LiveMemory::Impl::BackupNow(const fs::path& directory, const std::string& actor,
                                                 const Progress& progress) {
  std::error_code error;
  if (fs::exists(directory, error) && !fs::is_empty(directory, error))
    return FailedPrecondition("directory: " + directory.string() + " is not empty");
  // It gets its name when it is complete: who finds a backup can use it.
  fs::path partial = directory;
  partial += ".partial";
  ENGRAM_CHECK_OK(RemovePartial(partial));
  fs::create_directories(partial / "tables", error);
  if (error) return IoError("directory: " + partial.string() + " cannot be made: " + error.message());
  BackupReport report;
  report.directory = directory;
  fs::path made = partial;
  const auto make = [&]() -> Status {
    ENGRAM_CHECK_OK(CopyState(partial, actor, progress, report));
    if (rename(partial.c_str(), directory.c_str()) != 0) return FileError(directory, "cannot be put in place");
    made = directory;
    return FlushDirectory(fs::absolute(directory).parent_path());
  };
  const Status complete = Guarded(make);
  if (complete) return report;
  if (const Status removed = RemovePartial(made); !removed) log::Warning("backup: {}", removed.error().message);
  return complete.error();
}

Status LiveMemory::Impl::CopyState(const fs::path& directory, const std::string& actor, const Progress& progress,
                                   BackupReport& report) {
  std::unique_ptr<Database::Backup> backup;  // used on thread "journal" alone
  std::set<fs::path> tables;
  const auto copy_journal = [&]() -> Status {
    ENGRAM_CHECK_OK(OnJournal([&]() -> Status {
      ENGRAM_CHECK_OK(journal->AddAudit({0, UnixMs(), actor, "backup", report.directory.string()}));
      ENGRAM_TRY(backup, journal->database().StartBackup(directory / "journal.sqlite"));
      return {};
    }));
    JobProgress now{"copying the journal", 0, 0};
    for (bool complete = false; !complete;) {
      ENGRAM_CHECK_OK(Step(progress, now));
      ENGRAM_TRY(complete, OnJournal([&]() -> Result<bool> {
                   ENGRAM_TRY(const bool all, backup->Step(kBackupPages));
                   now.done = backup->pages_done;
                   now.total = backup->pages_total;
                   if (!all) return false;
                   report.version = head.version;
                   ENGRAM_TRY(const std::vector<ModelRecord> models, journal->ListModels());
                   for (const ModelRecord& known : models)
                     for (const BaseTableRecord& table : known.tables)
                       if (table.path) tables.insert(*table.path);
                   // From here on the files that the copy names are copied, whatever the catalogue says next.
                   shared->BeginCopy();
                   return true;
                 }));
    }
    return {};
  };
  const auto copy_tables = [&]() -> Status {
    uint64_t done = 0;
    for (const fs::path& table : tables) {
      const JobProgress now{"copying tables", done++, tables.size()};
      if (table.is_absolute()) {
        report.left_out.push_back(table);
        continue;
      }
      ENGRAM_CHECK_OK(CopyFile(options.state_dir / table, directory / table, [&] { return Step(progress, now); }));
      report.files.push_back(table);
    }
    std::error_code error;
    for (const fs::path& file : report.files) {
      report.bytes += fs::file_size(directory / file, error);
      if (error) return IoError((directory / file).string() + ": " + error.message());
    }
    ENGRAM_CHECK_OK(FlushDirectory(directory / "tables"));
    return FlushDirectory(directory);
  };
  Status copied = copy_journal();
  const bool began = copied.has_value();
  // Its connection must not be closed while thread "journal" writes through the one it copies.
  const Status closed = OnJournal([&]() -> Status {
    backup.reset();
    return {};
  });
  if (copied && !closed) copied = closed;
  if (copied) {
    report.files.push_back("journal.sqlite");
    copied = copy_tables();
  }
  if (began) {
    const Status ended = OnJournal([&]() -> Status {
      shared->EndCopy();
      shared->RemoveUnusedTables(record.id);
      return {};
    });
    if (copied && !ended) copied = ended;
  }
  return copied;
}

}  // namespace engram
