// SPDX-License-Identifier: Apache-2.0
#include "control/live_memory.h"

#include <fstream>
#include <latch>

#include "control/test_live_memory.h"
#include "core/file.h"
#include "journal/journal.h"
#include "support/fault_vfs.h"

namespace engram {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(LiveMemoryTest, CommitsAreSeenAndSurviveARestart) {
  RowState base;
  {
    TestLive live(Options());
    base = ReadRow(live, 7).state;
    EXPECT_FALSE(base.edited);
    CommitRequest request;
    request.author = "ann";
    request.note = "first";
    request.actor = "key-1";
    request.if_version = 0;
    request.edits = {Edit(live, 7, 1.5f), Edit(live, 8, 2.0f)};
    const auto first = live.Commit(request);
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(first->version, 1u);
    EXPECT_EQ(first->parent, 0u);
    EXPECT_EQ(first->rows, 2u);
    const auto second = live.Commit({Edit(live, 7, 0.25f, RowEdit::Mode::kAdd)});
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second->parent, 1u);
    EXPECT_NE(second->digest, first->digest);
    EXPECT_THAT(ReadRow(live, 7).state.values, Each(1.75f));
  }
  TestLive live(Options());
  const LiveMemoryStatus status = live.live->status();
  EXPECT_TRUE(status.durable);
  EXPECT_EQ(status.version, 2u);
  EXPECT_EQ(status.oldest_version, 0u);
  EXPECT_EQ(status.edited_rows, 2u);
  const RowState now = ReadRow(live, 7).state;
  EXPECT_THAT(now.values, Each(1.75f));
  EXPECT_TRUE(now.edited);
  EXPECT_EQ(now.version, 2u);
  EXPECT_NEAR(now.norm, 1.75 * std::sqrt(HeadDim(live)), 1e-6);
  EXPECT_EQ(ReadRow(live, 8).state.version, 1u);
  EXPECT_THAT(ReadRow(live, 7, 1).state.values, Each(1.5f));
  EXPECT_EQ(ReadRow(live, 7, 0).state.values, base.values);
  const auto commits = live.ListCommits(10).value();
  ASSERT_EQ(commits.size(), 2u);
  EXPECT_EQ(commits[1].note, "first");
  EXPECT_EQ(commits[1].actor, "key-1");
  EXPECT_EQ(commits[0].version, 2u);
  EXPECT_EQ(live.ListCommits(10, 2).value().size(), 1u);
  EXPECT_FALSE(live.live->ReadRows(Layer(live), std::vector<uint64_t>{7}, 3));
  EXPECT_EQ(live.Verify()->commits_checked, 2u);
}

TEST_F(LiveMemoryTest, NgramsAddressTheRowsTheModelReads) {
  TestLive live(Options());
  const std::vector<int32_t> tokens = {11, 300, 41};
  RowAddresser addresser(live.memory->geometry());
  std::vector<uint64_t> ids;
  live.memory->AppendRowIds(addresser, tokens, ids);
  const size_t columns = live.memory->geometry().num_columns;
  const size_t heads = live.memory->geometry().num_heads;
  const size_t last = 2 * live.memory->layers().size() * columns + IdLayer(*live.memory, 0) * columns;
  RowEdit edit;
  edit.layer = Layer(live);
  edit.ngram = RowEdit::Ngram{tokens, 2, {}};
  for (size_t h = 0; h < heads; ++h) edit.values.insert(edit.values.end(), HeadDim(live), static_cast<float>(h + 1));
  const auto answer = live.Commit({edit});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->rows, heads);
  for (size_t h = 0; h < heads; ++h)
    EXPECT_THAT(ReadRow(live, ids[last + h]).state.values, Each(static_cast<float>(h + 1))) << h;
}

TEST_F(LiveMemoryTest, BadEditsAreRefusedWithTheirPlace) {
  TestLive live(Options());
  const uint64_t rows = live.memory->geometry().layers[IdLayer(*live.memory, 0)].num_rows;
  const auto edit = [&] { return Edit(live, 1, 1.0f); };
  struct Case {
    const char* field;
    const char* text;
    RowEdit edit;
  };
  std::vector<Case> cases;
  const auto add = [&](const char* field, const char* text, const std::function<void(RowEdit&)>& change) {
    cases.push_back({field, text, edit()});
    change(cases.back().edit);
  };
  add("edits[1].layer", "layer 77", [](RowEdit& e) { e.layer = 77; });
  add("edits[1].row", "has", [&](RowEdit& e) { e.row = rows; });
  add("edits[1]", "either \"row\" or \"ngram\"", [](RowEdit& e) { e.row.reset(); });
  add("edits[1]", "either \"values\" or \"data\"", [](RowEdit& e) { e.values.clear(); });
  add("edits[1]", "either \"values\" or \"data\"", [](RowEdit& e) { e.data = {1}; });
  add("edits[1].values", "31 numbers", [](RowEdit& e) { e.values.pop_back(); });
  add("edits[1].values", "values[3]", [](RowEdit& e) { e.values[3] = NAN; });
  add("edits[1].values", "finite", [](RowEdit& e) {
    e.mode = RowEdit::Mode::kAdd;
    e.values[3] = INFINITY;
  });
  add("edits[1].data", "bytes", [](RowEdit& e) {
    e.values.clear();
    e.data = {1, 2, 3};
  });
  const auto ngram = [](RowEdit& e, RowEdit::Ngram n) {
    e.row.reset();
    e.ngram = std::move(n);
  };
  add("edits[1].ngram", "order is 1", [&](RowEdit& e) { ngram(e, {{5}, 0, {}}); });
  add("edits[1].ngram", "order is 9", [&](RowEdit& e) { ngram(e, {{5, 6}, 9, {}}); });
  add("edits[1].ngram", "has 2 tokens", [&](RowEdit& e) { ngram(e, {{5, 6}, 3, {}}); });
  add("edits[1].ngram", "token -1", [&](RowEdit& e) { ngram(e, {{5, -1}, 0, {}}); });
  add("edits[1].ngram", "token 99999", [&](RowEdit& e) { ngram(e, {{5, 99999}, 0, {}}); });
  add("edits[1].heads", "head 99", [&](RowEdit& e) { ngram(e, {{5, 6}, 0, {99}}); });
  add("edits[1].heads", "twice", [&](RowEdit& e) { ngram(e, {{5, 6}, 0, {0, 0}}); });
  for (const Case& test : cases) {
    const auto answer = live.Commit({Edit(live, 0, 1.0f), test.edit});
    ASSERT_FALSE(answer) << test.field << " " << test.text;
    EXPECT_EQ(answer.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(answer.error().field, test.field) << answer.error().message;
    EXPECT_THAT(answer.error().message, HasSubstr(test.text));
  }
  const auto twice = live.Commit({Edit(live, 5, 1), Edit(live, 6, 1), Edit(live, 5, 2, RowEdit::Mode::kAdd)});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().field, "edits[2]");
  EXPECT_THAT(twice.error().message, HasSubstr("edits[0]"));
  EXPECT_FALSE(live.Commit(std::vector<RowEdit>{}));
  CommitRequest long_note;
  long_note.edits = {edit()};
  long_note.note = std::string(5000, 'x');
  EXPECT_EQ(live.Commit(long_note).error().field, "note");
  long_note.note = "\xff";
  EXPECT_EQ(live.Commit(long_note).error().field, "note");
  EXPECT_EQ(live.live->status().version, 0u);  // nothing of it happened
}

TEST_F(LiveMemoryTest, StaleVersionsAndRepeatedRequests) {
  TestLive live(Options());
  CommitRequest request;
  request.edits = {Edit(live, 1, 1)};
  request.idempotency = IdempotencyKey{"k", Sha256Digest{1}};
  const auto first = live.Commit(request);
  const auto again = live.Commit(request);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(again->version, 1u);
  EXPECT_TRUE(again->repeated);
  EXPECT_FALSE(first->repeated);
  EXPECT_EQ(again->digest, first->digest);
  EXPECT_EQ(again->rows, 1u);
  request.idempotency->body = Sha256Digest{2};
  const auto other = live.Commit(request);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(other.error().field, "idempotency_key");
  request.idempotency.reset();
  request.if_version = 0;
  const auto stale = live.Commit(request);
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_EQ(stale.error().field, "if_version");
  EXPECT_EQ(live.live->Plan(request).error().field, "if_version");
  EXPECT_EQ(live.live->status().version, 1u);
}

TEST_F(LiveMemoryTest, RollbackBringsBackRowsAndTheBase) {
  TestLive live(Options());
  const Tables before = ReadTables(*live.memory);
  ASSERT_TRUE(live.Commit({Edit(live, 1, 1), Edit(live, 2, 2)}));
  ASSERT_TRUE(live.Commit({Edit(live, 2, 3), Edit(live, 3, 3)}));
  const auto back = live.Rollback(1);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->version, 3u);
  EXPECT_EQ(back->rows, 2u);
  EXPECT_THAT(ReadRow(live, 2).state.values, Each(2.0f));
  EXPECT_EQ(ReadRow(live, 2).state.version, 3u);
  EXPECT_FALSE(ReadRow(live, 3).state.edited);
  ASSERT_TRUE(live.Rollback(0));
  EXPECT_EQ(live.live->status().edited_rows, 0u);
  EXPECT_EQ(ReadTables(*live.memory), before);
  ASSERT_TRUE(live.Rollback(2));
  EXPECT_THAT(ReadRow(live, 3).state.values, Each(3.0f));
  EXPECT_EQ(live.Rollback(2)->rows, 0u);
  EXPECT_EQ(live.Rollback(99).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(live.Rollback(99).error().field, "to");
  const auto commits = live.ListCommits(10).value();
  EXPECT_EQ(commits[0].kind, CommitKind::kRollback);
  EXPECT_EQ(commits[0].restores, 2u);
}

TEST_F(LiveMemoryTest, DiffShowsRowsBeforeAndAfter) {
  TestLive live(Options());
  ASSERT_TRUE(live.Commit({Edit(live, 5, 1), Edit(live, 2, 2)}));
  ASSERT_TRUE(live.Commit({Edit(live, 5, 3)}));
  ASSERT_TRUE(live.Rollback(0));
  auto diff = live.Diff({0, 2, 0, 10});
  ASSERT_TRUE(diff) << diff.error().message;
  EXPECT_EQ(diff->total, 2u);
  ASSERT_EQ(diff->rows.size(), 2u);
  EXPECT_EQ(diff->rows[0].row, 2u);
  EXPECT_EQ(diff->rows[1].row, 5u);
  EXPECT_FALSE(diff->rows[1].before.edited);
  EXPECT_THAT(diff->rows[1].after.values, Each(3.0f));
  EXPECT_EQ(diff->rows[1].after.version, 2u);
  EXPECT_EQ(diff->rows[0].after.version, 1u);
  diff = live.Diff({3, 1, 1, 10});  // backwards, the second row
  ASSERT_EQ(diff->rows.size(), 1u);
  EXPECT_EQ(diff->rows[0].row, 5u);
  EXPECT_FALSE(diff->rows[0].before.edited);
  EXPECT_EQ(diff->rows[0].before.values, ReadRow(live, 5).state.values);
  EXPECT_THAT(diff->rows[0].after.values, Each(1.0f));
  EXPECT_EQ(live.Diff({0, 9, 0, 10}).error().field, "to");
  EXPECT_EQ(live.Diff({9, 0, 0, 10}).error().field, "from");
  EXPECT_EQ(live.Diff({0, 1, 0, 0}).error().field, "limit");
}

TEST_F(LiveMemoryTest, PlanReportsAndWritesNothing) {
  TestLive live(Options());
  OverlayRequest overlay;
  overlay.name = "tenant";
  overlay.rows = {Edit(live, 9, 4)};
  ASSERT_TRUE(live.PutOverlay(overlay));
  dir_.Write("text.txt", "the cat sat on the mat\nthe cat ran\n\nthe cat sat again\n");
  const auto index = Await<NgramIndexReport>(
      [&](auto done) { live.live->IndexNgrams(dir_.path() / "text.txt", {}, std::move(done)); });
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(index->sample, 1);
  EXPECT_GT(index->ngrams, 5u);

  CommitRequest request;
  request.edits = {Edit(live, 9, 2), Edit(live, 8, 0)};
  const std::vector<int32_t> tokens = live.live->model().tokenizer->Encode("the cat", false).value();
  ASSERT_GE(tokens.size(), 2u);
  RowAddresser addresser(live.memory->geometry());
  std::vector<uint64_t> ids;
  live.memory->AppendRowIds(addresser, tokens, ids);
  const size_t columns = live.memory->geometry().num_columns;
  const size_t at = ids.size() - live.memory->layers().size() * columns + IdLayer(*live.memory, 0) * columns;
  request.edits[1].row = ids[at];  // the row of the last two tokens, head 0
  const auto plan = live.live->Plan(request);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_EQ(plan->rows.size(), 2u);
  EXPECT_EQ(plan->rows[0].row, 9u);
  EXPECT_THAT(plan->rows[0].overlays, ElementsAre("tenant"));
  EXPECT_NEAR(plan->rows[0].norm_after, 2 * std::sqrt(HeadDim(live)), 1e-6);
  EXPECT_EQ(plan->rows[1].edit, 1u);
  EXPECT_TRUE(plan->rows[1].overlays.empty());
  EXPECT_EQ(plan->rows_changed, 2u);
  ASSERT_GE(plan->ngrams.size(), 1u);
  EXPECT_EQ(plan->ngrams_found, plan->ngrams.size());
  EXPECT_EQ(plan->ngrams[0].count, 3u);
  EXPECT_EQ(plan->ngrams[0].tokens, std::vector<int32_t>(tokens.end() - 2, tokens.end()));
  // An n-gram that is named itself is no surprise.
  request.edits[1].row.reset();
  request.edits[1].ngram = RowEdit::Ngram{tokens, 2, {0}};
  EXPECT_EQ(live.live->Plan(request)->ngrams_found, plan->ngrams_found - 1);
  EXPECT_EQ(live.live->status().version, 0u);
  EXPECT_EQ(
      Await<NgramIndexReport>([&](auto done) { live.live->IndexNgrams(dir_.path() / "absent", {}, std::move(done)); })
          .error()
          .field,
      "text");
}

TEST_F(LiveMemoryTest, WithoutAStateDirectoryNothingIsKept) {
  LiveMemoryOptions options;
  {
    TestLive live(options);
    EXPECT_FALSE(live.live->status().durable);
    ASSERT_TRUE(live.Commit({Edit(live, 1, 1)}));
    ASSERT_TRUE(live.Rollback(0));
    EXPECT_EQ(live.Verify()->commits_checked, 2u);
    EXPECT_EQ(live.Compact().error().code, ErrorCode::kFailedPrecondition);
  }
  TestLive live(options);
  EXPECT_EQ(live.live->status().version, 0u);
}

TEST_F(LiveMemoryTest, AFullQueueRefusesAndStopAnswersEverything) {
  LiveMemoryOptions options = Options();
  options.max_queued = 2;
  TestLive live(options);
  std::latch entered(1);
  std::latch leave(1);
  live.live->Post(
      [&](Journal&) {
        entered.count_down();
        leave.wait();
      },
      [](Error error) { ADD_FAILURE() << error.message; });
  entered.wait();
  CommitRequest request;
  request.edits = {Edit(live, 1, 1)};
  std::vector<std::future<Result<CommitAnswer>>> answers;
  for (int i = 0; i < 3; ++i) {
    auto promise = std::make_shared<std::promise<Result<CommitAnswer>>>();
    answers.push_back(promise->get_future());
    live.live->Commit(request, [promise](Result<CommitAnswer> answer) { promise->set_value(std::move(answer)); });
  }
  EXPECT_EQ(answers[2].get().error().code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(live.live->status().queued, 2u);
  leave.count_down();
  live.live->Stop();
  EXPECT_EQ(answers[0].get()->version, 1u);
  EXPECT_EQ(answers[1].get()->version, 2u);
  EXPECT_EQ(live.Commit(request).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(live.Compact().error().code, ErrorCode::kUnavailable);
}

TEST_F(LiveMemoryTest, RefusesAnotherModelUnderTheSameName) {
  {
    TestLive live(Options());
    ASSERT_TRUE(live.Commit({Edit(live, 1, 1)}));
  }
  const fs::path other = kVectors / "models/dense-paper-hc4";
  LiveModel model;
  model.name = "test";
  model.memory = OpenMemory(OptionsFor(other, ReadJson(other / "config.json").at("engram")));
  const auto refused = LiveMemory::Open(Options(), model);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_THAT(refused.error().message, HasSubstr("other tables"));
  model.name = "other";
  TestLive live(Options(), model);
  EXPECT_EQ(live.live->status().version, 0u);
}

TEST_F(LiveMemoryTest, APlainModelHasAJournalToo) {
  TestLive live(Options(), LiveModel{"plain", nullptr, nullptr});
  EXPECT_FALSE(live.live->status().has_memory);
  EXPECT_EQ(live.Rollback(0).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(live.live->ReadRows(1, {}, {}).error().code, ErrorCode::kUnsupported);
  std::promise<bool> added;
  live.live->Post(
      [&](Journal& journal) {
        added.set_value(journal.AddAudit({0, 1, "a", "b", "c"}).has_value());
      },
      [](Error error) { ADD_FAILURE() << error.message; });
  EXPECT_TRUE(added.get_future().get());
}

TEST_F(LiveMemoryTest, DiskErrorsAreToldAndTheServiceGoesOn) {
  FaultVfs vfs("live_memory_test_faults");
  LiveMemoryOptions options = Options();
  options.sqlite_vfs = vfs.name();
  uint64_t version = 0;
  uint64_t refused = 0;
  {
    TestLive live(options);
    for (int at = 0; at < 12; ++at) {
      for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
        vfs.Arm(at, code, /*lasting=*/false);
        for (int i = 0; i < 2; ++i) {
          const auto answer = live.Commit({Edit(live, static_cast<uint64_t>(i), static_cast<float>(at + 1))});
          if (answer) {
            version = answer->version;
          } else {
            ++refused;
            EXPECT_THAT(answer.error().code, AnyOf(ErrorCode::kOutOfSpace, ErrorCode::kIo));
            EXPECT_THAT(answer.error().message, HasSubstr("journal.sqlite"));
          }
          EXPECT_EQ(live.live->status().version, version);
        }
      }
    }
    vfs.Disarm();
    EXPECT_GT(refused, 5u);
    EXPECT_EQ(live.Commit({Edit(live, 3, 1)})->version, version + 1);
  }
  TestLive live(options);
  EXPECT_EQ(live.live->status().version, version + 1);
  EXPECT_FALSE(live.Verify()->bad_version.has_value());
}

}  // namespace
}  // namespace engram
