// SPDX-License-Identifier: Apache-2.0
#include "http/commit_body.h"

#include <limits>

namespace engram {
namespace {

namespace json = boost::json;

constexpr size_t kMaxNoteBytes = 64u << 10;
constexpr size_t kMaxAuthorBytes = 255;

// "note" and "author", which commits and rollbacks share.
template <typename T>
void ReadDescription(JsonFields& fields, T& request) {
  request.note = fields.String("note", "");
  request.author = fields.String("author", "");
  if (request.note.size() > kMaxNoteBytes)
    fields.Fail("note", "must have at most " + std::to_string(kMaxNoteBytes) + " bytes");
  if (request.author.size() > kMaxAuthorBytes)
    fields.Fail("author", "must have at most " + std::to_string(kMaxAuthorBytes) + " bytes");
  request.if_version = JsonId(fields, "if_version");
}

}  // namespace

Result<CommitBody> ReadCommitFields(JsonFields& fields, const TokenReader& tokens, size_t max_edits) {
  CommitBody body;
  ReadDescription(fields, body.request);
  body.plan = fields.Bool("plan", false);
  const json::value* edits = fields.Value("edits");
  if (edits == nullptr) {
    fields.Fail("edits", "is required");
  } else if (!edits->is_array()) {
    fields.Fail("edits", std::string("must be a list of objects, not ") + JsonKindName(*edits));
  } else if (edits->get_array().empty()) {
    fields.Fail("edits", "must not be empty");
  } else if (edits->get_array().size() > max_edits) {
    fields.Fail("edits", "must have at most " + std::to_string(max_edits) + " items");
  }
  ENGRAM_CHECK_OK(fields.Finish());
  const json::array& items = edits->get_array();
  body.request.edits.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string path = "edits[" + std::to_string(i) + "]";
    if (!items[i].is_object()) return InvalidArgument(path + " must be an object, not " + JsonKindName(items[i]), path);
    ENGRAM_TRY(auto edit, ReadRowEdit(items[i].get_object(), path, tokens, true));
    body.request.edits.push_back(std::move(edit));
  }
  return body;
}

Result<RollbackRequest> ReadRollbackFields(JsonFields& fields) {
  RollbackRequest request;
  ReadDescription(fields, request);
  const auto to = JsonId(fields, "to");
  if (!to) fields.Fail("to", "is required");
  request.to = to.value_or(0);
  ENGRAM_CHECK_OK(fields.Finish());
  return request;
}

}  // namespace engram
