// SPDX-License-Identifier: Apache-2.0
#include "engramd/room_options.h"

namespace engram {

HttpOptions MakeHttpOptions(const Settings& settings) {
  const ServerSettings& server = settings.server;
  HttpOptions options;
  options.address = server.address;
  options.port = server.port;
  options.num_threads = server.io_threads;
  options.max_body_bytes = server.max_body_bytes;
  options.max_header_bytes = static_cast<uint32_t>(server.max_header_bytes);
  options.max_connections = server.max_connections;
  options.header_timeout = server.header_timeout;
  options.body_timeout = server.body_timeout;
  options.idle_timeout = server.idle_timeout;
  options.write_timeout = server.write_timeout;
  options.max_events_behind = server.max_events_behind;
  options.max_prompts = server.max_prompts;
  for (const KeySettings& key : settings.keys) options.keys.push_back({key.name, key.sha256, key.scopes});
  return options;
}

EngineOptions MakeEngineOptions(const Settings& settings) {
  const ServingSettings& serving = settings.serving;
  EngineOptions options;
  options.max_queued = serving.max_queued;
  options.max_running = serving.max_running;
  options.max_batch_tokens = serving.max_batch_tokens;
  options.prefill_chunk = serving.prefill_chunk;
  options.max_choices = serving.max_choices;
  return options;
}

}  // namespace engram
