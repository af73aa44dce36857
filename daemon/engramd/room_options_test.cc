// SPDX-License-Identifier: Apache-2.0
#include "engramd/room_options.h"

#include <gtest/gtest.h>

namespace engram {
namespace {

using std::chrono::milliseconds;

// The rooms know nothing of the settings, so both state the defaults.
TEST(RoomOptions, DefaultsAreTheRoomsOwn) {
  EXPECT_TRUE(MakeHttpOptions({}) == HttpOptions{});
  EXPECT_TRUE(MakeEngineOptions({}) == EngineOptions{});
}

TEST(RoomOptions, EverySettingArrives) {
  Settings settings;
  settings.server = {.address = "::1",
                     .port = 1,
                     .io_threads = 2,
                     .max_body_bytes = 3,
                     .max_header_bytes = 4,
                     .max_connections = 5,
                     .header_timeout = milliseconds(6),
                     .body_timeout = milliseconds(7),
                     .idle_timeout = milliseconds(8),
                     .write_timeout = milliseconds(9),
                     .max_events_behind = 10,
                     .max_prompts = 11};
  settings.keys = {{"alice", "ab", {"read", "edit"}}, {"bob", "cd", {"generate"}}};
  EXPECT_TRUE(MakeHttpOptions(settings) ==
              (HttpOptions{.address = "::1",
                           .port = 1,
                           .num_threads = 2,
                           .max_body_bytes = 3,
                           .max_header_bytes = 4,
                           .max_connections = 5,
                           .header_timeout = milliseconds(6),
                           .body_timeout = milliseconds(7),
                           .idle_timeout = milliseconds(8),
                           .write_timeout = milliseconds(9),
                           .max_events_behind = 10,
                           .max_prompts = 11,
                           .keys = {{"alice", "ab", {"read", "edit"}}, {"bob", "cd", {"generate"}}}}));

  settings.serving = {
      .max_queued = 21, .max_running = 22, .max_batch_tokens = 23, .prefill_chunk = 24, .max_choices = 25};
  EXPECT_TRUE(
      MakeEngineOptions(settings) ==
      (EngineOptions{
          .max_queued = 21, .max_running = 22, .max_batch_tokens = 23, .prefill_chunk = 24, .max_choices = 25}));
}

}  // namespace
}  // namespace engram
