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

  // out = epilogue(rows x linear). The product after it has the weights `following`.
  void multiply(const Linear& linear, const Quantization& input, FloatRows rows, std::size_t count,
                Epilogue epilogue, FloatRows out, const Linear& following) {
    const std::size_t panels = linear.panels();
    if (!linear.bytes()) {
      each(panels, [&](const Share& share) {
        model_.kernels.float_product(rows, count, linear.float_weights(), share.begin, share.end,
                                     epilogue, out);
      });
      return;
    }
    const ByteRows bytes = scratch_.bytes(linear.depth());
    each(count, [&](const Share& share) {
      model_.kernels.quantize(rows_from(rows, share.begin), share.size(), linear.depth(), input,
                              rows_from(bytes, share.begin));
    });
    each(panels, [&](const Share& share) {
      const Linear& after = following.bytes() ? following : linear;
      const std::int8_t* next = share.next < panels
                                    ? linear.panel(share.next)
                                    : after.panel((share.next - panels) % panels * after.panels() / panels);
      model_.kernels.product(bytes, count, linear.byte_weights(), share.begin, share.end, next, epilogue,
                             out);
    });
  }

  void normalize(FloatRows rows, const NormWeights& weights, std::size_t width) {
    each(block_.tokens(), [&](const Share& share) {
      model_.kernels.norm(rows_from(rows, share.begin), share.size(), width, weights.view());
    });
  }

  void embed() {
    const std::size_t width = model_.embedding_width();
    const FloatRows sums = model_.has_projection ? scratch_.wide(width) : scratch_.hidden();
    each(block_.tokens(), [&](const Share& share) { embed(share, sums, width); });
    normalize(sums, model_.embedding_norm, width);
    if (model_.has_projection)
      multiply(model_.projection, model_.projection_input, sums, block_.tokens(), {},
               scratch_.hidden(), model_.layers.front().weights->query_key_value);
  }

  void embed(const Share& share, FloatRows sums, std::size_t width) const {
    const std::int32_t* starts = block_.batch->starts;
    std::size_t sequence = static_cast<std::size_t>(
        std::upper_bound(starts + block_.first, starts + block_.last,
                         static_cast<std::int32_t>(block_.begin() + share.begin)) -
        starts - 1);
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

  void run_layer(const Layer& layer, const Layer& next) {
    const LayerWeights& w = *layer.weights;
    const std::size_t tokens = block_.tokens();
    const FloatRows hidden = scratch_.hidden();
    const FloatRows heads = scratch_.wide(w.query_key_value.columns());
    const FloatRows context = scratch_.context(w.attention_output.depth());
    multiply(w.query_key_value, layer.attention_input, hidden, tokens, {}, heads,
             w.attention_output);
    each(block_.sequences() * model_.config.heads,
            [&](const Share& share) { attend(share, heads, context); });
    multiply(w.attention_output, layer.attention_output_input, context, tokens,
             {Activation::none, true}, hidden, w.intermediate);
    normalize(hidden, w.attention_norm, model_.hidden_width());
    const FloatRows inner = scratch_.wide(w.intermediate.columns());
    const auto activation = static_cast<Activation>(model_.config.activation);
    for (std::size_t row = 0; row < tokens; row += kInnerRows) {
      const std::size_t count = std::min(kInnerRows, tokens - row);
      const FloatRows part = rows_from(hidden, row);
      multiply(w.intermediate, layer.intermediate_input, part, count, {activation, false}, inner, w.output);
      multiply(w.output, layer.output_input, inner, count, {Activation::none, true}, part,
               row + count < tokens ? w.intermediate : next.weights->query_key_value);
    }
    normalize(hidden, w.norm, model_.hidden_width());
  }

  void attend(const Share& share, FloatRows heads, FloatRows context) const {
    const std::size_t width = model_.head_width(), all = model_.attention_width();
    for (std::size_t i = share.begin; i < share.end; ++i) {
      const std::size_t sequence = block_.first + i / model_.config.heads;
      const std::size_t head = i % model_.config.heads;
      const std::int32_t* starts = block_.batch->starts;
      const std::size_t row = static_cast<std::size_t>(starts[sequence]) - block_.begin();
      const float* query = heads.data + row * heads.stride + head * width;
      model_.kernels.attention({query, query + all, query + 2 * all, heads.stride,
                                static_cast<std::size_t>(starts[sequence + 1] - starts[sequence]),
                                width, model_.config.attention_scale, model_.relative_bias(head),
                                context.data + row * context.stride + head * width, context.stride,
                                scratch_.attention(share.rank)});
    }
  }

  void run_head(float* output) {
    const bool pooled = model_.config.pooling != LN_POOLING_NONE;
    const std::size_t count = pooled ? block_.sequences() : block_.tokens();
    FloatRows rows = scratch_.hidden();
    std::size_t turn = 0;
    if (pooled) {
      const FloatRows to = scratch_.head(turn++);
      const std::int32_t* starts = block_.batch->starts + block_.first;
      each(count, [&](const Share& share) {
        for (std::size_t i = share.begin; i < share.end; ++i)
          pool(static_cast<ln_pooling>(model_.config.pooling),
               rows_from(rows, static_cast<std::size_t>(starts[i]) - block_.begin()),
               static_cast<std::size_t>(starts[i + 1] - starts[i]), model_.hidden_width(),
               to.data + i * to.stride);
      });
      rows = to;
    }
    for (const Dense& dense : model_.dense) {
      const FloatRows to = scratch_.head(turn++ % 2);
      multiply(dense.linear, dense.input, rows, count, {dense.activation, false}, to,
               dense.linear);
      rows = to;
    }
    const std::size_t width = model_.output_size;
    const std::size_t first = pooled ? block_.first : block_.begin();
    for (std::size_t i = 0; i < count; ++i) {
      float* to = output + (first + i) * width;
      std::copy_n(rows.data + i * rows.stride, width, to);
      if (model_.config.normalize) divide_by_norm(to, width);
    }
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
