// SPDX-License-Identifier: Apache-2.0
// An overlay's content as the journal stores it (docs/formats.md), and from a request. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "control/overlay_request.h"
#include "core/result.h"
#include "memory/model_memory.h"
#include "memory/overlay.h"

namespace engram {

// Checks a request and encodes what it holds. Errors carry the field, such as "entries[3].suffix".
Result<OverlayContent> ResolveOverlay(const ModelMemory& memory, const OverlayRequest& request, uint64_t max_rows);

std::vector<uint8_t> EncodeOverlay(const ModelMemory& memory, const OverlayContent& content);
// kDataLoss, with the offset, for bytes that are no payload of this model.
Result<OverlayContent> DecodeOverlay(const ModelMemory& memory, std::span<const uint8_t> payload);

// kInvalidArgument (field "name") for a name that is none.
Status CheckOverlayName(std::string_view name);

}  // namespace engram
