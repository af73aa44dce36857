// SPDX-License-Identifier: Apache-2.0
// Commits, rollback, and what is read of them.
#include "control/live_memory.h"

#include <algorithm>

#include "control/history.h"
#include "control/live_memory_impl.h"
#include "core/json_text.h"
#include "core/log.h"

namespace engram {
namespace {

constexpr size_t kMaxAuthorBytes = 200;
constexpr size_t kMaxNoteBytes = 4096;
constexpr size_t kMaxKeyBytes = 255;
constexpr uint64_t kMaxRowsRead = 10'000;
constexpr size_t kMaxSharedNgrams = 100;
// A rollback may span some commits of the largest size.
constexpr uint64_t kRollbackCommits = 16;

Status CheckText(const std::string& text, size_t max_bytes, const char* field) {
  if (text.size() > max_bytes)
    return InvalidArgument(std::string(field) + ": longer than " + std::to_string(max_bytes) + " bytes", field);
  if (!IsValidUtf8(text)) return InvalidArgument(std::string(field) + ": not valid UTF-8", field);
  return {};
}

template <typename Request>
Status CheckTexts(const Request& request) {
  ENGRAM_CHECK_OK(CheckText(request.author, kMaxAuthorBytes, "author"));
  ENGRAM_CHECK_OK(CheckText(request.note, kMaxNoteBytes, "note"));
  if (request.idempotency) {
    if (request.idempotency->key.empty())
      return InvalidArgument("idempotency_key: must not be empty", "idempotency_key");
    ENGRAM_CHECK_OK(CheckText(request.idempotency->key, kMaxKeyBytes, "idempotency_key"));
  }
  return {};
}

CommitAnswer AnswerOf(const CommitRecord& record) {
  return {record.version, record.parent, record.num_rows, record.digest, record.unix_ms, false};
}

CommitInfo InfoOf(CommitRecord record) {
  CommitInfo info;
  info.version = record.version;
  info.parent = record.parent;
  for (const CommitKind kind : {CommitKind::kCommit, CommitKind::kRollback, CommitKind::kTableSwap})
    if (record.kind == CommitKindName(kind)) info.kind = kind;
  info.author = std::move(record.author);
  info.note = std::move(record.note);
  info.actor = std::move(record.actor);
  info.unix_ms = record.unix_ms;
  info.rows = record.num_rows;
  info.digest = record.digest;
  info.restores = record.restores;
  info.edits_kept = record.edits_kept;
  return info;
}

// Rows of one layer as a view shows them.
Result<std::vector<RowState>> ReadStates(const ModelMemory& memory, const MemoryView& view, uint32_t layer_index,
                                         std::span<const uint64_t> rows) {
  std::vector<uint8_t> bytes(rows.size() * memory.row_bytes());
  ENGRAM_CHECK_OK(memory.ReadRows(view, layer_index, rows, bytes.data()));
  std::vector<RowState> states(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    RowState& state = states[i];
    state.values.resize(memory.config().head_dim);
    memory.codec().Decode(&bytes[i * memory.row_bytes()], state.values.data());
    state.norm = Norm(state.values);
    const RowOrigin origin = OriginOf(view, layer_index, rows[i]);
    state.edited = !origin.is_base;
    state.version = origin.version;
  }
  return states;
}

}  // namespace

const char* CommitKindName(CommitKind kind) {
  switch (kind) {
    case CommitKind::kCommit:
      return "commit";
    case CommitKind::kRollback:
      return "rollback";
    case CommitKind::kTableSwap:
      return "table_swap";
  }
  return "";
}

LiveMemory::LiveMemory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

LiveMemory::~LiveMemory() {
  Stop();
}

void LiveMemory::Stop() {
  {
    std::lock_guard lock(impl_->mutex);
    if (std::exchange(impl_->stopped, true)) return;
  }
  // The job first: its steps run on thread "journal".
  impl_->cancel = true;
  impl_->jobs.Close();
  impl_->tables.join();
  // What is queued before this still runs; there is nothing after it.
  impl_->thread->Call([impl = impl_.get()] { impl->shared->RemoveUpkeep(impl); });
}

const LiveMemoryOptions& LiveMemory::options() const {
  return impl_->options;
}

LiveModel LiveMemory::model() const {
  return impl_->CurrentModel();
}

LiveMemoryStatus LiveMemory::status() const {
  LiveMemoryStatus status;
  LiveModel model;
  {
    std::lock_guard lock(impl_->mutex);
    model = impl_->model;
    status.overlays = impl_->overlays.size();
    status.overlay_bytes = impl_->overlay_bytes;
    status.base_version = impl_->base_version;
    status.running_job = impl_->running_job;
  }
  status.model = model.name;
  status.has_memory = model.memory != nullptr;
  status.durable = !impl_->options.state_dir.empty();
  if (status.durable) status.journal = impl_->options.state_dir / "journal.sqlite";
  status.queued = impl_->thread->queued();
  status.max_queued = impl_->thread->capacity();
  if (!model.memory) return status;
  const std::vector<uint64_t> versions = model.memory->retained_versions();
  status.oldest_version = versions.front();
  status.version = versions.back();
  if (const auto view = model.memory->View())
    for (const RowMap& rows : view->edits->layers) status.edited_rows += rows.size();
  return status;
}

Result<std::shared_ptr<ModelMemory>> LiveMemory::Impl::Memory() const {
  LiveModel current = CurrentModel();
  if (!current.memory) return Unsupported("the model \"" + current.name + "\" has no Engram memory");
  return std::move(current.memory);
}

JournalThread::Outcome LiveMemory::Impl::TryPost(std::function<void()> task) {
  std::lock_guard lock(mutex);
  if (stopped) return JournalThread::Outcome::kStopped;
  return thread->TryPost(std::move(task));
}

Error LiveMemory::Impl::Refusal(JournalThread::Outcome outcome) const {
  if (outcome == JournalThread::Outcome::kStopped) return Unavailable("engramd is stopping");
  return ResourceExhausted("the journal has " + std::to_string(thread->capacity()) +
                           " requests waiting; try again later");
}

void LiveMemory::Impl::Emit(const std::string& kind, const std::string& name, uint64_t rows) const {
  if (options.on_event) options.on_event({kind, CurrentModel().name, name, head.version, rows, UnixMs()});
}

CommitRecord LiveMemory::Impl::NewRecord(CommitKind kind, const std::string& author, const std::string& note,
                                         const std::string& actor) const {
  CommitRecord record_to_be;
  record_to_be.version = head.version + 1;
  record_to_be.parent = head.version;
  record_to_be.kind = CommitKindName(kind);
  record_to_be.author = author;
  record_to_be.note = note;
  record_to_be.actor = actor;
  record_to_be.unix_ms = UnixMs();
  record_to_be.base_version = record.base_version;
  return record_to_be;
}

Result<std::optional<CommitAnswer>> LiveMemory::Impl::EarlierAnswer(const std::optional<IdempotencyKey>& key) const {
  if (!key) return std::optional<CommitAnswer>();
  ENGRAM_TRY(const std::optional<IdempotencyRecord> earlier, journal->FindAnswer(record, key->key));
  if (!earlier) return std::optional<CommitAnswer>();
  if (earlier->body != key->body) {
    Error error = FailedPrecondition("idempotency_key: was used for another request, which became version " +
                                     std::to_string(earlier->version));
    error.field = "idempotency_key";
    return error;
  }
  ENGRAM_TRY(const std::optional<CommitRecord> commit, journal->FindCommit(record, earlier->version));
  if (!commit)
    return DataLoss(journal->database().place() + ": an idempotency key names version " +
                    std::to_string(earlier->version) + ", which does not exist");
  CommitAnswer answer = AnswerOf(*commit);
  answer.repeated = true;
  return std::optional<CommitAnswer>(answer);
}

Status LiveMemory::Impl::CheckVersion(const std::optional<uint64_t>& if_version) const {
  if (!if_version || *if_version == head.version) return {};
  Error error = FailedPrecondition("if_version: is " + std::to_string(*if_version) + ", the current version is " +
                                   std::to_string(head.version));
  error.field = "if_version";
  return error;
}

Result<CommitAnswer> LiveMemory::Impl::Append(CommitRecord commit, std::vector<EditChunk> chunks,
                                              const std::optional<IdempotencyKey>& key) {
  ENGRAM_TRY(const auto memory, Memory());
  ENGRAM_TRY(const MemoryView view, memory->View());
  // All that can fail comes before the journal; from its commit on there is no way back.
  auto edits = std::make_shared<MemoryEdits>(*view.edits);
  edits->version = commit.version;
  for (const EditChunk& chunk : chunks) {
    commit.num_rows += chunk.rows.size();
    ENGRAM_CHECK_OK(ApplyChunk(*memory, record.base_version, commit, chunk, *edits));
  }
  CommitAnswer answer = AnswerOf(commit);
  const std::string kind = commit.kind;
  Journal::NewCommit entry{std::move(commit), std::move(chunks), std::nullopt, std::nullopt};
  if (key) entry.idempotency = IdempotencyRecord{key->key, key->body, 0};
  ENGRAM_TRY(head, journal->Append(record, head, std::move(entry)));
  memory->Publish(std::move(edits));
  Fault("commit.published");
  answer.digest = head.digest;
  Emit(kind, "", answer.rows);
  return answer;
}

Result<CommitAnswer> LiveMemory::Impl::CommitNow(const CommitRequest& request, const ModelMemory* resolved_for,
                                                 ResolvedEdits resolved) {
  ENGRAM_TRY(const std::optional<CommitAnswer> earlier, EarlierAnswer(request.idempotency));
  if (earlier) return *earlier;
  ENGRAM_CHECK_OK(CheckVersion(request.if_version));
  ENGRAM_TRY(const auto memory, Memory());
  // The model was exchanged while this waited.
  if (memory.get() != resolved_for) {
    ENGRAM_TRY(resolved, ResolveEdits(*memory, request.edits, options.max_commit_rows, {}));
  }
  ENGRAM_TRY(const MemoryView view, memory->View());
  ENGRAM_TRY(std::vector<EditChunk> chunks, BuildChunks(*memory, view, resolved, {}));
  return Append(NewRecord(CommitKind::kCommit, request.author, request.note, request.actor), std::move(chunks),
                request.idempotency);
}

Result<CommitAnswer> LiveMemory::Impl::RollbackNow(const RollbackRequest& request) {
  ENGRAM_TRY(const std::optional<CommitAnswer> earlier, EarlierAnswer(request.idempotency));
  if (earlier) return *earlier;
  ENGRAM_CHECK_OK(CheckVersion(request.if_version));
  ENGRAM_TRY(const auto memory, Memory());
  ENGRAM_CHECK_OK(CheckExists(request.to, head.version, "to"));
  ENGRAM_CHECK_OK(CheckSpan(*journal, record, request.to, head.version, "to"));
  ENGRAM_TRY(const MemoryView view, memory->View());
  ENGRAM_TRY(std::vector<EditChunk> chunks,
             BuildRollback(*journal, record, *memory, view, request.to, kRollbackCommits * options.max_commit_rows));
  CommitRecord commit = NewRecord(CommitKind::kRollback, request.author, request.note, request.actor);
  commit.restores = request.to;
  return Append(std::move(commit), std::move(chunks), request.idempotency);
}

void LiveMemory::Commit(CommitRequest request, Done<CommitAnswer> done) {
  const auto resolve = [&]() -> Result<std::pair<std::shared_ptr<ModelMemory>, ResolvedEdits>> {
    ENGRAM_TRY(auto memory, impl_->Memory());
    ENGRAM_CHECK_OK(CheckTexts(request));
    if (request.edits.empty()) return InvalidArgument("edits: a commit needs at least one", "edits");
    ENGRAM_TRY(ResolvedEdits resolved, ResolveEdits(*memory, request.edits, impl_->options.max_commit_rows, {}));
    return std::pair(std::move(memory), std::move(resolved));
  };
  auto ready = Guarded(resolve);
  if (!ready) return done(std::move(ready).error());
  impl_->Submit<CommitAnswer>(std::move(done),
                              [impl = impl_.get(), request = std::move(request), ready = *std::move(ready)]() mutable {
                                return impl->CommitNow(request, ready.first.get(), std::move(ready.second));
                              });
}

Result<PlanReport> LiveMemory::Plan(const CommitRequest& request) const {
  ENGRAM_TRY(const auto memory, impl_->Memory());
  ENGRAM_CHECK_OK(CheckTexts(request));
  if (request.edits.empty()) return InvalidArgument("edits: a commit needs at least one", "edits");
  ENGRAM_TRY(const ResolvedEdits resolved, ResolveEdits(*memory, request.edits, impl_->options.max_commit_rows, {}));
  ENGRAM_TRY(const MemoryView view, memory->View());
  if (request.if_version && *request.if_version != view.version()) {
    Error error = FailedPrecondition("if_version: is " + std::to_string(*request.if_version) +
                                     ", the current version is " + std::to_string(view.version()));
    error.field = "if_version";
    return error;
  }
  ENGRAM_TRY(const std::vector<EditChunk> chunks, BuildChunks(*memory, view, resolved, {}));
  PlanReport report;
  report.version = view.version();
  report.rows.resize(resolved.rows.size());
  std::map<std::pair<uint32_t, uint64_t>, size_t> position;  // (layer index, row) -> index in report.rows
  std::vector<std::unordered_set<uint64_t>> by_layer(memory->layers().size());
  for (size_t i = 0; i < resolved.rows.size(); ++i) {
    const ResolvedEdit& edit = resolved.rows[i];
    position.emplace(std::pair(edit.layer_index, edit.row), i);
    by_layer[edit.layer_index].insert(edit.row);
  }
  const size_t row_bytes = memory->row_bytes();
  const std::vector<std::shared_ptr<const Overlay>> overlays = memory->overlays().List();
  std::vector<float> values(memory->config().head_dim);
  for (const EditChunk& chunk : chunks) {
    ENGRAM_TRY(const uint32_t layer_index, LayerIndex(*memory, chunk.layer, "layer"));
    ENGRAM_TRY(std::vector<RowState> states, ReadStates(*memory, view, layer_index, chunk.rows));
    for (size_t i = 0; i < chunk.rows.size(); ++i) {
      const size_t at = position.at({layer_index, chunk.rows[i]});
      PlanReport::Row& row = report.rows[at];
      row.edit = resolved.rows[at].edit;
      row.layer = chunk.layer;
      row.row = chunk.rows[i];
      row.before = std::move(states[i]);
      const uint8_t* const after = &chunk.after[i * row_bytes];
      memory->codec().Decode(after, values.data());
      row.norm_after = Norm(values);
      row.changes = !std::equal(after, after + row_bytes, &chunk.before[i * row_bytes]);
      report.rows_changed += row.changes ? 1 : 0;
      for (const auto& overlay : overlays)
        if (overlay->has_rows(layer_index) && overlay->FindRow(layer_index, row.row) != nullptr)
          row.overlays.push_back(overlay->name());
    }
  }
  std::shared_ptr<const NgramIndex> index;
  {
    std::lock_guard lock(impl_->mutex);
    index = impl_->ngrams;
  }
  if (index == nullptr || !index->is_for(*memory)) return report;
  std::vector<std::vector<int32_t>> named;
  for (const RowEdit& edit : request.edits) {
    if (!edit.ngram) continue;
    const auto& tokens = edit.ngram->tokens;
    const size_t order = edit.ngram->order == 0 ? tokens.size() : edit.ngram->order;
    named.emplace_back();
    for (const int32_t token : std::span(tokens).last(order)) named.back().push_back(memory->compressed_map()[token]);
  }
  report.ngram_sample = index->sample();
  report.ngrams = index->Reading(by_layer, named, kMaxSharedNgrams, report.ngrams_found);
  return report;
}

void LiveMemory::Rollback(RollbackRequest request, Done<CommitAnswer> done) {
  if (Status checked = CheckTexts(request); !checked) return done(std::move(checked).error());
  impl_->Submit<CommitAnswer>(
      std::move(done), [impl = impl_.get(), request = std::move(request)] { return impl->RollbackNow(request); });
}

void LiveMemory::ListCommits(uint64_t limit, std::optional<uint64_t> before, Done<std::vector<CommitInfo>> done) {
  if (limit < 1 || limit > 1000) return done(InvalidArgument("limit: must be 1 to 1000", "limit"));
  impl_->Submit<std::vector<CommitInfo>>(
      std::move(done), [impl = impl_.get(), limit, before]() -> Result<std::vector<CommitInfo>> {
        ENGRAM_CHECK_OK(impl->Memory());
        ENGRAM_TRY(std::vector<CommitRecord> records,
                   impl->journal->ListCommits(impl->record, limit, before.value_or(UINT64_MAX)));
        std::vector<CommitInfo> infos;
        for (CommitRecord& record : records) infos.push_back(InfoOf(std::move(record)));
        return infos;
      });
}

void LiveMemory::FindCommit(uint64_t version, Done<CommitInfo> done) {
  impl_->Submit<CommitInfo>(std::move(done), [impl = impl_.get(), version]() -> Result<CommitInfo> {
    ENGRAM_CHECK_OK(impl->Memory());
    ENGRAM_TRY(std::optional<CommitRecord> found, impl->journal->FindCommit(impl->record, version));
    if (!found) return NotFound("there is no commit " + std::to_string(version), "version");
    return InfoOf(*std::move(found));
  });
}

void LiveMemory::Diff(DiffRequest request, Done<DiffReport> done) {
  if (request.limit < 1 || request.limit > kMaxRowsRead)
    return done(InvalidArgument("limit: must be 1 to " + std::to_string(kMaxRowsRead), "limit"));
  impl_->Submit<DiffReport>(std::move(done), [impl = impl_.get(), request]() -> Result<DiffReport> {
    ENGRAM_TRY(const auto memory, impl->Memory());
    ENGRAM_CHECK_OK(CheckExists(request.from, impl->head.version, "from"));
    ENGRAM_CHECK_OK(CheckExists(request.to, impl->head.version, "to"));
    const auto [low, high] = std::minmax(request.from, request.to);
    ENGRAM_CHECK_OK(CheckSpan(*impl->journal, impl->record, low, high, low == request.from ? "from" : "to"));
    return BuildDiff(*impl->journal, impl->record, *memory, request);
  });
}

Result<RowsReport> LiveMemory::ReadRows(uint32_t layer, std::span<const uint64_t> rows,
                                        std::optional<uint64_t> as_of) const {
  ENGRAM_TRY(const auto memory, impl_->Memory());
  ENGRAM_TRY(const uint32_t layer_index, LayerIndex(*memory, layer, "layer"));
  if (rows.size() > kMaxRowsRead)
    return InvalidArgument("ids: more than " + std::to_string(kMaxRowsRead) + " rows", "ids");
  auto view = memory->View(as_of);
  if (!view) {
    Error error = std::move(view).error();
    error.field = "as_of";
    return error;
  }
  auto states = ReadStates(*memory, *view, layer_index, rows);
  if (!states) {
    Error error = std::move(states).error();
    if (error.code == ErrorCode::kInvalidArgument) error.field = "ids";
    return error;
  }
  RowsReport report;
  report.version = view->version();
  for (size_t i = 0; i < rows.size(); ++i) report.rows.push_back({rows[i], std::move((*states)[i])});
  return report;
}

void LiveMemory::Post(std::function<void(Journal&)> task, std::function<void(Error)> refused) {
  const auto outcome = impl_->TryPost([impl = impl_.get(), task = std::move(task)] {
    const Status ran = Guarded([&]() -> Status {
      task(*impl->journal);
      return {};
    });
    if (!ran) log::Error("journal: {}", ran.error().message);
  });
  if (outcome != JournalThread::Outcome::kQueued) refused(impl_->Refusal(outcome));
}

}  // namespace engram
