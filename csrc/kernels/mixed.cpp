// out = W x + bias with rounded factors. Inputs and weights are rounded once, for the product and for both gradients.
#include "mixed.h"

namespace gs {
namespace GS_SET {
namespace {

// Items are squares of 16 features and 32 batch columns, along what is contiguous.
void round_inputs(const gs_mixed& call, int64_t begin, int64_t end) {
  const int64_t groups = ceil_div(call.w.n_in, kSide), steps = ceil_div(call.batch, kSteps), length = row_length(call.batch);
  const bool by_sample = call.x.feature_stride == 1;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t group = by_sample ? i % groups : i / steps, step = by_sample ? i / groups : i % steps;
    const Square at = {group * kSide, least(kSide, call.w.n_in - group * kSide), step * kSteps, least(kSteps, call.batch - step * kSteps)};
    u32x16 w[kSide];
    round_square(call.x, at, w, nullptr);
    uint16_t* to = call.inputs + at.feature * length + at.column;
    for (int64_t k = 0; k < at.features; ++k) store_words(to + k * length, w[k]);
  }
}

// The tiles of one active group: values [k][group] become [ceil(k / 32)][group / 16][16 neurons][32 inputs].
void round_group(const gs_matrix& w, int64_t place, uint16_t* weights) {
  const float* from = static_cast<const float*>(w.values) + place * w.per_row * w.group;
  uint16_t* to = weights + place * tiles_of_group(w) * (kSide * kSteps);
  const float none[kSide] = {};
  for (int64_t k = 0; k < w.per_row; k += kSteps)
    for (int64_t high = 0; high < w.group; high += kSide, to += kSide * kSteps) {
      u32x16 words[kSide];
      for (int64_t pair = 0; pair < kSide; ++pair) {
        const int64_t first = k + 2 * pair;
        const float* p = from + first * w.group + high;
        words[pair] = pair_words(first < w.per_row ? p : none, first + 1 < w.per_row ? p + w.group : none);
      }
      transpose_words(words);
      for (int64_t i = 0; i < kSide; ++i) store_words(to + i * kSteps, words[i]);
    }
}

// The product of rounded operands.
gs_status multiply(const gs_mixed& call) {
  gs_call product = {};
  product.w = call.w, product.isa = call.isa, product.batch = call.batch, product.parallel = call.parallel;
  product.w.values = call.weights, product.w.narrow = GS_BF16;
  product.x = {call.inputs, row_length(call.batch), 1}, product.x_narrow = GS_BF16;
  product.bias = call.bias, product.out = call.out, product.out_stride = call.batch;
  if (call.w.layout == GS_FANIN) {
    product.w.layout = GS_SHARED_TILES, product.w.n_values = call.w.n_rows * tiles_of_group(call.w) * (kSide * kSteps);
    return shared_tiles_f32(&product);
  }
  product.w.layout = GS_TILES, product.w.group = 1, product.w.tile = 0;
  product.w.n_values = pointer_at(call.w, call.w.n_out / kSide) * (kSide * kSteps);
  return tiles_f32(&product);
}

}  // namespace

gs_status mixed_linear(const gs_mixed* call) {
  const gs_matrix& w = call->w;
  const auto no_failure = [](const auto& run) {
    return [&run](int64_t begin, int64_t end) {
      run(begin, end);
      return GS_OK;
    };
  };
  const auto inputs = [&](int64_t begin, int64_t end) { round_inputs(*call, begin, end); };
  const auto groups = [&](int64_t begin, int64_t end) {
    for (int64_t place = begin; place < end; ++place) round_group(w, place, call->weights);
  };
  const auto tiles = [&](int64_t begin, int64_t end) {
    constexpr int64_t size = kSide * kSteps;
    narrow_all(static_cast<const float*>(w.values) + begin * size, (end - begin) * size, call->weights + begin * size);
  };
  const int64_t squares = ceil_div(w.n_in, kSide) * ceil_div(call->batch, kSteps);
  gs_status status = for_items(*call, squares, kSide * kSteps, no_failure(inputs));
  if (status != GS_OK) return status;
  status = w.layout == GS_FANIN ? for_items(*call, w.n_rows, w.per_row * w.group, no_failure(groups))
                                : for_items(*call, pointer_at(w, w.n_out / kSide), kSide * kSteps, no_failure(tiles));
  return status != GS_OK || !call->batch || !w.n_out ? status : multiply(*call);
}

}  // namespace GS_SET
}  // namespace gs
