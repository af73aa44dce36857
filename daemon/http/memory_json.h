// SPDX-License-Identifier: Apache-2.0
// What LiveMemory answers, as JSON text (schemas in docs/openapi.yaml). Appends to `out`; pure functions, any thread.
#pragma once

#include <span>
#include <string>

#include "control/commit.h"
#include "control/live_memory.h"
#include "control/overlay_request.h"
#include "ngram/geometry.h"
#include "text/tokenizer.h"

namespace engram {

void AppendUnsigned(std::string& out, uint64_t value);
void AppendFloats(std::string& out, std::span<const float> values);
// "null" for nothing.
void AppendOptional(std::string& out, std::optional<uint64_t> value);

void AppendCommitAnswer(std::string& out, const CommitAnswer& answer);
void AppendCommitInfo(std::string& out, const CommitInfo& info);
// Without braces: "values":[..],"norm":..,"edited":..,"version":..
void AppendRowState(std::string& out, const RowState& state);
void AppendRows(std::string& out, uint32_t layer, const RowsReport& report);
void AppendDiff(std::string& out, const DiffRequest& request, const DiffReport& report);
// `tokenizer` may be nullptr: then n-grams are shown as ids alone.
void AppendPlan(std::string& out, const PlanReport& report, const Tokenizer* tokenizer);
// Without braces.
void AppendOverlayInfo(std::string& out, const OverlayInfo& info);
void AppendReceipt(std::string& out, const OverlayReceipt& receipt);
void AppendFindings(std::string& out, const JournalFindings& findings);
// [{"order", "head", "prime", "offset"} per column].
void AppendColumns(std::string& out, const Geometry& geometry, const LayerGeometry& layer);
void AppendStatus(std::string& out, const LiveMemoryStatus& status);

}  // namespace engram
