// SPDX-License-Identifier: Apache-2.0
// DeferredReply: an answer that another thread gives later, for handlers that hand their work to a queue.
#pragma once

#include <functional>
#include <memory>

#include "http/message.h"

namespace engram {

struct DeferredReply {
  std::unique_ptr<ReplySource> source;  // what the handler returns
  // Gives the answer: the first call counts, later ones and those after the client has gone are ignored. Any thread,
  // never blocks; copies may be called in place of it. When the last copy is destroyed uncalled, the client gets an
  // internal error rather than silence.
  std::function<void(Response)> send;
};

// `send` may be called before the source is started.
DeferredReply MakeDeferredReply();

}  // namespace engram
