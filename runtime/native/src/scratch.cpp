#include "scratch.h"

#include <algorithm>

namespace lanner {

void Scratch::reserve(const Model& model, std::size_t rows, std::size_t longest,
                      std::size_t members) {
  if (rows <= rows_ && longest <= longest_ && members <= members_) return;
  rows = std::max(rows, rows_);
  longest = std::max(longest, longest_);
  members = std::max(members, members_);
  rows_ = longest_ = members_ = 0;  // until all of it is there: an allocation may fail

  const std::size_t all = round_up(rows, kSpareRows) + kSpareRows;
  const std::size_t inner = std::min(all, kInnerRows + kSpareRows);
  const std::size_t attention = model.query_width();
  const std::size_t inner_width = round_up(model.config.intermediate_size, kPanel);
  hidden_stride_ = model.hidden_width();
  head_stride_ = hidden_stride_;
  std::size_t depth = std::max({hidden_stride_, model.embedding_width(), attention});
  for (const Dense& dense : model.dense)
    head_stride_ = std::max(head_stride_, dense.linear.columns());
  depth = std::max(depth, head_stride_);
  const std::size_t bytes = std::max(all * depth, inner * inner_width);

  arena_ = std::make_unique<Arena>();
  hidden_ = arena_->take<float>(all * hidden_stride_);
  if (model.config.norm_place == LN_PRE_NORM) normed_ = arena_->take<float>(all * hidden_stride_);
  wide_ = arena_->take<float>(
      std::max({all * (attention + 2 * model.key_width()), inner * inner_width,
                                    all * model.embedding_width()}));
  context_ = arena_->take<float>(all * attention);
  for (auto& head : heads_) head = arena_->take<float>(all * head_stride_);
  element_bytes_ = model.kernels.element_bytes;
  bytes_ = arena_->take<std::uint8_t>(bytes * std::max(element_bytes_, std::size_t{model.bf16 ? 2u : 1u}));
  scales_ = arena_->take<float>(all);
  zero_pairs_ = arena_->take<std::int32_t>(all);
  attention_size_ = round_up(attention_workspace(longest, model.head_width()), kLanes);
  attention_ = arena_->take<float>(members * attention_size_);
  rows_ = rows;
  longest_ = longest;
  members_ = members;
}

}  // namespace lanner
