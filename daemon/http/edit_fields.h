// SPDX-License-Identifier: Apache-2.0
// Reads row edits out of JSON: what commits and overlays take alike. Pure functions; any thread. Errors are
// kInvalidArgument with the field as the client wrote it, e.g. "edits[17].values[3]".
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/commit.h"
#include "core/result.h"
#include "http/json_fields.h"
#include "text/tokenizer.h"

namespace engram {

// How a request's texts and token ids are read: as the model's.
struct TokenReader {
  const Tokenizer* tokenizer = nullptr;  // nullptr: only ids are taken
  int32_t num_tokens = 0;                // ids are below it

  // Of {"text"} or {"tokens"}, exactly one: at least one token. Text is taken without special tokens unless
  // `add_special_tokens`.
  Result<std::vector<int32_t>> Read(JsonFields& fields, bool add_special_tokens = false) const;
};

// One edit: {"layer", "row" or "ngram" (with "order", "heads"), "mode", "values" or "data"}. Mode add is refused unless
// `allow_add`. What needs the model's geometry (layers, rows, lengths) is not checked here.
Result<RowEdit> ReadRowEdit(const boost::json::object& object, const std::string& path, const TokenReader& tokens,
                            bool allow_add);

// A list of numbers as floats. A number too large for a float is an error.
Result<std::vector<float>> JsonFloats(const boost::json::value& value, const std::string& path);

// A whole number of 64 bits, written as a number or, since not every client keeps those above 2^53, as a string.
std::optional<uint64_t> JsonId(JsonFields& fields, std::string_view name);

// The layer number at `name`, required.
uint32_t JsonLayer(JsonFields& fields, std::string_view name);

}  // namespace engram
