// SPDX-License-Identifier: Apache-2.0
// Appends JSON numbers and lists to a string: shortest digits that read back to the same value. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace engram {

void AppendInt(std::string& out, int64_t value);
// Not-finite values, which JSON lacks, become -9999, as OpenAI writes the logprob of an impossible token.
void AppendFloat(std::string& out, float value);
void AppendDouble(std::string& out, double value);
void AppendInts(std::string& out, std::span<const int32_t> values);

}  // namespace engram
