// SPDX-License-Identifier: Apache-2.0
//
// The tensors of a model directory in safetensors format: `model.safetensors`, or shards named by
// `model.safetensors.index.json`. Headers are read and checked when the model is opened; values are read on demand
// with pread, never mapped, so a file cut while it is open is an error and not a signal.
//
// Format of one file: u64 little-endian header length, that many bytes of JSON
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..}, then the values; offsets count from there.
//
// Errors are PluginError and name file and tensor. const members may be called from any thread at once; they block on
// the disk. Objects move; they do not copy.
#ifndef ENGRAM_CPP_SAFETENSORS_H_
#define ENGRAM_CPP_SAFETENSORS_H_

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engram/model_json.h"
#include "engram/plugin_error.h"

namespace engram::sdk {

enum class TensorType {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF16,
  kBF16,
  kF32,
  kF64,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0
};

struct TensorTypeName {
  TensorType type;
  const char* name;  // as in the file
  uint32_t num_bytes;
};

inline constexpr TensorTypeName kTensorTypes[] = {
    {TensorType::kBool, "BOOL", 1},      {TensorType::kU8, "U8", 1},          {TensorType::kI8, "I8", 1},
    {TensorType::kU16, "U16", 2},        {TensorType::kI16, "I16", 2},        {TensorType::kU32, "U32", 4},
    {TensorType::kI32, "I32", 4},        {TensorType::kU64, "U64", 8},        {TensorType::kI64, "I64", 8},
    {TensorType::kF16, "F16", 2},        {TensorType::kBF16, "BF16", 2},      {TensorType::kF32, "F32", 4},
    {TensorType::kF64, "F64", 8},        {TensorType::kF8E4M3, "F8_E4M3", 1}, {TensorType::kF8E5M2, "F8_E5M2", 1},
    {TensorType::kF8E8M0, "F8_E8M0", 1},
};

inline const char* Name(TensorType type) {
  return kTensorTypes[static_cast<int>(type)].name;
}
inline uint32_t NumBytes(TensorType type) {
  return kTensorTypes[static_cast<int>(type)].num_bytes;
}

inline std::string ShapeText(const std::vector<uint64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

struct TensorInfo {
  TensorType type;
  std::vector<uint64_t> shape;  // row-major; empty for a scalar
  uint64_t num_bytes;           // product(shape) * NumBytes(type), checked
  uint32_t file;                // for SafetensorsModel::FilePath()
  uint64_t offset_bytes;        // of the first value in that file
};

class SafetensorsModel {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;
  static constexpr size_t kMaxJsonDepth = 8;

  // Opens the files of `model_dir` and checks every header. An index wins over a single file when both exist.
  explicit SafetensorsModel(const std::string& model_dir) {
    const std::string index = model_dir + "/model.safetensors.index.json";
    if (::access(index.c_str(), F_OK) == 0) {
      OpenShards(model_dir, index);
    } else {
      OpenFile(model_dir + "/model.safetensors");
      for (auto& [name, info] : ReadHeader(0)) tensors_.emplace(name, std::move(info));
    }
  }

  // Null if there is no such tensor. Valid as long as this object.
  const TensorInfo* Find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  // Like Find, but a missing tensor is ENGRAM_NOT_FOUND.
  const TensorInfo& Get(std::string_view name) const {
    const TensorInfo* info = Find(name);
    if (info == nullptr) {
      throw PluginError(ENGRAM_NOT_FOUND, files_.front().path() + ": tensor '" + std::string(name) + "' is missing");
    }
    return *info;
  }

  // Sorted by name.
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const { return tensors_; }

  size_t num_files() const { return files_.size(); }
  const std::string& FilePath(uint32_t file) const { return files_[file].path(); }

  // Copies bytes [offset_bytes, offset_bytes + num_bytes) of a tensor's values to `destination`.
  void Read(std::string_view name, uint64_t offset_bytes, uint64_t num_bytes, void* destination) const {
    const TensorInfo& info = Get(name);
    if (offset_bytes > info.num_bytes || num_bytes > info.num_bytes - offset_bytes) {
      throw PluginError(ENGRAM_INVALID_ARGUMENT, Place(info.file, name) + ": bytes " + std::to_string(offset_bytes) +
                                                     "+" + std::to_string(num_bytes) + " are outside its " +
                                                     std::to_string(info.num_bytes));
    }
    files_[info.file].ReadAt(info.offset_bytes + offset_bytes, num_bytes, destination, Place(info.file, name));
  }

 private:
  class File {
   public:
    explicit File(std::string path) : path_(std::move(path)), fd_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {
      if (fd_ < 0) {
        const int code = errno;
        throw PluginError(code == ENOENT ? ENGRAM_NOT_FOUND : ENGRAM_IO, path_ + ": " + std::strerror(code));
      }
      struct stat status = {};
      if (::fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
        ::close(fd_);
        throw PluginError(ENGRAM_IO, path_ + ": not a regular file");
      }
      num_bytes_ = static_cast<uint64_t>(status.st_size);
    }
    ~File() {
      if (fd_ >= 0) ::close(fd_);
    }
    File(File&& other) noexcept
        : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), num_bytes_(other.num_bytes_) {}
    File& operator=(File&&) = delete;

    const std::string& path() const { return path_; }
    uint64_t num_bytes() const { return num_bytes_; }

    void ReadAt(uint64_t offset, uint64_t num_bytes, void* destination, const std::string& place) const {
      auto* out = static_cast<char*>(destination);
      while (num_bytes > 0) {
        const size_t wanted = static_cast<size_t>(num_bytes < (1u << 30) ? num_bytes : (1u << 30));
        const ssize_t got = ::pread(fd_, out, wanted, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw PluginError(ENGRAM_IO, place + ": " + std::strerror(errno));
        if (got == 0) {
          throw PluginError(ENGRAM_DATA_LOSS, place + ": the file ends at byte " + std::to_string(offset));
        }
        out += got;
        offset += static_cast<uint64_t>(got);
        num_bytes -= static_cast<uint64_t>(got);
      }
    }

   private:
    std::string path_;
    int fd_;
    uint64_t num_bytes_ = 0;
  };

  using Tensors = std::map<std::string, TensorInfo, std::less<>>;

  std::string Place(uint32_t file, std::string_view tensor) const {
    return files_[file].path() + ": tensor '" + std::string(tensor) + "'";
  }

  uint32_t OpenFile(const std::string& path) {
    files_.emplace_back(path);
    return static_cast<uint32_t>(files_.size() - 1);
  }

  std::string ReadText(const File& file, uint64_t offset, uint64_t num_bytes) const {
    std::string text(num_bytes, '\0');
    file.ReadAt(offset, num_bytes, text.data(), file.path());
    return text;
  }

  void OpenShards(const std::string& model_dir, const std::string& index_path) {
    const File index(index_path);
    if (index.num_bytes() > kMaxHeaderBytes) throw PluginError(ENGRAM_DATA_LOSS, index_path + ": too large");
    const boost::json::object root = ParseJsonObject(ReadText(index, 0, index.num_bytes()), index_path, kMaxJsonDepth);
    const boost::json::value* weight_map = root.if_contains("weight_map");
    if (weight_map == nullptr || !weight_map->is_object() || weight_map->get_object().empty()) {
      throw PluginError(ENGRAM_DATA_LOSS, index_path + ": 'weight_map' is missing or not an object with tensors");
    }
    std::map<std::string, Tensors> shards;
    for (const auto& [key, value] : weight_map->get_object()) {
      const std::string tensor(key);
      if (!value.is_string()) {
        throw PluginError(ENGRAM_DATA_LOSS, index_path + ": tensor '" + tensor + "': file name is not a string");
      }
      const std::string shard(value.get_string());
      if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos ||
          shard.find('\0') != std::string::npos) {
        throw PluginError(ENGRAM_DATA_LOSS, index_path + ": tensor '" + tensor + "': file name '" + shard +
                                                "' is not a plain name in the model's directory");
      }
      auto found = shards.find(shard);
      if (found == shards.end()) {
        const uint32_t file = OpenFile(model_dir + "/" + shard);
        found = shards.emplace(shard, ReadHeader(file)).first;
      }
      const auto info = found->second.find(tensor);
      if (info == found->second.end()) {
        throw PluginError(ENGRAM_DATA_LOSS, index_path + ": tensor '" + tensor + "' is not in '" + shard + "'");
      }
      tensors_.emplace(tensor, info->second);
    }
  }

  Tensors ReadHeader(uint32_t file_index) const {
    const File& file = files_[file_index];
    unsigned char length_bytes[8] = {};
    if (file.num_bytes() < sizeof(length_bytes)) {
      throw PluginError(ENGRAM_DATA_LOSS, file.path() + ": shorter than a safetensors header");
    }
    file.ReadAt(0, sizeof(length_bytes), length_bytes, file.path());
    uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | length_bytes[i];
    if (header_bytes > kMaxHeaderBytes || header_bytes > file.num_bytes() - sizeof(length_bytes)) {
      throw PluginError(ENGRAM_DATA_LOSS, file.path() + ": header length " + std::to_string(header_bytes) +
                                              " is beyond the file's " + std::to_string(file.num_bytes()) +
                                              " bytes or the limit of " + std::to_string(kMaxHeaderBytes));
    }
    const boost::json::object header =
        ParseJsonObject(ReadText(file, sizeof(length_bytes), header_bytes), file.path(), kMaxJsonDepth);
    const uint64_t data_begin = sizeof(length_bytes) + header_bytes;
    Tensors tensors;
    for (const auto& [key, value] : header) {
      if (key == "__metadata__") continue;
      tensors.emplace(std::string(key), ReadTensor(file_index, std::string(key), value, data_begin));
    }
    return tensors;
  }

  TensorInfo ReadTensor(uint32_t file_index, const std::string& name, const boost::json::value& value,
                        uint64_t data_begin) const {
    const auto fail = [&](const std::string& what) -> PluginError {
      return PluginError(ENGRAM_DATA_LOSS, Place(file_index, name) + ": " + what);
    };
    if (!value.is_object()) throw fail("its entry is not an object");
    const boost::json::object& entry = value.get_object();
    TensorInfo info = {};
    info.file = file_index;

    const boost::json::value* dtype = entry.if_contains("dtype");
    if (dtype == nullptr || !dtype->is_string()) throw fail("'dtype' is missing or not a string");
    const std::string type_name(dtype->get_string());
    const TensorTypeName* type = nullptr;
    for (const TensorTypeName& known : kTensorTypes) {
      if (type_name == known.name) type = &known;
    }
    if (type == nullptr) throw fail("dtype '" + type_name + "' is unknown");
    info.type = type->type;

    const boost::json::value* shape = entry.if_contains("shape");
    if (shape == nullptr || !shape->is_array()) throw fail("'shape' is missing or not an array");
    info.num_bytes = type->num_bytes;
    for (const boost::json::value& size : shape->get_array()) {
      const uint64_t dimension = Unsigned(size, name, file_index, "shape");
      info.shape.push_back(dimension);
      if (__builtin_mul_overflow(info.num_bytes, dimension, &info.num_bytes)) {
        throw fail("shape " + ShapeText(info.shape) + " overflows");
      }
    }

    const boost::json::value* offsets = entry.if_contains("data_offsets");
    if (offsets == nullptr || !offsets->is_array() || offsets->get_array().size() != 2) {
      throw fail("'data_offsets' is missing or not a pair");
    }
    const uint64_t begin = Unsigned(offsets->get_array()[0], name, file_index, "data_offsets");
    const uint64_t end = Unsigned(offsets->get_array()[1], name, file_index, "data_offsets");
    const uint64_t data_bytes = files_[file_index].num_bytes() - data_begin;
    if (begin > end || end > data_bytes) {
      throw fail("data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) + "] are outside the file's " +
                 std::to_string(data_bytes) + " data bytes");
    }
    if (end - begin != info.num_bytes) {
      throw fail("data_offsets give " + std::to_string(end - begin) + " bytes, shape " + ShapeText(info.shape) +
                 " of " + type_name + " needs " + std::to_string(info.num_bytes));
    }
    info.offset_bytes = data_begin + begin;
    return info;
  }

  uint64_t Unsigned(const boost::json::value& value, const std::string& name, uint32_t file, const char* key) const {
    if (value.is_uint64()) return value.get_uint64();
    if (value.is_int64() && value.get_int64() >= 0) return static_cast<uint64_t>(value.get_int64());
    throw PluginError(ENGRAM_DATA_LOSS, Place(file, name) + ": '" + key + "' holds no unsigned integer");
  }

  std::vector<File> files_;
  Tensors tensors_;
};

}  // namespace engram::sdk

#endif  // ENGRAM_CPP_SAFETENSORS_H_
