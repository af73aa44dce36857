// SPDX-License-Identifier: Apache-2.0
#include "http/memory_json.h"

#include "core/json_text.h"
#include "core/sha256.h"
#include "http/json_out.h"

namespace engram {
namespace {

// Appends ,"name": in front of a value; the first member of an object goes without the comma.
void Key(std::string& out, std::string_view name) {
  if (out.back() != '{') out += ',';
  out += '"';
  out += name;
  out += "\":";
}
void Member(std::string& out, std::string_view name, uint64_t value) {
  Key(out, name);
  AppendUnsigned(out, value);
}
void Time(std::string& out, std::string_view name, int64_t unix_ms) {
  Key(out, name);
  AppendInt(out, unix_ms);
}
void Flag(std::string& out, std::string_view name, bool value) {
  Key(out, name);
  out += value ? "true" : "false";
}
void Text(std::string& out, std::string_view name, std::string_view value) {
  Key(out, name);
  out += JsonQuote(value);
}
void Number(std::string& out, std::string_view name, double value) {
  Key(out, name);
  AppendDouble(out, value);
}
void Optional(std::string& out, std::string_view name, std::optional<uint64_t> value) {
  Key(out, name);
  AppendOptional(out, value);
}

template <typename Items, typename Append>
void List(std::string& out, std::string_view name, const Items& items, Append append) {
  Key(out, name);
  out += '[';
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += ',';
    first = false;
    append(item);
  }
  out += ']';
}

void Names(std::string& out, std::string_view name, const std::vector<std::string>& names) {
  List(out, name, names, [&](const std::string& item) { out += JsonQuote(item); });
}

}  // namespace

void AppendUnsigned(std::string& out, uint64_t value) {
  out += std::to_string(value);
}
void AppendOptional(std::string& out, std::optional<uint64_t> value) {
  out += value ? std::to_string(*value) : "null";
}
void AppendFloats(std::string& out, std::span<const float> values) {
  out += '[';
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    // As a double: clients that read numbers as doubles get the stored value and not one near it.
    AppendDouble(out, values[i]);
  }
  out += ']';
}

void AppendCommitAnswer(std::string& out, const CommitAnswer& answer) {
  out += '{';
  Member(out, "version", answer.version);
  Member(out, "parent", answer.parent);
  Member(out, "rows", answer.rows);
  Text(out, "digest", HexDigits(answer.digest));
  Time(out, "created_unix_ms", answer.unix_ms);
  out += '}';
}

void AppendCommitInfo(std::string& out, const CommitInfo& info) {
  out += '{';
  Member(out, "version", info.version);
  Member(out, "parent", info.parent);
  Text(out, "kind", CommitKindName(info.kind));
  Text(out, "author", info.author);
  Text(out, "note", info.note);
  Text(out, "actor", info.actor);
  Time(out, "created_unix_ms", info.unix_ms);
  Member(out, "rows", info.rows);
  Text(out, "digest", HexDigits(info.digest));
  Optional(out, "restores", info.restores);
  Flag(out, "edits_kept", info.edits_kept);
  out += '}';
}

void AppendRowState(std::string& out, const RowState& state) {
  out += "\"values\":";
  AppendFloats(out, state.values);
  Number(out, "norm", state.norm);
  Flag(out, "edited", state.edited);
  Member(out, "version", state.version);
}

void AppendRows(std::string& out, uint32_t layer, const RowsReport& report) {
  out += '{';
  Member(out, "layer", layer);
  Member(out, "version", report.version);
  List(out, "rows", report.rows, [&](const RowsReport::Row& row) {
    out += "{\"row\":";
    AppendUnsigned(out, row.row);
    out += ',';
    AppendRowState(out, row.state);
    out += '}';
  });
  out += '}';
}

void AppendDiff(std::string& out, const DiffRequest& request, const DiffReport& report) {
  out += '{';
  Member(out, "from", request.from);
  Member(out, "to", request.to);
  Member(out, "total", report.total);
  List(out, "rows", report.rows, [&](const DiffReport::Row& row) {
    out += '{';
    Member(out, "layer", row.layer);
    Member(out, "row", row.row);
    Key(out, "before");
    out += '{';
    AppendRowState(out, row.before);
    out += "},\"after\":{";
    AppendRowState(out, row.after);
    out += "}}";
  });
  const uint64_t next = request.offset + report.rows.size();
  Key(out, "next_cursor");
  out += next < report.total && !report.rows.empty() ? JsonQuote(std::to_string(next)) : "null";
  out += '}';
}

void AppendPlan(std::string& out, const PlanReport& report, const Tokenizer* tokenizer) {
  out += '{';
  Flag(out, "plan", true);
  Member(out, "version", report.version);
  Member(out, "rows_changed", report.rows_changed);
  List(out, "rows", report.rows, [&](const PlanReport::Row& row) {
    out += '{';
    Member(out, "edit", row.edit);
    Member(out, "layer", row.layer);
    Member(out, "row", row.row);
    Flag(out, "changes", row.changes);
    Number(out, "norm_before", row.before.norm);
    Number(out, "norm_after", row.norm_after);
    Flag(out, "edited", row.before.edited);
    Member(out, "last_version", row.before.version);
    Names(out, "overlays", row.overlays);
    out += '}';
  });
  List(out, "ngrams", report.ngrams, [&](const PlanReport::SharedNgram& ngram) {
    out += '{';
    Key(out, "tokens");
    AppendInts(out, ngram.tokens);
    if (tokenizer != nullptr) Text(out, "text", tokenizer->Decode(ngram.tokens, false));
    Member(out, "count", ngram.count);
    Member(out, "rows", ngram.rows);
    out += '}';
  });
  Member(out, "ngrams_found", report.ngrams_found);
  Number(out, "ngram_sample", report.ngram_sample);
  out += '}';
}

void AppendOverlayInfo(std::string& out, const OverlayInfo& info) {
  out += "\"name\":" + JsonQuote(info.name);
  Member(out, "rows", info.rows);
  Member(out, "guarded", info.guarded);
  Member(out, "bytes", info.bytes);
  Text(out, "digest", HexDigits(info.digest));
  Time(out, "created_unix_ms", info.created_unix_ms);
  Key(out, "expires_unix_ms");
  out += info.expires_unix_ms ? std::to_string(*info.expires_unix_ms) : "null";
}

void AppendReceipt(std::string& out, const OverlayReceipt& receipt) {
  out += '{';
  AppendOverlayInfo(out, receipt.overlay);
  Time(out, "deleted_unix_ms", receipt.deleted_unix_ms);
  Flag(out, "journal_erased", receipt.journal_erased);
  Member(out, "still_attached", receipt.still_attached);
  out += '}';
}

void AppendFindings(std::string& out, const JournalFindings& findings) {
  out += '{';
  Flag(out, "ok", !findings.bad_version.has_value());
  Member(out, "commits_checked", findings.commits_checked);
  Member(out, "commits_folded", findings.commits_folded);
  Optional(out, "bad_version", findings.bad_version);
  Text(out, "problem", findings.problem);
  out += '}';
}

void AppendColumns(std::string& out, const Geometry& geometry, const LayerGeometry& layer) {
  out += '[';
  for (size_t column = 0; column < geometry.num_columns; ++column) {
    if (column > 0) out += ',';
    out += '{';
    Member(out, "order", 2 + column / geometry.num_heads);
    Member(out, "head", column % geometry.num_heads);
    Member(out, "prime", static_cast<uint64_t>(layer.primes[column]));
    Member(out, "offset", static_cast<uint64_t>(layer.offsets[column]));
    out += '}';
  }
  out += ']';
}

void AppendStatus(std::string& out, const LiveMemoryStatus& status) {
  out += '{';
  Text(out, "model", status.model);
  Flag(out, "has_memory", status.has_memory);
  Flag(out, "durable", status.durable);
  Member(out, "version", status.version);
  Member(out, "oldest_version", status.oldest_version);
  Member(out, "base_version", status.base_version);
  Member(out, "edited_rows", status.edited_rows);
  Member(out, "overlays", status.overlays);
  Member(out, "overlay_bytes", status.overlay_bytes);
  Member(out, "queued", status.queued);
  Member(out, "max_queued", status.max_queued);
  Text(out, "running_job", status.running_job);
  out += '}';
}

}  // namespace engram
