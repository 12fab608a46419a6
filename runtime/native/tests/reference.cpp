#include "reference.h"

#include <algorithm>
#include <cmath>

namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

class Reference {
 public:
  explicit Reference(const lanner::RandomModel& model) : model_(model), config_(model.config()) {}

  Rows run(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& types) {
    Rows rows = embed(ids, types);
    const std::uint32_t groups = config_.layer_groups ? config_.layer_groups : config_.layers;
    for (std::uint32_t i = 0; i < config_.layers; ++i)
      rows = layer(rows, "layer." + std::to_string(i * groups / config_.layers) + ".", i);
    if (config_.norm_place == LN_PRE_NORM) norm(rows, "final.norm");
    for (std::uint32_t j = 0; j <= config_.dense_layers; ++j) {
      if (j == config_.dense_before_pooling) rows = pool(rows);
      if (j == config_.dense_layers) break;
      const std::string name = "dense." + std::to_string(j);
      rows = product(rows, name, name);
      activate(rows, config_.dense_activation[j]);
      if (model_.find(name + ".norm.weight")) norm(rows, name + ".norm");
    }
    if (config_.normalize) {
      for (Row& row : rows) {
        double squares = 0;
        for (const double x : row) squares += x * x;
        for (double& x : row) x /= std::sqrt(squares);
      }
    }
    return rows;
  }

 private:
  // A tensor; empty if there is none.
  std::vector<double> values(const std::string& name) const {
    if (model_.find(name) == nullptr) return {};
    const ln_tensor& tensor = *model_.find(name);
    const std::size_t size = tensor.shape[0] * (tensor.rank == 2 ? tensor.shape[1] : 1);
    if (tensor.dtype == LN_F32) {
      const auto* data = static_cast<const float*>(tensor.data);
      return {data, data + size};
    }
    const auto* data = static_cast<const std::int8_t*>(tensor.data);
    return {data, data + size};
  }

  void add_row(Row& to, const std::string& table, std::size_t row) const {
    const double scale = model_.find(table + ".scales") ? values(table + ".scales")[row] : 1.0;
    const std::vector<double> rows = values(table + ".weight");
    for (std::size_t j = 0; j < to.size(); ++j) to[j] += scale * rows[row * to.size() + j];
  }

  Rows embed(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& types) const {
    Rows rows;
    const std::size_t width = config_.embedding_size ? config_.embedding_size : config_.hidden_size;
    std::size_t position = config_.position_offset;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Row row(width);
      add_row(row, "embeddings.word", static_cast<std::size_t>(ids[i]));
      if (model_.find("embeddings.type.weight"))
        add_row(row, "embeddings.type", static_cast<std::size_t>(types[i]));
      const bool padding = config_.padding_id >= 0 && ids[i] == config_.padding_id;
      if (config_.positions == LN_POSITIONS_ABSOLUTE)
        add_row(row, "embeddings.position", padding ? config_.position_offset - 1 : position++);
      rows.push_back(row);
    }
    if (model_.find("embeddings.norm.weight")) norm(rows, "embeddings.norm");
    if (width == config_.hidden_size) return rows;
    return product(rows, "embeddings.projection", "embeddings.projection");
  }

  void norm(Rows& rows, const std::string& name) const {
    const std::vector<double> weight = values(name + ".weight");
    Row bias = values(name + ".bias");
    bias.resize(weight.size());
    for (Row& row : rows) {
      double mean = 0, variance = 0;
      if (config_.norm == LN_NORM_LAYER)
        for (const double x : row) mean += x / static_cast<double>(row.size());
      for (const double x : row) variance += (x - mean) * (x - mean) / static_cast<double>(row.size());
      for (std::size_t j = 0; j < row.size(); ++j)
        row[j] = (row[j] - mean) / std::sqrt(variance + config_.norm_epsilon) * weight[j] + bias[j];
    }
  }

  // A row as the bytes that the engine multiplies.
  Row quantized(const Row& row, const std::string& input) const {
    double scale, zero;
    if (config_.scales == LN_SCALES_STATIC) {
      scale = values(input + ".input")[0];
      zero = values(input + ".input")[1];
    } else {
      const double low = std::min(0.0, *std::min_element(row.begin(), row.end()));
      const double high = std::max(0.0, *std::max_element(row.begin(), row.end()));
      scale = (high - low) / 255;
      zero = std::nearbyint(-low / scale);
    }
    Row result;
    for (const double x : row)
      result.push_back(
          (std::nearbyint(std::clamp(x / scale + zero, 0.0, 255.0)) - zero) * scale);
    return result;
  }

  // As bfloat16: 8 significant bits.
  static double rounded(double value) {
    int exponent;
    const double fraction = std::frexp(value, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
  }
  static Row rounded(Row row) {
    for (double& value : row) value = rounded(value);
    return row;
  }

  Rows product(const Rows& rows, const std::string& name, const std::string& input) const {
    const bool bytes = model_.find(name + ".weight")->dtype == LN_S8;
    const bool bf16 = config_.bf16 && !bytes && name.rfind("dense.", 0) != 0;
    const std::vector<double> weight =
        bf16 ? rounded(values(name + ".weight")) : values(name + ".weight");
    const std::size_t columns = model_.find(name + ".weight")->shape[1];
    Row bias = values(name + ".bias");
    bias.resize(columns);
    const std::vector<double> scales = bytes ? values(name + ".scales") : Row(columns, 1.0);
    Rows results;
    for (const Row& row : rows) {
      const Row x = bytes ? quantized(row, input) : bf16 ? rounded(row) : row;
      Row sums(columns);
      for (std::size_t k = 0; k < x.size(); ++k)
        for (std::size_t j = 0; j < columns; ++j)
          sums[j] += x[k] * weight[k * columns + j];
      for (std::size_t j = 0; j < columns; ++j) sums[j] = sums[j] * scales[j] + bias[j];
      results.push_back(sums);
    }
    return results;
  }

  static void activate(Rows& rows, std::uint32_t activation) {
    for (Row& row : rows) {
      for (double& x : row) {
        switch (activation) {
          case LN_ACTIVATION_GELU_ERF: x *= 0.5 * std::erfc(-x / std::sqrt(2.0)); break;
          case LN_ACTIVATION_GELU_TANH:
            x *= 0.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
            break;
          case LN_ACTIVATION_RELU: x = std::max(x, 0.0); break;
          case LN_ACTIVATION_SILU: x /= 1 + std::exp(-x); break;
          case LN_ACTIVATION_TANH: x = std::tanh(x); break;
          default: break;
        }
      }
    }
  }

  // transformers' MPNetEncoder.relative_position_bias
  double relative_bias(const std::vector<double>& table, std::ptrdiff_t distance,
                       std::size_t head) const {
    if (table.empty()) return 0;
    std::size_t bucket = distance > 0 ? config_.relative_buckets / 2 : 0;
    const std::size_t half = config_.relative_buckets / 2, exact = half / 2;
    const double n = std::abs(static_cast<double>(distance)), e = static_cast<double>(exact);
    if (n < e)
      bucket += static_cast<std::size_t>(n);
    else
      bucket += std::min(half - 1, exact + static_cast<std::size_t>(
                                               std::log(n / e) /
                                                   std::log(config_.relative_max_distance / e) *
                                                   static_cast<double>(half - exact) +
                                               1e-9));
    return table[bucket * config_.heads + head];
  }

  // Both values of each pair, turned by the angles of the token's position.
  void turn(Rows& rows, std::size_t heads, std::size_t layer) const {
    if (config_.rotary_tables == 0) return;
    const auto table = static_cast<std::size_t>(values("attention.rotary")[layer]);
    const Row cosine = values("rotary." + std::to_string(table) + ".cosine"),
              sine = values("rotary." + std::to_string(table) + ".sine");
    const std::size_t pairs = config_.rotary_pairs;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::size_t first = 0; first < heads * config_.head_size; first += config_.head_size) {
        for (std::size_t j = 0; j < pairs; ++j) {
          double& x = rows[i][first + (config_.rotary_neighbours ? 2 * j : j)];
          double& y = rows[i][first + (config_.rotary_neighbours ? 2 * j + 1 : pairs + j)];
          const double c = cosine[i * pairs + j], s = sine[i * pairs + j], turned = x * c - y * s;
          y = y * c + x * s;
          x = turned;
        }
      }
    }
  }

  bool sees(std::size_t i, std::size_t j, std::size_t layer) const {
    const Row windows = values("attention.windows");
    if (windows.empty() || windows[layer] == 0) return true;
    return std::abs(static_cast<double>(i) - static_cast<double>(j)) <= windows[layer];
  }

  Rows attention(const Rows& rows, const std::string& name, std::size_t layer) const {
    const std::string input = "layer." + std::to_string(layer) + ".attention";
    Rows query = product(rows, name + "query", input), key = product(rows, name + "key", input),
         value = product(rows, name + "value", input);
    const std::size_t shared = config_.key_value_heads ? config_.key_value_heads : config_.heads;
    turn(query, config_.heads, layer);
    turn(key, shared, layer);
    const std::vector<double> biases =
        config_.relative_buckets ? values("attention.relative_bias") : Row();
    Rows context(rows.size(), Row(query.front().size()));
    for (std::size_t head = 0; head < config_.heads; ++head) {
      const std::size_t first = head * config_.head_size;
      const std::size_t other = head / (config_.heads / shared) * config_.head_size;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        Row weights;
        double total = 0;
        for (std::size_t j = 0; j < rows.size(); ++j) {
          double score = 0;
          for (std::size_t d = 0; d < config_.head_size; ++d)
            score += query[i][first + d] * key[j][other + d];
          score = score / std::sqrt(config_.head_size) +
                  relative_bias(biases, static_cast<std::ptrdiff_t>(j) - static_cast<std::ptrdiff_t>(i),
                                head);
          weights.push_back(sees(i, j, layer) ? std::exp(score) : 0);
          total += weights.back();
        }
        for (std::size_t j = 0; j < rows.size(); ++j)
          for (std::size_t d = 0; d < config_.head_size; ++d)
            context[i][first + d] += weights[j] / total * value[j][other + d];
      }
    }
    return context;
  }

  static void add(Rows& to, const Rows& rows) {
    for (std::size_t i = 0; i < to.size(); ++i)
      for (std::size_t j = 0; j < to[i].size(); ++j) to[i][j] += rows[i][j];
  }

  Rows normed(Rows rows, const std::string& name) const {
    if (model_.find(name + ".weight")) norm(rows, name);
    return rows;
  }

  Rows layer(Rows rows, const std::string& w, std::size_t number) const {
    const std::string in = "layer." + std::to_string(number) + ".";
    const bool pre = config_.norm_place == LN_PRE_NORM;
    Rows from = pre ? normed(rows, w + "attention.norm") : rows;
    add(rows, product(attention(from, w + "attention.", number), w + "attention.output",
                      in + "attention.output"));
    if (!pre) norm(rows, w + "attention.norm");
    from = pre ? normed(rows, w + "norm") : rows;
    Rows inner = product(from, w + "intermediate", in + "intermediate");
    activate(inner, config_.activation);
    if (config_.gated) {
      const Rows up = product(from, w + "up", in + "intermediate");
      for (std::size_t i = 0; i < up.size(); ++i)
        for (std::size_t j = 0; j < up[i].size(); ++j) inner[i][j] *= up[i][j];
    }
    add(rows, product(inner, w + "output", in + "output"));
    if (!pre) norm(rows, w + "norm");
    return rows;
  }

  Rows pool(const Rows& rows) const {
    if (config_.pooling == LN_POOLING_NONE) return rows;
    Row pooled = rows.front();
    if (config_.pooling == LN_POOLING_CLS) return {pooled};
    for (std::size_t j = 0; j < pooled.size(); ++j) {
      for (std::size_t i = 1; i < rows.size(); ++i)
        pooled[j] = config_.pooling == LN_POOLING_MAX ? std::max(pooled[j], rows[i][j])
                                                      : pooled[j] + rows[i][j];
      if (config_.pooling == LN_POOLING_MEAN) pooled[j] /= static_cast<double>(rows.size());
    }
    return {pooled};
  }

  const lanner::RandomModel& model_;
  const ln_config& config_;
};

}  // namespace

std::vector<double> reference(const lanner::RandomModel& model, const std::vector<std::int32_t>& ids,
                              const std::vector<std::int32_t>& type_ids) {
  std::vector<double> flat;
  for (const Row& row : Reference(model).run(ids, type_ids))
    flat.insert(flat.end(), row.begin(), row.end());
  return flat;
}
