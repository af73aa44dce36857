// SPDX-License-Identifier: Apache-2.0
#include "core/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

namespace engram {
namespace {

Error SystemError(const std::filesystem::path& path, const char* what, int error) {
  return IoError("state_dir: " + path.string() + ": " + what + ": " + std::system_category().message(error));
}

}  // namespace

Result<StateDir> StateDir::Open(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return SystemError(path.parent_path(), "cannot be made", error.value());
  // create_directories would use the umask's mode; what is kept here is nobody else's.
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return SystemError(path, "cannot be made", errno);
  const std::filesystem::path lock_path = path / "lock";
  UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return SystemError(lock_path, "cannot be opened", errno);
  // The kernel drops the lock with the process, however it ends; the file stays.
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return FailedPrecondition("state_dir: " + path.string() + ": another engramd is using it");
    return SystemError(lock_path, "cannot be locked", errno);
  }
  return StateDir(path, std::move(lock));
}

}  // namespace engram
