// SPDX-License-Identifier: Apache-2.0
// References within a schema, and several schemas that hold at once as one. One thread; one per schema document.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace engram {

// A keyword that says nothing about what is valid.
bool IsSchemaAnnotation(std::string_view keyword);

class SchemaMerger {
 public:
  // `root` must outlive it. Values copied while merging are bounded.
  explicit SchemaMerger(const boost::json::value& root) : root_(root) {}

  // The value that "#/a/b" points to. kInvalidArgument or kUnsupported without a place.
  Result<const boost::json::value*> Resolve(const boost::json::value& reference) const;

  // One schema that accepts what `base` (without the keys `but`) and all of `others` accept; it lives as long as this.
  // kUnsupported, naming the keyword, where keywords do not combine.
  Result<const boost::json::value*> Merge(const boost::json::object& base, std::initializer_list<std::string_view> but,
                                          const std::vector<const boost::json::value*>& others);

 private:
  Status Add(boost::json::object& out, const boost::json::value& schema, uint32_t depth);
  Status AddKeyword(boost::json::object& out, std::string_view key, const boost::json::value& value);
  Status AddProperties(boost::json::object& out, const boost::json::object& more);

  static constexpr size_t kMaxCopied = 300'000;
  static constexpr size_t kMaxCompared = 2'000'000;
  const boost::json::value& root_;
  std::deque<boost::json::value> merged_;
  size_t num_copied_ = 0;
  size_t num_compared_ = 0;
};

// JSON values in a value, itself included; stops counting above `limit`. Long texts and names count for one more for
// every `bytes_per_value`.
size_t CountJsonValues(const boost::json::value& value, size_t limit,
                       size_t bytes_per_value = std::numeric_limits<size_t>::max());

}  // namespace engram
