// SPDX-License-Identifier: Apache-2.0
// ServedWorld: everything behind the server's routes, without sockets: a small model with memory on a backbone that
// costs nothing, its live memory, and the admin services, which find neither models nor plugins to load.
//
// The router is free for any thread; so is everything it leads to. Throws where a part cannot be made.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "access/access_store.h"
#include "control/live_memory_directory.h"
#include "control/memory_events.h"
#include "control/model_manager.h"
#include "core/metrics.h"
#include "core/published.h"
#include "http/auth.h"
#include "http/endpoints.h"
#include "http/http_metrics.h"
#include "support/temp_dir.h"

namespace engram {

class ServedWorld {
 public:
  ServedWorld();
  ~ServedWorld();

  // The one of this process, made anew now and then so that what inputs leave behind stays bounded. The reference is
  // valid until the next call.
  static ServedWorld& Fresh();

  const HttpOptions& options() const { return options_; }
  const EngineDirectory& engines() const { return engines_; }
  const Model& model() const { return engines_.Find("").value()->model(); }
  const Router& router() const { return *router_; }
  const Published<Authenticator>& authenticator() const { return authenticator_; }
  HttpMetrics& http_metrics() { return *http_metrics_; }
  EventHub& events() { return *events_; }
  const std::atomic<bool>& draining() const { return draining_; }

 private:
  static HttpOptions Options();
  std::unique_ptr<Engine> LoadEngine();

  const TempDir dir_;
  const HttpOptions options_ = Options();
  std::atomic<bool> draining_{false};
  MetricRegistry metrics_;
  EngineDirectory engines_;
  PluginShelf plugins_;
  Operations operations_;
  std::optional<ModelManager> models_;
  LiveMemoryDirectory memories_;
  std::shared_ptr<LiveMemory> live_;
  MemoryEvents memory_events_;
  std::unique_ptr<AccessStore> access_;
  AdminServices admin_;
  Published<StaticFiles> dashboard_{StaticFiles()};
  const Published<Authenticator> authenticator_{Authenticator()};
  std::optional<HttpMetrics> http_metrics_;
  std::optional<EventHub> events_;
  std::optional<Router> router_;
};

}  // namespace engram
