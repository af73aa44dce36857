// SPDX-License-Identifier: Apache-2.0
// Typed reads of a JSON object's members; every error names the key's path ("pre_tokenizer.pretokenizers[0].type").
// Values are borrowed: the document must outlive a Fields. One thread at a time.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

class Fields {
 public:
  // `path` of the object itself, "" for the document.
  static Result<Fields> Of(const boost::json::value& value, std::string path);

  const std::string& path() const { return path_; }
  std::string PathOf(std::string_view key) const;
  // kInvalidArgument about a member.
  Error Wrong(std::string_view key, std::string_view what) const;

  // The member, or nullptr where it is absent or null.
  const boost::json::value* Find(std::string_view key) const;
  // Members that must be there. A string_view is valid as long as the document.
  Result<std::string_view> String(std::string_view key) const;
  Result<const boost::json::array*> Array(std::string_view key) const;
  Result<const boost::json::object*> Object(std::string_view key) const;
  // A member object, with its path.
  Result<Fields> Child(std::string_view key) const;
  // An array's elements, which must be objects, with their paths. At most `max` of them.
  Result<std::vector<Fields>> Children(std::string_view key, size_t max) const;
  // The member or, where it is absent or null, `fallback`.
  Result<bool> Bool(std::string_view key, bool fallback) const;
  // kUnsupported where the member is there and is neither null, false, 0 nor "".
  Status MustBeUnset(std::string_view key) const;

  const boost::json::object& object() const { return *object_; }

 private:
  Fields(const boost::json::object& object, std::string path) : object_(&object), path_(std::move(path)) {}
  const boost::json::object* object_;
  std::string path_;
};

// A token id: an integer from 0 to kMaxTokenId; nothing for any other value.
inline constexpr int32_t kMaxTokenId = (1 << 24) - 1;
std::optional<int32_t> TokenIdOf(const boost::json::value& value);

}  // namespace engram
