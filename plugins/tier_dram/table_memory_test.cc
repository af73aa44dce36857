// SPDX-License-Identifier: Apache-2.0
#include "table_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace engram::tier_dram {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TableMemory, ReadsTheKernelsListsOfNodes) {
  EXPECT_THAT(ParseNodeList("0"), ElementsAre(0));
  EXPECT_THAT(ParseNodeList("0-3"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(ParseNodeList("0,2-3,70"), ElementsAre(0, 2, 3, 70));
  for (const char* bad : {"", ",", "0,", "a", "1-", "-1", "0 1", "0-99999", "99999"})
    EXPECT_THAT(ParseNodeList(bad), IsEmpty()) << bad;
}

TEST(TableMemory, InterleavedMemoryIsZeroedAndUsable) {
  TableMemory memory(5 << 20, {.huge_pages = false, .interleave = true});
  EXPECT_EQ(memory.data()[0], 0);
  std::memset(memory.data(), 7, 5 << 20);
  EXPECT_EQ(memory.data()[(5 << 20) - 1], 7);
  EXPECT_THAT(memory.Description(), HasSubstr("NUMA"));
  EXPECT_EQ(TableMemory(1, {.huge_pages = false}).Description(), "huge pages off");
}

}  // namespace
}  // namespace engram::tier_dram
