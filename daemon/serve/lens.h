// SPDX-License-Identifier: Apache-2.0
// The logit lens: what a model would say after each layer, and how far that is from what it says. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/result.h"
#include "serve/generation.h"

namespace engram {

// One position. `lens_logits`: of each layer in order, the position's row [vocab], the last equal to the final logits.
// KL(final || layer) in nats, and the `top` likeliest tokens of each layer with their probabilities. kInternal for
// logits that are not finite.
Result<std::vector<LensLayer>> LensOf(std::span<const std::span<const float>> lens_logits, uint32_t top);

}  // namespace engram
