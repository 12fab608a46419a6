// Descriptions of every kind of encoder that the engine knows, small.
#pragma once

#include <string>
#include <vector>

#include "random_model.h"

struct Architecture {
  std::string name;
  ln_config config;
  lanner::RandomModel::Sizes sizes;
};

inline std::vector<Architecture> architectures() {
  const auto bert = [](std::uint32_t hidden, std::uint32_t heads, std::uint32_t head_size,
                       std::uint32_t inner) {
    ln_config config = lanner::RandomModel::bert(2, hidden, heads, head_size, inner);
    config.max_tokens = 600;
    return config;
  };
  std::vector<Architecture> all;
  all.push_back({"BERT", bert(64, 2, 32, 128), {60, 2, {}, LN_S8, LN_S8}});
  all.push_back({"BERT, head size 64", bert(128, 2, 64, 200), {60, 2, {}, LN_S8, LN_S8}});
  all.push_back({"BERT, odd widths", bert(78, 3, 26, 150), {60, 2, {}, LN_S8, LN_F32}});
  Architecture classifier{"BERT classifier", bert(64, 2, 32, 128), {60, 2, {64, 3}, LN_S8, LN_S8}};
  classifier.config.pooling = LN_POOLING_CLS;
  classifier.config.normalize = 0;
  classifier.config.dense_activation[0] = LN_ACTIVATION_TANH;
  all.push_back(classifier);
  Architecture tagger{"token classifier", bert(48, 3, 16, 96), {60, 0, {5}, LN_S8, LN_S8}};
  tagger.config.pooling = LN_POOLING_NONE;
  tagger.config.normalize = 0;
  tagger.config.activation = LN_ACTIVATION_RELU;
  all.push_back(tagger);
  Architecture roberta{"RoBERTa", bert(64, 2, 32, 128), {60, 1, {}, LN_S8, LN_F32}};
  roberta.config.position_offset = 2;
  roberta.config.padding_id = 1;
  roberta.config.activation = LN_ACTIVATION_GELU_TANH;
  all.push_back(roberta);
  Architecture mpnet{"MPNet", bert(96, 3, 32, 160), {60, 0, {}, LN_S8, LN_S8}};
  mpnet.config.position_offset = 2;
  mpnet.config.padding_id = 1;
  mpnet.config.relative_buckets = 32;
  mpnet.config.relative_max_distance = 128;
  mpnet.config.pooling = LN_POOLING_MAX;
  all.push_back(mpnet);
  Architecture albert{"ALBERT", bert(64, 1, 64, 128), {60, 2, {}, LN_S8, LN_S8}};
  albert.config.layers = 3;
  albert.config.layer_groups = 1;
  albert.config.embedding_size = 40;
  albert.config.activation = LN_ACTIVATION_SILU;
  all.push_back(albert);
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
