#include "encoder.h"

#include <algorithm>

#include "pooling.h"

namespace lanner {

namespace {

FloatRows rows_from(FloatRows rows, std::size_t first) {
  return {rows.data + first * rows.stride, rows.stride};
}

ByteRows rows_from(const ByteRows& rows, std::size_t first) {
  return {rows.data + first * rows.stride, rows.stride, rows.scales + first, rows.zero_pairs + first};
}

Bf16Rows rows_from(Bf16Rows rows, std::size_t first) {
  return {rows.data + first * rows.stride, rows.stride};
}

class Encoder {
 public:
  Encoder(const Model& model, const Block& block, const Scratch& scratch, const Team::Crew& crew)
      : model_(model), block_(block), scratch_(scratch), crew_(crew) {}

  void run(float* output) {
    embed();
    for (std::size_t i = 0; i < model_.layers.size(); ++i)
      run_layer(model_.layers[i], model_.layers[(i + 1) % model_.layers.size()]);
    run_head(output);
  }

 private:
  // A part for each thread: with more of them, taking them costs more than threads that end together
  // save (four a thread: 7 % of the time of a text of 14 tokens).
  template <class F>
  void each(std::size_t items, F&& work) const {
    crew_.each(items, crew_.size(), work);
  }

  // The rows that a product with `linear` reads, as bytes or bf16 if its weights are that.
  void convert(const Linear& linear, const Quantization& input, FloatRows rows, std::size_t count) const {
    if (linear.bytes()) {
      const ByteRows bytes = scratch_.bytes(linear.depth());
      each(count, [&](const Share& share) {
        model_.kernels.quantize(rows_from(rows, share.begin), share.size(), linear.depth(), input,
                                rows_from(bytes, share.begin));
      });
    } else if (linear.bf16()) {
      const Bf16Rows rounded = scratch_.bf16(linear.depth());
      each(count, [&](const Share& share) {
        model_.bf16->round(rows_from(rows, share.begin), share.size(), linear.depth(),
                           rows_from(rounded, share.begin));
      });
    }
  }

  // out = epilogue(rows x linear), of rows that were converted. The product after it has the weights
  // `following`.
  void product(const Linear& linear, FloatRows rows, std::size_t count, Epilogue epilogue, FloatRows out,
               const Linear& following) const {
    const std::size_t panels = linear.panels();
    each(panels, [&](const Share& share) {
      if (linear.bytes()) {
        const Linear& after = following.bytes() ? following : linear;
        const std::int8_t* next = share.next < panels ? linear.panel(share.next)
                                                      : after.panel(panel_after(share, panels, after));
        model_.kernels.product(scratch_.bytes(linear.depth()), count, linear.byte_weights(), share.begin,
                               share.end, next, epilogue, out);
      } else if (linear.bf16()) {
        const Linear& after = following.bf16() ? following : linear;
        const std::uint16_t* next = share.next < panels
                                        ? linear.bf16_panel(share.next)
                                        : after.bf16_panel(panel_after(share, panels, after));
        model_.bf16->product(scratch_.bf16(linear.depth()), count, linear.bf16_weights(), share.begin,
                             share.end, next, epilogue, out);
      } else {
        model_.kernels.float_product(rows, count, linear.float_weights(), share.begin, share.end,
                                     epilogue, out);
      }
    });
  }

  // The panel of the next product that this thread will read first, if it takes the same share of it.
  static std::size_t panel_after(const Share& share, std::size_t panels, const Linear& after) {
    return (share.next - panels) % panels * after.panels() / panels;
  }

  void multiply(const Linear& linear, const Quantization& input, FloatRows rows, std::size_t count,
                Epilogue epilogue, FloatRows out, const Linear& following) const {
    convert(linear, input, rows, count);
    product(linear, rows, count, epilogue, out, following);
  }

  void normalize(FloatRows rows, std::size_t count, const NormWeights& weights, FloatRows out) const {
    const std::size_t width = round_up(weights.width, kPanel);
    each(count, [&](const Share& share) {
      model_.kernels.norm(rows_from(rows, share.begin), share.size(), width, weights.view(),
                          rows_from(out, share.begin));
    });
  }

  void embed() {
    const std::size_t width = model_.embedding_width();
    const FloatRows sums = model_.has_projection ? scratch_.wide(width) : scratch_.hidden();
    each(block_.tokens(), [&](const Share& share) { embed(share, sums, width); });
    if (!model_.embedding_norm.empty()) normalize(sums, block_.tokens(), model_.embedding_norm, sums);
    if (model_.has_projection)
      multiply(model_.projection, model_.projection_input, sums, block_.tokens(), {},
               scratch_.hidden(), model_.layers.front().weights->query_key_value);
  }

  void embed(const Share& share, FloatRows sums, std::size_t width) const {
    const std::int32_t* starts = block_.batch->starts;
    std::size_t sequence = sequence_of(share.begin);
    for (std::size_t i = share.begin; i < share.end; ++i) {
      const std::size_t token = block_.begin() + i;
      while (token >= static_cast<std::size_t>(starts[sequence + 1])) ++sequence;
      float* row = sums.data + i * sums.stride;
      model_.words.copy_row(static_cast<std::size_t>(block_.batch->ids[token]), row);
      if (model_.types.rows()) {
        const std::int32_t* ids = block_.batch->type_ids;
        model_.types.add_row(ids ? static_cast<std::size_t>(ids[token]) : 0, row);
      }
      if (model_.positions.rows())
        model_.positions.add_row(position(static_cast<std::size_t>(starts[sequence]), token), row);
      std::fill(row + model_.config.embedding_size, row + width, 0.0f);
    }
  }

  std::size_t position(std::size_t start, std::size_t token) const {
    const ln_config& config = model_.config;
    if (config.padding_id < 0) return config.position_offset + token - start;
    const std::int32_t* ids = block_.batch->ids;
    if (ids[token] == config.padding_id) return config.position_offset - 1;
    const auto padding = std::count(ids + start, ids + token, config.padding_id);
    return config.position_offset + token - start - static_cast<std::size_t>(padding);
  }

  void run_layer(const Layer& layer, const Layer& next) const {
    const LayerWeights& w = *layer.weights;
    const std::size_t tokens = block_.tokens();
    const bool pre = model_.config.norm_place == LN_PRE_NORM;
    const FloatRows hidden = scratch_.hidden(), normed = pre ? scratch_.normed() : hidden;
    const FloatRows heads = scratch_.wide(w.query_key_value.columns());
    const FloatRows context = scratch_.context(w.attention_output.depth());
    const bool is_normed = pre && !w.attention_norm.empty();
    if (is_normed) normalize(hidden, tokens, w.attention_norm, normed);
    multiply(w.query_key_value, layer.attention_input, is_normed ? normed : hidden, tokens, {}, heads,
             w.attention_output);
    if (layer.rotary)
      each(tokens, [&](const Share& share) { turn(share, heads, *layer.rotary); });
    each(block_.sequences() * model_.config.heads,
         [&](const Share& share) { attend(share, layer.window, heads, context); });
    multiply(w.attention_output, layer.attention_output_input, context, tokens,
             {Activation::none, Merge::add}, hidden, w.intermediate);
    normalize(hidden, tokens, pre ? w.norm : w.attention_norm, normed);
    run_inner(layer, normed, hidden, next);
    if (!pre) normalize(hidden, tokens, w.norm, hidden);
  }

  // out += output(activation(intermediate(rows))), or the same with a gate.
  void run_inner(const Layer& layer, FloatRows rows, FloatRows out, const Layer& next) const {
    const LayerWeights& w = *layer.weights;
    const std::size_t tokens = block_.tokens();
    const bool gated = model_.config.gated;
    const FloatRows inner = scratch_.wide(w.intermediate.columns());
    const auto activation = static_cast<Activation>(model_.config.activation);
    for (std::size_t row = 0; row < tokens; row += kInnerRows) {
      const std::size_t count = std::min(kInnerRows, tokens - row);
      const FloatRows part = rows_from(rows, row);
      multiply(w.intermediate, layer.intermediate_input, part, count, {activation}, inner,
               gated ? w.up : w.output);
      if (gated) product(w.up, part, count, {Activation::none, Merge::multiply}, inner, w.output);
      multiply(w.output, layer.output_input, inner, count, {Activation::none, Merge::add},
               rows_from(out, row), row + count < tokens ? w.intermediate : next.weights->query_key_value);
    }
  }

  // The sequence of the token at `row` of the block.
  std::size_t sequence_of(std::size_t row) const {
    const std::int32_t* starts = block_.batch->starts;
    const auto token = static_cast<std::int32_t>(block_.begin() + row);
    return static_cast<std::size_t>(
        std::upper_bound(starts + block_.first, starts + block_.last, token) - starts - 1);
  }

  void turn(const Share& share, FloatRows heads, const RotaryTable& table) const {
    const ln_config& config = model_.config;
    const std::int32_t* starts = block_.batch->starts;
    std::size_t sequence = sequence_of(share.begin);
    for (std::size_t i = share.begin; i < share.end; ++i) {
      const std::size_t token = block_.begin() + i;
      while (token >= static_cast<std::size_t>(starts[sequence + 1])) ++sequence;
      const std::size_t at = (token - static_cast<std::size_t>(starts[sequence])) * table.half;
      float* row = heads.data + i * heads.stride;
      Rotation rotation = {config.heads, model_.head_width(), table.half, table.cosine.data() + at,
                           table.sine.data() + at};
      model_.kernels.rotate(row, rotation);
      rotation.heads = config.key_value_heads;
      model_.kernels.rotate(row + model_.query_width(), rotation);
    }
  }

  void attend(const Share& share, std::size_t window, FloatRows heads, FloatRows context) const {
    const ln_config& config = model_.config;
    const std::size_t width = model_.head_width(), queries = model_.query_width();
    const std::int32_t* starts = block_.batch->starts;
    for (std::size_t i = share.begin; i < share.end; ++i) {
      const std::size_t sequence = block_.first + i / config.heads, head = i % config.heads;
      const std::size_t shared = head * config.key_value_heads / config.heads;
      const std::size_t row = static_cast<std::size_t>(starts[sequence]) - block_.begin();
      const float* first = heads.data + row * heads.stride;
      const float* key = first + queries + shared * width;
      model_.kernels.attention({first + head * width, key, key + model_.key_width(), heads.stride,
                                static_cast<std::size_t>(starts[sequence + 1] - starts[sequence]),
                                width, config.attention_scale, model_.relative_bias(head), window,
                                context.data + row * context.stride + head * width, context.stride,
                                scratch_.attention(share.rank)});
    }
  }

  void run_head(float* output) {
    const bool pooled = model_.config.pooling != LN_POOLING_NONE;
    std::size_t count = block_.tokens(), columns = model_.hidden_width(), turn = 0;
    FloatRows rows = scratch_.hidden();
    if (!model_.final_norm.empty()) normalize(rows, count, model_.final_norm, rows);
    for (std::size_t j = 0; j <= model_.dense.size(); ++j) {
      if (pooled && j == model_.config.dense_before_pooling) {
        const FloatRows to = scratch_.head(turn++ % 2);
        pool_sequences(rows, columns, to);
        rows = to;
        count = block_.sequences();
      }
      if (j == model_.dense.size()) break;
      const Dense& dense = model_.dense[j];
      const FloatRows to = scratch_.head(turn++ % 2);
      multiply(dense.linear, dense.input, rows, count, {dense.activation}, to, dense.linear);
      if (!dense.norm.empty()) normalize(to, count, dense.norm, to);
      rows = to;
      columns = dense.linear.columns();
    }
    const std::size_t width = model_.output_size;
    const std::size_t first = pooled ? block_.first : block_.begin();
    for (std::size_t i = 0; i < count; ++i) {
      float* to = output + (first + i) * width;
      std::copy_n(rows.data + i * rows.stride, width, to);
      if (model_.config.normalize) divide_by_norm(to, width);
    }
  }

  void pool_sequences(FloatRows rows, std::size_t width, FloatRows out) const {
    const std::int32_t* starts = block_.batch->starts + block_.first;
    each(block_.sequences(), [&](const Share& share) {
      for (std::size_t i = share.begin; i < share.end; ++i)
        pool(static_cast<ln_pooling>(model_.config.pooling),
             rows_from(rows, static_cast<std::size_t>(starts[i]) - block_.begin()),
             static_cast<std::size_t>(starts[i + 1] - starts[i]), width, out.data + i * out.stride);
    });
  }

  const Model& model_;
  const Block& block_;
  const Scratch& scratch_;
  const Team::Crew& crew_;
};

}  // namespace

void encode(const Model& model, const Block& block, const Scratch& scratch, const Team::Crew& crew,
            float* output) {
  Encoder(model, block, scratch, crew).run(output);
}

}  // namespace lanner
