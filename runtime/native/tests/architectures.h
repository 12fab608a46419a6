// Descriptions of every kind of encoder that the engine knows, small.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "random_model.h"

struct Architecture {
  std::string name;
  ln_config config;
  lanner::RandomModel::Sizes sizes;
};

// Two layers; long enough for several blocks.
inline ln_config small_bert(std::uint32_t hidden, std::uint32_t heads, std::uint32_t head_size,
                            std::uint32_t inner) {
  ln_config config = lanner::RandomModel::bert(2, hidden, heads, head_size, inner);
  config.max_tokens = 600;
  return config;
}

// Each of them once more with static scales, and with weights in fp32.
inline std::vector<Architecture> in_all_precisions(std::vector<Architecture> all) {
  for (std::size_t i = 0, count = all.size(); i < count; ++i) {
    Architecture with_static = all[i], with_floats = all[i];
    with_static.name += ", static scales";
    with_static.config.scales = LN_SCALES_STATIC;
    with_floats.name += ", fp32";
    with_floats.sizes.products = with_floats.sizes.tables = LN_F32;
    all.push_back(with_static);
    all.push_back(with_floats);
  }
  return all;
}

// With positions in a table, and norms after the parts of a layer.
inline std::vector<Architecture> bert_architectures() {
  std::vector<Architecture> all;
  all.push_back({"BERT", small_bert(64, 2, 32, 128), {60, 2, {}, LN_S8, LN_S8}});
  all.push_back({"BERT, head size 64", small_bert(128, 2, 64, 200), {60, 2, {}, LN_S8, LN_S8}});
  all.push_back({"BERT, odd widths", small_bert(78, 3, 26, 150), {60, 2, {}, LN_S8, LN_F32}});
  Architecture classifier{"BERT classifier", small_bert(64, 2, 32, 128), {60, 2, {64, 3}, LN_S8, LN_S8}};
  classifier.config.pooling = LN_POOLING_CLS;
  classifier.config.normalize = 0;
  classifier.config.dense_activation[0] = LN_ACTIVATION_TANH;
  all.push_back(classifier);
  Architecture tagger{"token classifier", small_bert(48, 3, 16, 96), {60, 0, {5}, LN_S8, LN_S8}};
  tagger.config.pooling = LN_POOLING_NONE;
  tagger.config.normalize = 0;
  tagger.config.activation = LN_ACTIVATION_RELU;
  all.push_back(tagger);
  Architecture roberta{"RoBERTa", small_bert(64, 2, 32, 128), {60, 1, {}, LN_S8, LN_F32}};
  roberta.config.position_offset = 2;
  roberta.config.padding_id = 1;
  roberta.config.activation = LN_ACTIVATION_GELU_TANH;
  all.push_back(roberta);
  Architecture mpnet{"MPNet", small_bert(96, 3, 32, 160), {60, 0, {}, LN_S8, LN_S8}};
  mpnet.config.position_offset = 2;
  mpnet.config.padding_id = 1;
  mpnet.config.relative_buckets = 32;
  mpnet.config.relative_max_distance = 128;
  mpnet.config.pooling = LN_POOLING_MAX;
  all.push_back(mpnet);
  Architecture albert{"ALBERT", small_bert(64, 1, 64, 128), {60, 2, {}, LN_S8, LN_S8}};
  albert.config.layers = 3;
  albert.config.layer_groups = 1;
  albert.config.embedding_size = 40;
  albert.config.activation = LN_ACTIVATION_SILU;
  all.push_back(albert);
  return in_all_precisions(std::move(all));
}

// With rotary positions, gates, windows, or norms before the parts of a layer.
inline std::vector<Architecture> rotary_architectures() {
  std::vector<Architecture> all;
  const auto rotary = [](ln_config config, std::uint32_t tables, std::uint32_t pairs) {
    config.positions = LN_POSITIONS_NONE;
    config.rotary_tables = tables;
    config.rotary_pairs = pairs;
    return config;
  };
  Architecture nomic{"NomicBERT", rotary(small_bert(64, 2, 32, 128), 1, 16), {60, 2}};
  nomic.config.gated = 1;
  nomic.config.activation = LN_ACTIVATION_SILU;
  nomic.sizes.biases = false;
  all.push_back(nomic);
  Architecture modern{"ModernBERT", rotary(small_bert(96, 3, 32, 160), 2, 16), {60, 0, {96, 3}}};
  modern.config.layers = 3;
  modern.config.norm_place = LN_PRE_NORM;
  modern.config.gated = 1;
  modern.config.pooling = LN_POOLING_CLS;
  modern.config.normalize = 0;
  modern.config.dense_activation[0] = LN_ACTIVATION_GELU_ERF;
  modern.sizes.biases = false;
  modern.sizes.dense_norms = true;
  modern.sizes.windows = {0.0f, 4.0f, 70.0f};
  all.push_back(modern);
  Architecture euro{"EuroBERT", rotary(small_bert(78, 6, 26, 150), 1, 13), {60, 0}};
  euro.config.key_value_heads = 2;
  euro.config.norm = LN_NORM_RMS;
  euro.config.norm_place = LN_PRE_NORM;
  euro.config.gated = 1;
  euro.config.activation = LN_ACTIVATION_SILU;
  euro.sizes.embedding_norm = euro.sizes.biases = false;
  all.push_back(euro);
  Architecture roformer{"RoFormer", rotary(small_bert(64, 2, 30, 128), 1, 12), {60, 2}};
  roformer.config.embedding_size = 40;
  roformer.config.rotary_neighbours = 1;
  all.push_back(roformer);
  Architecture megatron{"MegatronBERT", small_bert(64, 2, 32, 128), {60, 2}};
  megatron.config.norm_place = LN_PRE_NORM;
  megatron.config.pooling = LN_POOLING_NONE;
  megatron.sizes.embedding_norm = false;
  all.push_back(megatron);
  return in_all_precisions(std::move(all));
}

// Dense layers on each token, and then the mean: EuroBERT's classifier.
inline std::vector<Architecture> late_architectures() {
  Architecture late{"pooled late", small_bert(78, 3, 26, 150), {60, 0, {78, 30, 70}}};
  late.config.dense_before_pooling = 2;
  late.config.normalize = 0;
  late.config.dense_activation[0] = LN_ACTIVATION_GELU_ERF;
  return in_all_precisions({late});
}

inline std::vector<Architecture> architectures() {
  std::vector<Architecture> all = bert_architectures();
  for (const auto& others : {rotary_architectures(), late_architectures()})
    all.insert(all.end(), others.begin(), others.end());
  return all;
}

// Those in fp32 with products in bf16.
inline std::vector<Architecture> bf16_architectures() {
  std::vector<Architecture> found;
  for (Architecture& architecture : architectures()) {
    if (architecture.sizes.products != LN_F32) continue;
    architecture.name += " with products in bf16";
    architecture.config.bf16 = 1;
    found.push_back(std::move(architecture));
  }
  return found;
}
