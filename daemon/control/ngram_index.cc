// SPDX-License-Identifier: Apache-2.0
#include "control/ngram_index.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <string>

#include "core/json_text.h"
#include "ngram/row_addresser.h"

namespace engram {
namespace {

constexpr size_t kMaxLineBytes = 64u << 10;

uint64_t HashOf(std::span<const int32_t> ids) {
  uint64_t hash = 0x243f6a8885a308d3u + ids.size();
  for (const int32_t id : ids) {
    hash = (hash ^ static_cast<uint32_t>(id)) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  hash *= 0xc4ceb9fe1a85ec53u;
  return hash ^ hash >> 29;
}

// A line without its end, at most kMaxLineBytes of it; the rest of a longer one is skipped. False at the end.
bool ReadLine(std::istream& in, std::string& line) {
  line.resize(kMaxLineBytes);
  in.getline(line.data(), static_cast<std::streamsize>(line.size()));
  const auto got = static_cast<size_t>(in.gcount());
  if (got == 0 && in.eof()) return false;
  const bool whole = !in.fail();
  line.resize(whole && !in.eof() ? got - 1 : got);
  if (!whole && !in.eof()) {
    in.clear();
    in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return true;
}

}  // namespace

Result<std::shared_ptr<const NgramIndex>> NgramIndex::Build(const std::filesystem::path& text_file,
                                                            const Tokenizer& tokenizer,
                                                            std::shared_ptr<const ModelMemory> memory,
                                                            size_t max_ngrams,
                                                            const std::function<Status(uint64_t, uint64_t)>& progress) {
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(text_file, error);
  std::ifstream in(text_file, std::ios::binary);
  if (error || !in) return NotFound("text: " + text_file.string() + " cannot be read", "text");
  std::shared_ptr<NgramIndex> index(new NgramIndex());
  const uint32_t max_order = memory->geometry().max_ngram_size;
  const CompressedMap& map = memory->compressed_map();
  std::map<uint64_t, Ngram> kept;  // by hash, ascending: the smallest ones
  std::string line;
  std::vector<int32_t> compressed;
  uint64_t bytes = 0;
  while (ReadLine(in, line)) {
    bytes += line.size() + 1;
    ENGRAM_CHECK_OK(progress(std::min(bytes, size), size));
    ENGRAM_TRY(const std::vector<int32_t> tokens, tokenizer.Encode(Utf8Lossy(line), false));
    index->tokens_ += tokens.size();
    compressed.clear();
    for (const int32_t token : tokens) compressed.push_back(map[token]);
    for (size_t end = 2; end <= tokens.size(); ++end) {
      for (size_t order = 2; order <= std::min<size_t>(max_order, end); ++order) {
        const uint64_t hash = HashOf(std::span(compressed).subspan(end - order, order));
        if (kept.size() >= max_ngrams && hash > kept.rbegin()->first) continue;
        Ngram& ngram = kept[hash];
        if (ngram.count++ == 0)
          ngram.tokens.assign(tokens.begin() + static_cast<ptrdiff_t>(end - order),
                              tokens.begin() + static_cast<ptrdiff_t>(end));
        if (kept.size() > max_ngrams) kept.erase(std::prev(kept.end()));
      }
    }
  }
  if (in.bad()) return IoError("text: " + text_file.string() + ": reading failed");
  // Hashes are spread evenly: the largest one kept tells which part of them all is below it.
  index->sample_ = kept.size() < max_ngrams || kept.empty()
                       ? 1
                       : static_cast<double>(kept.rbegin()->first) / static_cast<double>(UINT64_MAX);
  for (auto& [hash, ngram] : kept) index->ngrams_.push_back(std::move(ngram));
  index->memory_ = std::move(memory);
  return std::shared_ptr<const NgramIndex>(std::move(index));
}

std::vector<PlanReport::SharedNgram> NgramIndex::Reading(
    std::span<const std::unordered_set<uint64_t>> rows_by_layer_index, const std::vector<std::vector<int32_t>>& except,
    size_t limit, uint64_t& total) const {
  const Geometry& geometry = memory_->geometry();
  const CompressedMap& map = memory_->compressed_map();
  const size_t columns = geometry.num_columns;
  const std::vector<uint32_t>& layers = memory_->layers();
  std::vector<const std::unordered_set<uint64_t>*> rows_of;  // [geometry layers]
  for (const LayerGeometry& layer : geometry.layers)
    rows_of.push_back(&rows_by_layer_index[static_cast<size_t>(
        std::lower_bound(layers.begin(), layers.end(), layer.layer) - layers.begin())]);
  std::vector<PlanReport::SharedNgram> found;
  std::vector<uint64_t> ids;
  std::vector<int32_t> compressed;
  for (const Ngram& ngram : ngrams_) {
    ids.clear();
    RowAddresser addresser(geometry);
    memory_->AppendRowIds(addresser, ngram.tokens, ids);
    const size_t order = ngram.tokens.size();
    const size_t last = ids.size() - geometry.layers.size() * columns;
    uint64_t rows = 0;
    for (size_t l = 0; l < rows_of.size(); ++l)
      for (size_t h = 0; h < geometry.num_heads; ++h)
        rows += rows_of[l]->count(ids[last + l * columns + (order - 2) * geometry.num_heads + h]);
    if (rows == 0) continue;
    compressed.clear();
    for (const int32_t token : ngram.tokens) compressed.push_back(map[token]);
    if (std::find(except.begin(), except.end(), compressed) != except.end()) continue;
    found.push_back({ngram.tokens, ngram.count, rows});
  }
  total = found.size();
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  if (found.size() > limit) found.resize(limit);
  return found;
}

}  // namespace engram
