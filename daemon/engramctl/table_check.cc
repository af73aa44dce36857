// SPDX-License-Identifier: Apache-2.0
// table verify and table inspect.
#include <boost/json.hpp>
#include <cstdio>

#include "engramctl/table_commands.h"
#include "memory/packed_table.h"

namespace engram {

namespace json = boost::json;

int TableVerify(const Arguments&, const std::string& file) {
  const auto table = PackedTable::Open(file);
  if (!table) return Report(table.error());
  const sdk::PackedTableInfo& info = (*table)->info();
  constexpr uint64_t kMostReports = 100;
  uint64_t reports = 0;
  auto found = [&] {
    Progress progress("verifying", info.file_bytes());
    return (*table)->Verify(
        [&](const std::string& text) {
          if (++reports > kMostReports) return;
          progress.Wipe();
          std::fprintf(stderr, "engramctl: %s\n", text.c_str());
        },
        [&](uint64_t pages) -> Status {
          progress.Show(pages * info.page_bytes);
          return {};
        });
  }();
  if (!found) return Report(found.error());
  if (found->damaged_pages > 0)
    return Report(DataLoss(file + ": " + std::to_string(found->damaged_pages) + " of " +
                           std::to_string(info.num_pages) + " pages are damaged"));
  if (found->content_checked && !found->content_matches)
    return Report(DataLoss(file +
                           ": every page is intact, but the rows do not have the content digest of the header, " +
                           HexText(info.content_digest)));
  std::printf("%s: layer %u, %llu rows, %llu pages: intact%s\n", file.c_str(), info.layer,
              static_cast<unsigned long long>(info.num_rows), static_cast<unsigned long long>(info.num_pages),
              found->content_checked ? ", content digest matches" : "; no content digest stated");
  return kDone;
}

int TableInspect(const Arguments& arguments, const std::string& file) {
  const auto table = PackedTable::Open(file);
  if (!table) return Report(table.error());
  const sdk::PackedTableInfo& info = (*table)->info();
  const auto digest = [](const sdk::PackedDigest& value) -> json::value {
    if (!IsStated(value)) return nullptr;
    return json::value(HexText(value));
  };
  const json::object fields = {{"version", sdk::kPackedVersion},
                               {"layer", info.layer},
                               {"num_rows", info.num_rows},
                               {"row_format", sdk::PackedFormatName(info.row_format)},
                               {"head_dim", info.head_dim},
                               {"row_bytes", info.row_bytes},
                               {"rows_per_page", info.rows_per_page},
                               {"page_bytes", info.page_bytes},
                               {"num_pages", info.num_pages},
                               {"file_bytes", info.file_bytes()},
                               {"holes", (info.flags & sdk::kPackedHoles) != 0},
                               // As text: above 2^53.
                               {"table_id", std::to_string(info.table_id)},
                               {"content_digest", digest(info.content_digest)},
                               {"hash_digest", digest(info.hash_digest)}};
  if (arguments.Has("json")) {
    std::printf("%s\n", json::serialize(fields).c_str());
    return kDone;
  }
  for (const auto& [name, value] : fields) {
    const std::string text = value.is_null()     ? "not stated"
                             : value.is_string() ? std::string(value.as_string())
                                                 : json::serialize(value);
    std::printf("%-15s %s\n", std::string(name).c_str(), text.c_str());
  }
  return kDone;
}

}  // namespace engram
