// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer_file.h"

#include <boost/json.hpp>
#include <string>
#include <utility>

#include "core/json_text.h"
#include "text/byte_level.h"

namespace engram {
namespace {

namespace json = boost::json;

// The deepest released files nest seven levels.
constexpr size_t kMaxJsonDepth = 64;
constexpr size_t kMaxComponents = 32;
constexpr std::string_view kNotAnId = "must be a token id, an integer from 0 to 16777215";

std::string_view View(const json::string& text) {
  return {text.data(), text.size()};
}
// A token for an error message.
std::string Quoted(std::string_view token) {
  return JsonQuote(token.substr(0, 80));
}

Status ParseVocabulary(const Fields& model, TokenizerParts& parts) {
  ENGRAM_TRY(const json::object* vocab, model.Object("vocab"));
  for (const json::key_value_pair& entry : *vocab) {
    const std::string_view token(entry.key().data(), entry.key().size());
    const std::optional<int32_t> id = TokenIdOf(entry.value());
    if (!id) return model.Wrong("vocab", "entry " + Quoted(token) + " " + std::string(kNotAnId));
    if (Status added = parts.vocabulary.Add(token, *id); !added) return std::move(added).error().At("model.vocab");
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto id = parts.vocabulary.Id(ByteLevelChar(static_cast<uint8_t>(byte)));
    if (id) parts.bpe.SetByte(static_cast<uint8_t>(byte), *id);
  }
  return {};
}

Status ParseMerges(const Fields& model, TokenizerParts& parts) {
  ENGRAM_TRY(const json::array* merges, model.Array("merges"));
  std::string joined;
  uint32_t rank = 0;
  for (size_t i = 0; i < merges->size(); ++i) {
    const json::value& merge = (*merges)[i];
    const std::string place = "merges[" + std::to_string(i) + "]";
    std::string_view left, right;
    if (const json::string* text = merge.if_string()) {
      const std::string_view line = View(*text);
      if (line.starts_with("#version")) continue;
      const size_t space = line.find(' ');
      if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
        return model.Wrong(place, "must be two tokens with one space between them");
      }
      left = line.substr(0, space);
      right = line.substr(space + 1);
    } else {
      const json::array* pair = merge.if_array();
      if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string()) {
        return model.Wrong(place, "must be a string or an array of two strings");
      }
      left = View((*pair)[0].get_string());
      right = View((*pair)[1].get_string());
    }
    joined.assign(left).append(right);
    const auto left_id = parts.vocabulary.Id(left), right_id = parts.vocabulary.Id(right);
    const auto joined_id = parts.vocabulary.Id(joined);
    if (!left_id || !right_id || !joined_id) {
      const std::string_view missing = !left_id ? left : !right_id ? right : std::string_view(joined);
      return model.Wrong(place, "names " + Quoted(missing) + ", which is not in model.vocab");
    }
    parts.bpe.AddMerge(*left_id, *right_id, {rank++, *joined_id});
  }
  return {};
}

Status ParseModel(const Fields& document, TokenizerParts& parts) {
  ENGRAM_TRY(const Fields model, document.Child("model"));
  if (model.Find("type") != nullptr) {  // absent in old files
    ENGRAM_TRY(const std::string_view type, model.String("type"));
    if (type != "BPE") return Unsupported("model: " + std::string(type) + " is not supported", "model.type");
  }
  for (std::string_view key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"}) {
    ENGRAM_CHECK_OK(model.MustBeUnset(key));
  }
  ENGRAM_CHECK_OK(ParseVocabulary(model, parts));
  ENGRAM_CHECK_OK(ParseMerges(model, parts));
  ENGRAM_TRY(const bool ignore_merges, model.Bool("ignore_merges", false));
  if (ignore_merges) {
    for (int32_t id = 0; id < parts.vocabulary.size(); ++id) {
      if (std::optional<std::string> bytes = BytesOfByteLevel(parts.vocabulary.Token(id)); bytes && !bytes->empty()) {
        parts.bpe.AddWholeWord(std::move(*bytes), id);
      }
    }
  }
  ENGRAM_TRY(const bool fuse_unknown, model.Bool("fuse_unk", false));
  if (model.Find("unk_token") != nullptr) {
    ENGRAM_TRY(const std::string_view unknown, model.String("unk_token"));
    if (!unknown.empty()) {
      const auto id = parts.vocabulary.Id(unknown);
      if (!id) return model.Wrong("unk_token", Quoted(unknown) + " is not in model.vocab");
      parts.bpe.SetUnknown(*id, fuse_unknown);
    }
  }
  return {};
}

Status ParseAddedTokens(const Fields& document, TokenizerParts& parts) {
  if (document.Find("added_tokens") == nullptr) return {};
  ENGRAM_TRY(const std::vector<Fields> tokens, document.Children("added_tokens", kMaxTokenId));
  RegexScratch scratch;
  for (const Fields& fields : tokens) {
    AddedToken token;
    ENGRAM_TRY(token.content, fields.String("content"));
    if (token.content.empty()) continue;  // the original ignores these too
    const json::value* id_value = fields.Find("id");
    const std::optional<int32_t> id = id_value == nullptr ? std::nullopt : TokenIdOf(*id_value);
    if (!id) return fields.Wrong("id", kNotAnId);
    token.id = *id;
    ENGRAM_TRY(token.special, fields.Bool("special", false));
    ENGRAM_TRY(token.normalized, fields.Bool("normalized", !token.special));
    ENGRAM_TRY(token.single_word, fields.Bool("single_word", false));
    ENGRAM_TRY(token.lstrip, fields.Bool("lstrip", false));
    ENGRAM_TRY(token.rstrip, fields.Bool("rstrip", false));
    if (token.content.size() > AddedTokens::kMaxContentBytes) {
      return Unsupported(fields.PathOf("content") + ": a token of more than 1024 bytes is not supported");
    }
    if (const auto known = parts.vocabulary.Id(token.content)) {
      if (*known != token.id) {
        return fields.Wrong("id", "is " + std::to_string(token.id) + ", but " + Quoted(token.content) +
                                      " already has " + std::to_string(*known));
      }
    } else if (Status added = parts.vocabulary.Add(token.content, token.id); !added) {
      return std::move(added).error().At(fields.PathOf("id"));
    }
    if (token.special) parts.vocabulary.MarkSpecial(token.id);
    if (token.normalized) {
      ENGRAM_TRY(const std::string content, parts.normalizer.Apply(token.content, scratch));
      if (content.size() > AddedTokens::kMaxContentBytes) {
        return Unsupported(fields.PathOf("content") + ": more than 1024 bytes once normalised are not supported");
      }
      parts.normalized_added_tokens.Add(token, content);
      parts.vocabulary.SetText(token.id, content);  // the original decodes to what it looks for
    } else {
      parts.raw_added_tokens.Add(token, token.content);
    }
  }
  return {};
}

// The ids of one special token of a template.
Result<std::vector<int32_t>> TemplateIds(const Fields& processor, std::string_view name, const TokenizerParts& parts) {
  ENGRAM_TRY(const Fields tokens, processor.Child("special_tokens"));
  ENGRAM_TRY(const Fields token, tokens.Child(name));
  ENGRAM_TRY(const json::array* array, token.Array("ids"));
  if (array->size() > kMaxComponents) return token.Wrong("ids", "has more than 32 elements");
  std::vector<int32_t> ids;
  for (const json::value& value : *array) {
    const std::optional<int32_t> id = TokenIdOf(value);
    if (!id || parts.vocabulary.Token(*id).empty()) return token.Wrong("ids", "must be ids of tokens");
    ids.push_back(*id);
  }
  return ids;
}

Status AddTemplate(const Fields& processor, TokenizerParts& parts) {
  ENGRAM_TRY(const std::vector<Fields> pieces, processor.Children("single", kMaxComponents));
  std::vector<int32_t> before, after;
  bool has_text = false;
  for (const Fields& piece : pieces) {
    if (piece.Find("Sequence") != nullptr) {
      ENGRAM_TRY(const Fields sequence, piece.Child("Sequence"));
      ENGRAM_TRY(const std::string_view which, sequence.String("id"));
      if (which != "A") return sequence.Wrong("id", "must be \"A\" in a template for one text");
      if (has_text) return Unsupported(piece.path() + ": a template that repeats the text is not supported");
      has_text = true;
      continue;
    }
    ENGRAM_TRY(const Fields special, piece.Child("SpecialToken"));
    ENGRAM_TRY(const std::string_view name, special.String("id"));
    ENGRAM_TRY(const std::vector<int32_t> ids, TemplateIds(processor, name, parts));
    std::vector<int32_t>& side = has_text ? after : before;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (!has_text) return Unsupported(processor.PathOf("single") + ": a template without the text is not supported");
  parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
  parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
  return {};
}

Status AddPostProcessor(const Fields& processor, TokenizerParts& parts) {
  ENGRAM_TRY(const std::string_view type, processor.String("type"));
  if (type == "ByteLevel") return {};  // changes offsets only
  if (type == "TemplateProcessing") return AddTemplate(processor, parts);
  if (type == "Sequence") {
    ENGRAM_TRY(const std::vector<Fields> children, processor.Children("processors", kMaxComponents));
    for (const Fields& child : children) ENGRAM_CHECK_OK(AddPostProcessor(child, parts));
    return {};
  }
  return Unsupported(processor.path() + ": post-processor " + std::string(type) + " is not supported",
                     processor.path());
}

Status CheckDecoder(const Fields& document) {
  if (document.Find("decoder") == nullptr) {
    return Unsupported("decoder is null: only ByteLevel is supported", "decoder");
  }
  ENGRAM_TRY(const Fields decoder, document.Child("decoder"));
  ENGRAM_TRY(const std::string_view type, decoder.String("type"));
  if (type == "ByteLevel") return {};
  if (type != "Sequence") {
    return Unsupported("decoder: " + std::string(type) + " is not supported", "decoder");
  }
  ENGRAM_TRY(const std::vector<Fields> children, decoder.Children("decoders", kMaxComponents));
  for (size_t i = 0; i < children.size(); ++i) {
    ENGRAM_TRY(const std::string_view name, children[i].String("type"));
    // ByteLevel leaves one string, which Fuse after it does not change.
    if (name != (i == 0 ? "ByteLevel" : "Fuse")) {
      return Unsupported(children[i].path() + ": decoder " + std::string(name) + " is not supported here",
                         children[i].path());
    }
  }
  if (children.empty()) return Unsupported("decoder: an empty Sequence is not supported", "decoder");
  return {};
}

}  // namespace

Result<TokenizerParts> ParseTokenizerFile(std::string_view text) {
  json::monotonic_resource memory;
  json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  json::parser parser(&memory, options);
  json::error_code error;
  const size_t num_read = parser.write(text.data(), text.size(), error);
  if (error.failed()) {
    return InvalidArgument("not valid JSON at byte " + std::to_string(num_read) + ": " + error.message());
  }
  const json::value value = parser.release();
  ENGRAM_TRY(const Fields document, Fields::Of(value, ""));
  ENGRAM_TRY(Normalizer normalizer, Normalizer::Parse(document));
  ENGRAM_TRY(PreTokenizer pre_tokenizer, PreTokenizer::Parse(document));
  TokenizerParts parts{.normalizer = std::move(normalizer), .pre_tokenizer = std::move(pre_tokenizer)};
  ENGRAM_CHECK_OK(CheckDecoder(document));
  ENGRAM_CHECK_OK(ParseModel(document, parts));
  ENGRAM_CHECK_OK(ParseAddedTokens(document, parts));
  if (document.Find("post_processor") != nullptr) {
    ENGRAM_TRY(const Fields processor, document.Child("post_processor"));
    ENGRAM_CHECK_OK(AddPostProcessor(processor, parts));
  }
  return parts;
}

}  // namespace engram
