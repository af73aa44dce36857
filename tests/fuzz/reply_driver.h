// SPDX-License-Identifier: Apache-2.0
// Follows what handlers answer to its end, as a session does. One thread.
#pragma once

#include <string_view>

#include "http/message.h"

namespace engram {

// The answer with its whole body; aborts when none comes.
Response FinishReply(Reply reply);

// Hands the channel each line of `messages`, drains it, and polls until it closes. Every message of its own is checked
// to be a JSON object with a type; aborts when it does not close.
void Converse(Channel& channel, std::string_view messages);

}  // namespace engram
