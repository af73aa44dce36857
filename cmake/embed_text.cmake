# SPDX-License-Identifier: Apache-2.0
# cmake -DINPUT=FILE -DOUTPUT=FILE.cc -DNAME=kName -P embed_text.cmake: a source file with the text of INPUT as
# std::string_view engram::kName. As bytes: compilers differ in how long a literal may be.
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "(................................)" "\\1\n" lines "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${lines}")
file(WRITE "${OUTPUT}" "// Made from ${INPUT}.
#include <string_view>
namespace engram {
namespace {
constexpr unsigned char kBytes[] = {
${bytes}
};
}  // namespace
extern const std::string_view ${NAME};
const std::string_view ${NAME}(reinterpret_cast<const char*>(kBytes), sizeof(kBytes));
}  // namespace engram
")
