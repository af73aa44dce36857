// SPDX-License-Identifier: Apache-2.0
// RequestReader: turns the bytes of one connection into requests (HTTP/1.0 and 1.1, pipelining), with limits. The
// syntax is Boost.Beast's; what Beast lets pass and proxies disagree on is refused here. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "http/api_error.h"
#include "http/message.h"

namespace engram {

class RequestReader {
 public:
  RequestReader(uint32_t max_header_bytes, uint64_t max_body_bytes);
  ~RequestReader();

  // Where to put received bytes: Prepare() gives room for at least 1 and at most `max_bytes`, or nothing when the
  // buffer is full; Commit() says how many came. The room is valid until the next call of any other function.
  std::span<char> Prepare(size_t max_bytes);
  void Commit(size_t num_bytes);
  size_t buffered_bytes() const;

  enum class State {
    kHeader,    // the header is not complete
    kBody,      // the header is, the body is not
    kComplete,  // request() is whole; Next() starts with the bytes after it
    kFailed,    // error() says why; nothing more can be read from this connection
  };
  // Reads on with the bytes committed so far. Returns after the header once (kBody, or kComplete without a body), so
  // that a request can be refused before its body is read.
  State Advance();
  State state() const;

  // From the header on: method, target, path, headers, protocol.
  Request& request();
  // What Content-Length says; nothing for a chunked body, and 0 without a body.
  std::optional<uint64_t> announced_body_bytes() const;
  // Before the next Advance(): this one request's body may have so many bytes.
  void AllowBody(uint64_t max_bytes);
  // "Expect: 100-continue" was sent.
  bool expects_continue() const;
  const ApiError& error() const;

  // Forgets the request; keeps the bytes after it.
  void Next();
  // Forgets everything and gives its memory back.
  void Release();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace engram
