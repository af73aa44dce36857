// SPDX-License-Identifier: Apache-2.0
// FaultVfs: an SQLite VFS over the default one in which a chosen write, flush or truncation fails, as on a full or
// broken disk. Registered under a name for the life of the object; no database of it may outlive it.
#pragma once

#include <sqlite3.h>

#include <atomic>
#include <string>

namespace engram {

class FaultVfs {
 public:
  explicit FaultVfs(std::string name) : name_(std::move(name)) {
    real_ = sqlite3_vfs_find(nullptr);
    vfs_ = *real_;
    vfs_.zName = name_.c_str();
    vfs_.pAppData = this;
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
    vfs_.xOpen = &Open;
    vfs_.xDelete = [](sqlite3_vfs* vfs, const char* path, int sync) {
      return Real(vfs)->xDelete(Real(vfs), path, sync);
    };
    vfs_.xAccess = [](sqlite3_vfs* vfs, const char* path, int flags, int* result) {
      return Real(vfs)->xAccess(Real(vfs), path, flags, result);
    };
    vfs_.xFullPathname = [](sqlite3_vfs* vfs, const char* path, int size, char* result) {
      return Real(vfs)->xFullPathname(Real(vfs), path, size, result);
    };
    sqlite3_vfs_register(&vfs_, 0);
  }
  ~FaultVfs() { sqlite3_vfs_unregister(&vfs_); }
  FaultVfs(const FaultVfs&) = delete;
  FaultVfs& operator=(const FaultVfs&) = delete;

  const std::string& name() const { return name_; }
  // The operation that is `after` operations from now, and with `lasting` all later ones, fail with `code`.
  void Arm(int after, int code, bool lasting) {
    code_ = code;
    lasting_ = lasting;
    countdown_ = after + 1;
  }
  void Disarm() { countdown_ = 0; }
  // Whether an armed fault has struck.
  bool struck() const { return struck_; }
  void ResetStruck() { struck_ = false; }

 private:
  struct File {
    sqlite3_file base;
    FaultVfs* owner;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static sqlite3_vfs* Real(sqlite3_vfs* vfs) { return static_cast<FaultVfs*>(vfs->pAppData)->real_; }
  static sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real(); }
  static const sqlite3_io_methods* Calls(sqlite3_file* file) { return Real(file)->pMethods; }

  // SQLITE_OK, or the code to fail with.
  static int Check(sqlite3_file* file) {
    FaultVfs& self = *reinterpret_cast<File*>(file)->owner;
    int left = self.countdown_;
    if (left == 0) return SQLITE_OK;
    if (left > 1) {
      self.countdown_ = left - 1;
      return SQLITE_OK;
    }
    self.struck_ = true;
    if (!self.lasting_) self.countdown_ = 0;
    return self.code_;
  }

  static int Open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
    auto* wrapped = reinterpret_cast<File*>(file);
    wrapped->owner = static_cast<FaultVfs*>(vfs->pAppData);
    const int code = Real(vfs)->xOpen(Real(vfs), path, wrapped->real(), flags, out_flags);
    wrapped->base.pMethods = wrapped->real()->pMethods == nullptr ? nullptr : &Methods();
    return code;
  }

  static const sqlite3_io_methods& Methods() {
    static const sqlite3_io_methods methods = {
        2,
        [](sqlite3_file* f) { return Calls(f)->xClose(Real(f)); },
        [](sqlite3_file* f, void* to, int n, sqlite3_int64 at) { return Calls(f)->xRead(Real(f), to, n, at); },
        [](sqlite3_file* f, const void* from, int n, sqlite3_int64 at) {
          const int fault = Check(f);
          return fault != SQLITE_OK ? fault : Calls(f)->xWrite(Real(f), from, n, at);
        },
        [](sqlite3_file* f, sqlite3_int64 size) {
          const int fault = Check(f);
          return fault != SQLITE_OK ? fault : Calls(f)->xTruncate(Real(f), size);
        },
        [](sqlite3_file* f, int) { return Check(f); },
        [](sqlite3_file* f, sqlite3_int64* size) { return Calls(f)->xFileSize(Real(f), size); },
        [](sqlite3_file* f, int lock) { return Calls(f)->xLock(Real(f), lock); },
        [](sqlite3_file* f, int lock) { return Calls(f)->xUnlock(Real(f), lock); },
        [](sqlite3_file* f, int* result) { return Calls(f)->xCheckReservedLock(Real(f), result); },
        [](sqlite3_file* f, int op, void* arg) { return Calls(f)->xFileControl(Real(f), op, arg); },
        [](sqlite3_file* f) { return Calls(f)->xSectorSize(Real(f)); },
        [](sqlite3_file* f) { return Calls(f)->xDeviceCharacteristics(Real(f)); },
        [](sqlite3_file* f, int page, int size, int extend, void volatile** result) {
          return Calls(f)->xShmMap(Real(f), page, size, extend, result);
        },
        [](sqlite3_file* f, int offset, int n, int flags) { return Calls(f)->xShmLock(Real(f), offset, n, flags); },
        [](sqlite3_file* f) { Calls(f)->xShmBarrier(Real(f)); },
        [](sqlite3_file* f, int remove) { return Calls(f)->xShmUnmap(Real(f), remove); },
        nullptr,
        nullptr,
    };
    return methods;
  }

  const std::string name_;
  sqlite3_vfs* real_ = nullptr;
  sqlite3_vfs vfs_{};
  std::atomic<int> countdown_{0};  // 0: not armed; 1: the next one
  std::atomic<int> code_{SQLITE_OK};
  std::atomic<bool> lasting_{false};
  std::atomic<bool> struck_{false};
};

}  // namespace engram
