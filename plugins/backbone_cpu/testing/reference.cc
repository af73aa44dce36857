// SPDX-License-Identifier: Apache-2.0
//
// The forward pass of the whole family in double precision, all positions at once.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "testing/random_model.h"

namespace backbone_cpu::testing {

namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

double Sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}
double Silu(double x) {
  return x * Sigmoid(x);
}

class Reference {
 public:
  Reference(const RandomModel& model, const std::vector<int32_t>& tokens)
      : model_(model), spec_(model.spec), tokens_(tokens), count_(tokens.size()) {}

  ReferenceResult Run(bool memory_off) {
    const size_t d = spec_.hidden;
    for (const int32_t token : tokens_) {
      const auto begin = Values("model.embed_tokens.weight").begin() + token * static_cast<ptrdiff_t>(d);
      streams_.push_back(Rows(spec_.streams, Row(begin, begin + static_cast<ptrdiff_t>(d))));
    }
    for (uint32_t layer = 0; layer < spec_.layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      const bool has_memory = std::count(spec_.engram_layers.begin(), spec_.engram_layers.end(), layer) != 0;
      if (has_memory && !memory_off) Engram(layer, prefix + "engram.");
      Site(prefix + "attn_hc", prefix + "input_layernorm.weight", [&](const Rows& x) { return Attention(prefix, x); });
      const bool is_moe = spec_.experts != 0 && layer >= spec_.first_dense;
      Site(prefix + "mlp_hc", prefix + "post_attention_layernorm.weight", [&](const Rows& x) {
        Rows out;
        for (const Row& token : x) out.push_back(is_moe ? Moe(prefix + "mlp.", token) : Mlp(prefix + "mlp.", token));
        return out;
      });
      Rows hidden;
      Head(&hidden, &result_.lens.emplace_back());
    }
    Head(&result_.hidden, &result_.logits);
    return result_;
  }

 private:
  void Head(Rows* hidden, Rows* logits) const {
    for (size_t t = 0; t < count_; ++t) {
      Row x = streams_[t][0];
      if (spec_.streams > 1) x = Combine(Mix("model.hc_head", streams_[t]), streams_[t]);
      hidden->push_back(Norm(x, Values("model.norm.weight")));
      logits->push_back(Product(spec_.tie ? "model.embed_tokens.weight" : "lm_head.weight", hidden->back()));
    }
  }

  static double Length(const Row& x) {
    double sum = 0;
    for (const double value : x) sum += value * value;
    return std::sqrt(sum);
  }

  const Row& Values(const std::string& name) const { return model_.tensors.at(name).values; }

  Row Product(const std::string& name, const Row& x) const {
    const Row& w = Values(name);
    Row y(w.size() / x.size(), 0);
    for (size_t r = 0; r < y.size(); ++r) {
      for (size_t i = 0; i < x.size(); ++i) y[r] += w[r * x.size() + i] * x[i];
    }
    return y;
  }

  double InverseRms(const Row& x) const {
    double sum = 0;
    for (const double value : x) sum += value * value;
    return 1 / std::sqrt(sum / static_cast<double>(x.size()) + spec_.eps);
  }
  Row Norm(Row x, const Row& weight, size_t offset = 0) const {
    const double scale = InverseRms(x);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= scale * weight[offset + i];
    return x;
  }

  // pre, post and C (row-major), or pre alone for the head.
  Row Mix(const std::string& name, const Rows& streams) const {
    Row flat;
    for (const Row& stream : streams) flat.insert(flat.end(), stream.begin(), stream.end());
    const double scale = InverseRms(flat);
    for (double& value : flat) value *= scale;
    Row m = Product(name + ".fn", flat);
    const size_t s = spec_.streams;
    for (size_t i = 0; i < m.size(); ++i) {
      m[i] = m[i] * Values(name + ".scale")[i < s ? 0 : i < 2 * s ? 1 : 2] + Values(name + ".base")[i];
    }
    for (size_t i = 0; i < s; ++i) m[i] = Sigmoid(m[i]) + 1e-6;
    if (m.size() == s) return m;
    for (size_t i = s; i < 2 * s; ++i) m[i] = 2 * Sigmoid(m[i]);
    const auto c = [&](size_t row, size_t col) -> double& { return m[2 * s + row * s + col]; };
    for (size_t row = 0; row < s; ++row) {
      double sum = 0;
      for (size_t col = 0; col < s; ++col) sum += std::exp(c(row, col));
      for (size_t col = 0; col < s; ++col) c(row, col) = std::exp(c(row, col)) / sum + 1e-6;
    }
    for (uint32_t i = 0; i < 2 * spec_.sinkhorn_iterations - 1; ++i) {  // columns, then rows, columns, ..
      for (size_t line = 0; line < s; ++line) {
        double sum = 1e-6;
        for (size_t k = 0; k < s; ++k) sum += i % 2 == 0 ? c(k, line) : c(line, k);
        for (size_t k = 0; k < s; ++k) (i % 2 == 0 ? c(k, line) : c(line, k)) /= sum;
      }
    }
    return m;
  }
  Row Combine(const Row& mix, const Rows& streams) const {
    Row x(spec_.hidden, 0);
    for (size_t s = 0; s < streams.size(); ++s) {
      for (size_t i = 0; i < x.size(); ++i) x[i] += mix[s] * streams[s][i];
    }
    return x;
  }

  template <typename Function>
  void Site(const std::string& mix_name, const std::string& norm, const Function& function) {
    const size_t s = spec_.streams;
    Rows mixes;
    Rows inputs;
    for (const Rows& streams : streams_) {
      mixes.push_back(s > 1 ? Mix(mix_name, streams) : Row());
      inputs.push_back(Norm(s > 1 ? Combine(mixes.back(), streams) : streams[0], Values(norm)));
    }
    const Rows out = function(inputs);
    for (size_t t = 0; t < count_; ++t) {
      const Rows old = streams_[t];
      for (size_t k = 0; k < s; ++k) {
        for (size_t i = 0; i < spec_.hidden; ++i) {
          double sum = s > 1 ? mixes[t][s + k] * out[t][i] : out[t][i] + old[0][i];
          for (size_t j = 0; s > 1 && j < s; ++j) sum += mixes[t][2 * s + j * s + k] * old[j][i];
          streams_[t][k][i] = sum;
        }
      }
    }
  }

  double Frequency(size_t i) const {
    const double frequency = std::pow(spec_.rope_theta, -2.0 * static_cast<double>(i) / spec_.head_dim);
    if (spec_.rope.find("linear") != std::string::npos) return frequency / 4;
    if (spec_.rope.find("llama3") == std::string::npos) return frequency;
    // factor 8, low 1, high 4, original 32
    const double turns = 32 * frequency / (2 * std::numbers::pi);
    if (turns > 4) return frequency;
    if (turns < 1) return frequency / 8;
    const double blend = (turns - 1) / 3;
    return (1 - blend) * frequency / 8 + blend * frequency;
  }

  Rows Heads(const std::string& projection, const Row& x, uint32_t num_heads, const std::string& norm,
             size_t position) const {
    Row flat = Product(projection + "_proj.weight", x);
    if (spec_.qkv_bias) {
      for (size_t i = 0; i < flat.size(); ++i) flat[i] += Values(projection + "_proj.bias")[i];
    }
    Rows heads;
    for (size_t h = 0; h < num_heads; ++h) {
      const auto begin = flat.begin() + static_cast<ptrdiff_t>(h * spec_.head_dim);
      Row head(begin, begin + spec_.head_dim);
      if (!norm.empty()) {
        if (spec_.qk_norm) head = Norm(head, Values(norm));
        const size_t half = spec_.head_dim / 2;
        for (size_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(position) * Frequency(i);
          const double first = head[i];
          const double second = head[half + i];
          head[i] = first * std::cos(angle) - second * std::sin(angle);
          head[half + i] = second * std::cos(angle) + first * std::sin(angle);
        }
      }
      heads.push_back(head);
    }
    return heads;
  }

  Rows Attention(const std::string& prefix, const Rows& x) const {
    const std::string name = prefix + "self_attn.";
    std::vector<Rows> q, k, v;
    Rows out;
    for (size_t t = 0; t < count_; ++t) {
      q.push_back(Heads(name + "q", x[t], spec_.heads, name + "q_norm.weight", t));
      k.push_back(Heads(name + "k", x[t], spec_.kv_heads, name + "k_norm.weight", t));
      v.push_back(Heads(name + "v", x[t], spec_.kv_heads, "", t));
      Row attended;
      for (size_t h = 0; h < spec_.heads; ++h) {
        const size_t kv = h / (spec_.heads / spec_.kv_heads);
        Row scores(t + 1, 0);
        double sum = 0;
        for (size_t p = 0; p <= t; ++p) {
          for (size_t i = 0; i < spec_.head_dim; ++i) scores[p] += q[t][h][i] * k[p][kv][i];
          scores[p] = std::exp(scores[p] / std::sqrt(spec_.head_dim));
          sum += scores[p];
        }
        for (size_t i = 0; i < spec_.head_dim; ++i) {
          double value = 0;
          for (size_t p = 0; p <= t; ++p) value += scores[p] / sum * v[p][kv][i];
          attended.push_back(value);
        }
      }
      out.push_back(Product(name + "o_proj.weight", attended));
      if (spec_.output_bias) {
        for (size_t i = 0; i < spec_.hidden; ++i) out.back()[i] += Values(name + "o_proj.bias")[i];
      }
    }
    return out;
  }

  Row Mlp(const std::string& prefix, const Row& x) const {
    Row gate = Product(prefix + "gate_proj.weight", x);
    const Row up = Product(prefix + "up_proj.weight", x);
    for (size_t i = 0; i < gate.size(); ++i) gate[i] = Silu(gate[i]) * up[i];
    return Product(prefix + "down_proj.weight", gate);
  }

  Row Moe(const std::string& prefix, const Row& x) const {
    Row out(spec_.hidden, 0);
    if (spec_.shared_experts != 0) out = Mlp(prefix + "shared_experts.", x);
    Row probabilities = Product(prefix + "gate.weight", x);
    double sum = 0;
    for (double& p : probabilities) sum += p = std::exp(p);
    std::vector<std::pair<double, size_t>> order;
    for (size_t e = 0; e < spec_.experts; ++e) order.emplace_back(-probabilities[e] / sum, e);
    std::sort(order.begin(), order.end());
    double chosen = 0;
    for (size_t i = 0; i < spec_.experts_per_token; ++i) chosen -= order[i].first;
    for (size_t i = 0; i < spec_.experts_per_token; ++i) {
      const Row expert = Mlp(prefix + "experts." + std::to_string(order[i].second) + ".", x);
      const double weight = spec_.norm_topk ? -order[i].first / chosen : -order[i].first;
      for (size_t j = 0; j < out.size(); ++j) out[j] += weight * expert[j];
    }
    return out;
  }

  void Engram(uint32_t layer, const std::string& prefix) {
    const size_t d = spec_.hidden;
    const size_t columns = (spec_.max_ngram - 1) * spec_.engram_heads;
    const bool is_paper = spec_.variant == "paper";
    const std::vector<int64_t> rows = model_.addresser.Rows(layer, tokens_);
    const Row& table = Values(prefix + "embed.weight");
    const Row& key_norm = Values(prefix + (is_paper ? "key_norm.weight" : "k_weight"));
    const Row& query_norm = Values(prefix + (is_paper ? "query_norm.weight" : "q_weight"));
    Rows gates;
    std::vector<Rows> added;   // [T][S][d]: V
    std::vector<Rows> normed;  // rms(V)
    for (size_t t = 0; t < count_; ++t) {
      Row e;
      for (size_t c = 0; c < columns; ++c) {
        const auto begin = table.begin() + rows[t * columns + c] * spec_.engram_head_dim;
        e.insert(e.end(), begin, begin + spec_.engram_head_dim);
      }
      Row keys = Product(prefix + (is_paper ? "key_proj.weight" : "wkv.weight"), e);
      Row value;
      if (is_paper) {
        value = Product(prefix + "value_proj.weight", e);
      } else {
        value.assign(keys.end() - static_cast<ptrdiff_t>(d), keys.end());
      }
      gates.emplace_back();
      added.emplace_back();
      normed.emplace_back();
      for (size_t s = 0; s < spec_.streams; ++s) {
        const auto begin = keys.begin() + static_cast<ptrdiff_t>(s * d);
        const Row key = Norm(Row(begin, begin + static_cast<ptrdiff_t>(d)), key_norm, s * d);
        const Row query = Norm(streams_[t][s], query_norm, s * d);
        double dot = 0;
        for (size_t i = 0; i < d; ++i) dot += key[i] * query[i];
        dot /= std::sqrt(static_cast<double>(d));
        const double gate = Sigmoid(std::copysign(std::sqrt(std::max(std::fabs(dot), 1e-6)), dot));
        gates.back().push_back(gate);
        Row v = value;
        for (double& x : v) x *= gate;
        added.back().push_back(v);
        if (spec_.kernel != 0) normed.back().push_back(Norm(v, Values(prefix + "conv_norm.weight"), s * d));
      }
    }
    Rows& memory_norms = result_.memory_norms.emplace_back(count_);
    Rows& stream_norms = result_.stream_norms.emplace_back(count_);
    for (size_t t = 0; t < count_; ++t) {
      for (size_t s = 0; s < spec_.streams; ++s) {
        stream_norms[t].push_back(Length(streams_[t][s]));
        Row change(d, 0);
        for (size_t i = 0; i < d; ++i) {
          double sum = 0;
          for (size_t tap = 0; tap < spec_.kernel; ++tap) {
            const size_t back = (spec_.kernel - 1 - tap) * spec_.max_ngram;
            if (back > t) continue;
            sum += Values(prefix + "conv.weight")[(s * d + i) * spec_.kernel + tap] * normed[t - back][s][i];
          }
          change[i] = added[t][s][i] + (spec_.kernel != 0 ? Silu(sum) : 0);
          streams_[t][s][i] += change[i];
        }
        memory_norms[t].push_back(Length(change));
      }
    }
    result_.gates.push_back(gates);
  }

  const RandomModel& model_;
  const ModelSpec& spec_;
  const std::vector<int32_t>& tokens_;
  const size_t count_;
  std::vector<Rows> streams_;  // [T][S][d]
  ReferenceResult result_;
};

}  // namespace

ReferenceResult RunReference(const RandomModel& model, const std::vector<int32_t>& tokens, bool memory_off) {
  return Reference(model, tokens).Run(memory_off);
}

}  // namespace backbone_cpu::testing
