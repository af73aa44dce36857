// SPDX-License-Identifier: Apache-2.0
#include "access/access_store.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "access/key_secret.h"
#include "core/clock.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

Sha256Digest DigestOf(std::string_view secret) {
  Sha256 digest;
  digest.Update(secret);
  return digest.Finish();
}

class AccessStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(testing::TempDir()) /
                 ("access_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    options_.path = directory_ / "access.sqlite";
  }
  void TearDown() override { fs::remove_all(directory_); }
  void Open() {
    store_.reset();
    auto opened = AccessStore::Open(options_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
  }
  // The id of a new key.
  std::string Create(const std::string& name, std::vector<std::string> scopes) {
    const auto created = store_->Create({.name = name, .scopes = std::move(scopes)}, "test");
    EXPECT_TRUE(created) << created.error().message;
    return created ? created->key->id : "";
  }
  std::shared_ptr<const AccessKey> Find(std::string_view id) {
    for (const auto& key : store_->keys()->keys)
      if (key->id == id) return key;
    return nullptr;
  }
  AccessKey ConfigKey(const std::string& name) {
    AccessKey key;
    key.name = name;
    key.sha256 = DigestOf(name);
    key.scopes = ScopeBit(Scope::kOperate);
    return key;
  }

  fs::path directory_;
  AccessOptions options_;
  std::unique_ptr<AccessStore> store_;
};

TEST_F(AccessStoreTest, KeysOutliveTheStore) {
  Open();
  EXPECT_FALSE(store_->keys()->required);
  const NewKey wanted{.name = "ann",
                      .scopes = {"read", "operate"},
                      .overlays = {"tenant", "b.2"},
                      .requests_per_s = 0.5,
                      .tokens_per_s = 1000,
                      .expires_in_ms = 60'000};
  const auto created = store_->Create(wanted, "10.0.0.1");
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_TRUE(created->secret.starts_with("engram_"));
  EXPECT_EQ(created->secret.size(), 7u + 43u);
  Find(created->key->id)->last_used_ms->store(77);
  Open();
  EXPECT_TRUE(store_->keys()->required);
  ASSERT_EQ(store_->keys()->keys.size(), 1u);
  const AccessKey& key = *store_->keys()->keys[0];
  EXPECT_EQ(key.id, created->key->id);
  EXPECT_EQ(key.name, "ann");
  EXPECT_EQ(key.sha256, DigestOf(created->secret));
  EXPECT_EQ(ScopeNames(key.scopes), (std::vector<std::string>{"read", "operate"}));
  EXPECT_EQ(key.overlays, (std::vector<std::string>{"tenant", "b.2"}));
  EXPECT_EQ(key.requests_per_s, 0.5);
  EXPECT_EQ(key.tokens_per_s, 1000);
  EXPECT_EQ(key.prefix, created->secret.substr(0, 11));
  EXPECT_EQ(key.created_by, "10.0.0.1");
  EXPECT_EQ(key.expires_ms, key.created_ms + 60'000);
  EXPECT_EQ(key.last_used_ms->load(), 77);
  // The key itself is nowhere on the disk.
  for (const auto& entry : fs::directory_iterator(directory_)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(bytes.find(created->secret), std::string::npos) << entry.path();
  }
}

TEST_F(AccessStoreTest, NobodyLocksEverybodyOut) {
  Open();
  const auto first = store_->Create({.name = "reader", .scopes = {"read"}}, "test");
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, ErrorCode::kFailedPrecondition);
  EXPECT_FALSE(store_->keys()->required);
  const std::string boss = Create("boss", {"operate"});
  const std::string reader = Create("reader", {"read"});
  EXPECT_EQ(store_->Revoke(boss).error().code, ErrorCode::kFailedPrecondition);
  ASSERT_TRUE(store_->Revoke(reader));
  const std::string second = Create("second", {"operate", "read"});
  ASSERT_TRUE(store_->Revoke(boss));
  EXPECT_EQ(store_->Revoke(second).error().code, ErrorCode::kFailedPrecondition);
  // Once there were keys, one is needed, whatever became of them.
  Open();
  EXPECT_TRUE(store_->keys()->required);
}

TEST_F(AccessStoreTest, RevokingIsFinalAndFreesTheName) {
  Open();
  Create("boss", {"operate"});
  const std::string id = Create("ci", {"read"});
  EXPECT_EQ(store_->Create({.name = "ci", .scopes = {"read"}}, "test").error().code, ErrorCode::kFailedPrecondition);
  const auto revoked = store_->Revoke(id);
  ASSERT_TRUE(revoked);
  ASSERT_TRUE((*revoked)->revoked_ms);
  EXPECT_EQ((*store_->Revoke(id))->revoked_ms, (*revoked)->revoked_ms);
  EXPECT_EQ(store_->Revoke("key_none").error().code, ErrorCode::kNotFound);
  EXPECT_NE(Create("ci", {"read"}), id);
  Open();
  EXPECT_EQ(Find(id)->revoked_ms, (*revoked)->revoked_ms);
}

TEST_F(AccessStoreTest, WrongKeysAreNamed) {
  Open();
  const auto field_of = [&](NewKey key) {
    const auto created = store_->Create(key, "test");
    return created ? "created" : created.error().field;
  };
  EXPECT_EQ(field_of({.name = "", .scopes = {"operate"}}), "name");
  EXPECT_EQ(field_of({.name = " a", .scopes = {"operate"}}), "name");
  EXPECT_EQ(field_of({.name = std::string(65, 'a'), .scopes = {"operate"}}), "name");
  EXPECT_EQ(field_of({.name = "a\nb", .scopes = {"operate"}}), "name");
  EXPECT_EQ(field_of({.name = "a", .scopes = {}}), "scopes");
  EXPECT_EQ(field_of({.name = "a", .scopes = {"operate", "operate"}}), "scopes");
  EXPECT_EQ(field_of({.name = "a", .scopes = {"fly"}}), "scopes");
  EXPECT_EQ(field_of({.name = "a", .scopes = {"operate"}, .overlays = {"b", "b"}}), "overlays[1]");
  EXPECT_EQ(field_of({.name = "a", .scopes = {"operate"}, .overlays = {"a b"}}), "overlays[0]");
  EXPECT_EQ(field_of({.name = "a", .scopes = {"operate"}, .overlays = std::vector<std::string>(9, "x")}), "overlays");
  EXPECT_TRUE(store_->keys()->keys.empty());
}

TEST_F(AccessStoreTest, KeysOfTheSettingsStandBesideTheOthers) {
  options_.config_keys = {ConfigKey("boss")};
  Open();
  EXPECT_TRUE(store_->keys()->required);
  const std::string id = store_->keys()->keys[0]->id;
  EXPECT_EQ(store_->Revoke(id).error().code, ErrorCode::kFailedPrecondition);
  EXPECT_FALSE(store_->Create({.name = "boss", .scopes = {"read"}}, "test"));
  Create("reader", {"read"});
  Open();
  EXPECT_EQ(store_->keys()->keys[0]->id, id);
  EXPECT_EQ(store_->keys()->keys[1]->name, "reader");

  store_.reset();
  options_.config_keys = {ConfigKey("reader")};
  const auto clash = AccessStore::Open(options_);
  ASSERT_FALSE(clash);
  EXPECT_NE(clash.error().message.find("\"reader\""), std::string::npos);
  options_.config_keys = {ConfigKey("a"), ConfigKey("a")};
  EXPECT_EQ(AccessStore::Open(options_).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(AccessStoreTest, WithoutAFileNoKeyIsCreated) {
  options_.path.clear();
  Open();
  EXPECT_EQ(store_->Create({.name = "a", .scopes = {"operate"}}, "test").error().code, ErrorCode::kFailedPrecondition);
  store_->Record({.action = "POST /x"});
  EXPECT_EQ(store_->ListAudit({})->entries.size(), 1u);
}

TEST_F(AccessStoreTest, TellsOfChanges) {
  Open();
  int changes = 0;
  store_->Listen([&] {
    // Published before it is told, and nothing is held meanwhile.
    EXPECT_TRUE(store_->keys()->required);
    EXPECT_TRUE(store_->ListAudit({}));
    ++changes;
  });
  Create("boss", {"operate"});
  const std::string id = Create("reader", {"read"});
  EXPECT_TRUE(store_->Revoke(id));
  EXPECT_TRUE(store_->Revoke(id));  // nothing more
  EXPECT_EQ(changes, 3);
  store_->Listen(nullptr);
}

TEST_F(AccessStoreTest, AuditInPagesAndByKeyAndAction) {
  Open();
  for (int i = 0; i < 10; ++i) {
    store_->Record({.unix_ms = 1000 + i,
                    .key_id = i % 2 == 0 ? "key_1" : "key_2",
                    .key_name = i % 2 == 0 ? "ann" : "bob",
                    .address = "10.0.0.1",
                    .action = i < 5 ? "POST /admin/v1/commits" : "DELETE /admin/v1/keys/*",
                    .target = "t" + std::to_string(i),
                    .status = 200,
                    .detail = "d"});
  }
  const auto first = store_->ListAudit({.limit = 4});
  ASSERT_TRUE(first);
  ASSERT_EQ(first->entries.size(), 4u);
  EXPECT_EQ(first->entries[0].target, "t9");
  EXPECT_EQ(first->entries[0].unix_ms, 1009);
  EXPECT_EQ(first->entries[0].key_name, "bob");
  EXPECT_EQ(first->entries[0].detail, "d");
  ASSERT_TRUE(first->next_before);
  const auto second = store_->ListAudit({.limit = 6, .before = first->next_before});
  EXPECT_EQ(second->entries.size(), 6u);
  EXPECT_EQ(second->entries[0].target, "t5");
  EXPECT_FALSE(second->next_before);
  EXPECT_EQ(store_->ListAudit({.key = "ann"})->entries.size(), 5u);
  EXPECT_EQ(store_->ListAudit({.key = "key_2", .action = "delete"})->entries.size(), 3u);
  EXPECT_EQ(store_->ListAudit({.action = "100%"})->entries.size(), 0u);
  Open();
  EXPECT_EQ(store_->ListAudit({})->entries.size(), 10u);
}

TEST_F(AccessStoreTest, FailuresAreFewAndDoNotPushOutTheRest) {
  options_.retention.max_entries = 100;
  Open();
  store_->Record({.action = "POST /first", .status = 200});
  for (int i = 0; i < 1000; ++i) store_->RecordFailure({.action = "GET /x", .status = 401});
  // More than the burst only where this takes ten seconds or more.
  const size_t recorded = store_->ListAudit({.limit = 1000, .action = "GET /x"})->entries.size();
  EXPECT_LE(recorded, 200u);
  EXPECT_GE(recorded, 1u);

  // However many there are, they take a tenth.
  for (int i = 0; i < 90; ++i) store_->Record({.action = "GET /y", .status = 401});
  for (int i = 0; i < 20; ++i) store_->Record({.action = "POST /z", .status = 200});
  ASSERT_TRUE(store_->ListAudit({}));
  for (int i = 0; i < 20; ++i) store_->Record({.action = "POST /z", .status = 200});
  EXPECT_EQ(store_->ListAudit({.limit = 1000, .action = "POST /first"})->entries.size(), 1u);
  EXPECT_LE(store_->ListAudit({.limit = 1000, .action = "GET /"})->entries.size(), 10u);
  EXPECT_EQ(store_->ListAudit({.limit = 1000, .action = "POST /z"})->entries.size(), 40u);

  for (int i = 0; i < 1000; ++i) {
    store_->Record({.action = "POST /z", .status = 200});
    if (i % 50 == 0) {
      ASSERT_TRUE(store_->ListAudit({}));
    }
  }
  EXPECT_LE(store_->ListAudit({.limit = 1000})->entries.size(), 100u + 50u);
  EXPECT_EQ(store_->ListAudit({.limit = 1000, .action = "POST /first"})->entries.size(), 0u);
}

TEST_F(AccessStoreTest, OldEntriesGo) {
  options_.retention.max_age_ms = 3'600'000;
  Open();
  store_->Record({.unix_ms = 1, .action = "POST /old", .status = 200});
  store_->Record({.unix_ms = UnixMs(), .action = "POST /new", .status = 200});
  ASSERT_TRUE(store_->ListAudit({}));
  Open();  // the first entry after a start looks at what is kept
  store_->Record({.unix_ms = UnixMs(), .action = "POST /new", .status = 200});
  EXPECT_EQ(store_->ListAudit({})->entries.size(), 2u);
  EXPECT_EQ(store_->ListAudit({.action = "old"})->entries.size(), 0u);
}

TEST_F(AccessStoreTest, ForeignAndNewerFilesAreRefused) {
  std::ofstream(options_.path) << "no database, but long enough to look like one to whoever reads a header";
  EXPECT_FALSE(AccessStore::Open(options_));
  fs::remove(options_.path);
  {
    auto database = Database::Open({.path = options_.path});
    ASSERT_TRUE(database);
    ASSERT_TRUE((*database)->Execute("CREATE TABLE other (x)"));
  }
  EXPECT_EQ(AccessStore::Open(options_).error().code, ErrorCode::kDataLoss);
  fs::remove_all(directory_);
  fs::create_directories(directory_);
  Open();
  store_.reset();
  {
    auto database = Database::Open({.path = options_.path});
    ASSERT_TRUE(database);
    ASSERT_TRUE((*database)->Execute("PRAGMA user_version=99"));
  }
  EXPECT_EQ(AccessStore::Open(options_).error().code, ErrorCode::kFailedPrecondition);
}

TEST_F(AccessStoreTest, ManyThreadsAtOnce) {
  Open();
  Create("boss", {"operate"});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 20; ++i) {
        const auto created =
            store_->Create({.name = std::to_string(t) + "." + std::to_string(i), .scopes = {"read"}}, "test");
        ASSERT_TRUE(created);
        store_->Record({.action = "POST /x", .status = 200});
        ASSERT_TRUE(store_->Revoke(created->key->id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->keys()->keys.size(), 81u);
  EXPECT_EQ(store_->ListAudit({.limit = 1000})->entries.size(), 80u);
}

TEST(KeySecret, IsRandom) {
  const auto one = NewKeySecret(), other = NewKeySecret();
  ASSERT_TRUE(one && other);
  EXPECT_NE(*one, *other);
  EXPECT_EQ(one->find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
            std::string::npos);
}

}  // namespace
}  // namespace engram
