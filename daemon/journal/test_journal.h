// SPDX-License-Identifier: Apache-2.0
// What the tests of the journal share: one that is opened, with a model of two layers, and commits to it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "journal/chain_verifier.h"
#include "journal/journal.h"

namespace engram {

inline constexpr uint32_t kRowBytes = 16;

inline std::unique_ptr<Journal> OpenJournal(const std::filesystem::path& path, const std::string& vfs = {}) {
  auto journal = Journal::Open({path, false, vfs, {}});
  EXPECT_TRUE(journal) << journal.error().message;
  return journal ? *std::move(journal) : nullptr;
}

inline ModelRecord AddModel(Journal& journal) {
  ModelRecord model;
  model.name = "small";
  model.row_bytes = kRowBytes;
  for (const uint32_t layer : {1u, 3u}) {
    BaseTableRecord table{layer, {}, std::nullopt, {}};
    table.origin.fill(static_cast<uint8_t>(layer));
    table.digest = table.origin;
    model.tables.push_back(table);
  }
  auto added = journal.AddModel(model, 5);
  EXPECT_TRUE(added) << added.error().message;
  return *added;
}

inline Journal::NewCommit MakeCommit(uint64_t version, size_t rows = 3) {
  Journal::NewCommit commit;
  commit.record.version = version;
  commit.record.parent = version - 1;
  commit.record.kind = "commit";
  commit.record.author = "ann";
  commit.record.note = "note " + std::to_string(version);
  commit.record.unix_ms = static_cast<int64_t>(1000 + version);
  commit.record.num_rows = rows;
  EditChunk chunk;
  chunk.layer = 1;
  for (size_t i = 0; i < rows; ++i) {
    chunk.rows.push_back(10 * i + version);
    chunk.flags.push_back(kBeforeIsBase);
    chunk.before_versions.push_back(0);
    for (uint32_t b = 0; b < kRowBytes; ++b) {
      chunk.after.push_back(static_cast<uint8_t>(version + i + b));
      chunk.before.push_back(static_cast<uint8_t>(i));
    }
  }
  if (rows > 0) commit.chunks.push_back(chunk);
  return commit;
}

inline std::optional<ModelRecord> Find(const Journal& journal, const std::string& name) {
  const auto models = journal.ListModels();
  EXPECT_TRUE(models) << models.error().message;
  for (const ModelRecord& model : *models)
    if (model.name == name) return model;
  return std::nullopt;
}

// Versions 1 to `versions`.
inline JournalHead Fill(Journal& journal, const ModelRecord& model, uint64_t versions) {
  JournalHead head = journal.Head(model).value();
  while (head.version < versions) {
    auto next = journal.Append(model, head, MakeCommit(head.version + 1));
    EXPECT_TRUE(next) << next.error().message;
    head = *next;
  }
  return head;
}

inline ChainVerifier::Findings Verify(const Journal& journal, const ModelRecord& model) {
  ChainVerifier verifier(journal, model);
  for (;;) {
    const auto done = verifier.Step();
    EXPECT_TRUE(done) << done.error().message;
    if (!done || *done) return verifier.findings();
  }
}

}  // namespace engram
