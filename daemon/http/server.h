// SPDX-License-Identifier: Apache-2.0
// HttpServer: listens, speaks HTTP/1.1, routes requests to the engines. Owns its I/O threads (named "http-N").
//
// Threads: Start(), BeginDrain() and Stop() from one owner thread; port() from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/metrics.h"
#include "core/result.h"
#include "http/admin.h"
#include "serve/engine_directory.h"

namespace engram {

struct HttpOptions {
  std::string address = "127.0.0.1";
  uint16_t port = 8484;  // 0: any free one
  uint32_t num_threads = 1;
  uint64_t max_body_bytes = 8u << 20;
  uint64_t max_upload_bytes = 256u << 20;  // binary bodies of routes that take them (commits as safetensors)
  uint32_t max_header_bytes = 16u << 10;
  uint32_t max_connections = 1024;
  std::chrono::milliseconds header_timeout{10'000};  // from connect or the last response to a complete header
  std::chrono::milliseconds body_timeout{30'000};    // for a whole body
  std::chrono::milliseconds idle_timeout{75'000};    // keep-alive without a request
  std::chrono::milliseconds write_timeout{30'000};   // one write that makes no progress
  uint32_t max_events_behind = 256;         // a streaming client more events behind is cancelled: event_queue.h
  uint32_t max_prompts = 128;               // texts or id lists in one completions request
  bool ready_on_memory_failure = true;      // /health/ready while the stores of a memory do not answer
  uint32_t websocket_max_generations = 32;  // prompts that one connection may have running
  uint64_t websocket_max_message_bytes = 1u << 20;
  std::chrono::milliseconds websocket_ping_interval{30'000};  // a silent peer; two without an answer end the connection
  std::vector<std::string> allowed_origins;  // whose pages may use the API, beside the server's own; see origin.h
  std::vector<std::string> allowed_hosts;    // names of this machine, for pages on it, where there are no keys
  std::filesystem::path web_root;            // the dashboard's files; empty: none
  std::filesystem::path tls_certificate;     // PEM; empty: no TLS
  std::filesystem::path tls_key;
  std::filesystem::path tls_client_ca;  // whose certificates clients must have; empty: none is asked for
  std::string server_version;           // for the Server header and /metrics
  bool operator==(const HttpOptions&) const = default;
};

class HttpServer {
 public:
  // Binds and starts to serve. kIo names address and port; what is wrong with web_root or the TLS files
  // names the file. Without admin.access everybody may do everything. `engines`, `metrics` and what `admin` points to
  // must outlive the server, which is admin.access's listener.
  static Result<std::unique_ptr<HttpServer>> Start(HttpOptions options, const EngineDirectory& engines,
                                                   MetricRegistry& metrics, AdminServices admin = {});
  // Closes every connection at once and joins.
  ~HttpServer();

  uint16_t port() const;
  // Reads again what may change while the server runs: the dashboard's files and, for new connections, those of TLS.
  // Nothing changes on an error. Blocks.
  Status Reload();
  // Not ready any more: /health/ready answers 503, no new connection is taken, idle ones close, running requests go on,
  // and each answer carries "Connection: close".
  void BeginDrain();
  // Waits until no connection is left or the deadline has passed, then closes the rest.
  void Stop(std::chrono::steady_clock::time_point deadline);

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace engram
