// SPDX-License-Identifier: Apache-2.0
// The body of PUT /admin/v1/overlays/{name}. Pure functions; any thread. Errors are kInvalidArgument with the field.
#pragma once

#include <string>

#include "control/overlay_request.h"
#include "core/result.h"
#include "http/edit_fields.h"
#include "http/json_fields.h"

namespace engram {

// The fields of the body but "model": "entries" (each a row edit, or {"suffix", "memory"}) and "ttl_s". At most
// `max_entries` entries.
Result<OverlayRequest> ReadOverlayFields(JsonFields& fields, const TokenReader& tokens, size_t max_entries);

}  // namespace engram
