// The gradients of a product with rounded factors: the output gradient is rounded once for all of them, a part of the batch at a time.
#include "mixed.h"

namespace gs {
namespace GS_SET {
namespace {

// Right factors of 32 outputs, and the sums of their gradients. Items are those.
struct Rounding {
  const gs_mixed& call;
  const Part& part;
  uint32_t *low, *wide;

  void outputs(int64_t item, uint16_t* rows) const {
    const int64_t length = part.steps * kSteps, first = item * kSteps, n = least(kSteps, call.w.n_out - first);
    for (int64_t half = 0; half < kSteps; half += kSide) {
      const int64_t features = n > half ? least(kSide, n - half) : 0;
      for (int64_t step = 0; step < part.steps; ++step) {
        const Square at = {first + half, features, part.begin + step * kSteps, least(kSteps, part.size - step * kSteps)};
        u32x16 w[kSide] = {};
        if (features) round_square(call.grad, at, w, call.grad_bias ? call.grad_bias + at.feature : nullptr);
        for (int64_t i = 0; i < kSide; ++i) store_words(rows + (half + i) * length + step * kSteps, w[i]);
        if (!features || !wide) continue;
        transpose_words(w);
        uint32_t* to = wide + ((first + half) / kSide * part.steps + step) * kWords;
        for (int64_t i = 0; i < kSide; ++i) store_words(to + i * kSide, w[i]);
      }
    }
    if (!low) return;
    uint32_t* to = low + item * part.tiles * kWords;
    for (int64_t tile = 0; tile < part.tiles; ++tile)
      for (int64_t pair = 0; pair < kSide; ++pair, to += kSide) {
        const uint16_t* two = rows + 2 * pair * length + tile * kSide;
        store_words(to, words_of(two, two + length));
      }
  }
};

gs_status gradients_of_part(const gs_mixed& call, const Part& part, const uint32_t* turned) {
  gs_status status = GS_OK;
  if (call.grad_input) status = mixed_grad_input(call, part, turned);
  return status == GS_OK && call.grad_values ? mixed_grad_values(call, part) : status;
}

}  // namespace

gs_status mixed_gradients(const gs_mixed* call) {
  const gs_matrix& w = call->w;
  if (call->grad_bias) __builtin_memset(call->grad_bias, 0, static_cast<size_t>(w.n_out) * sizeof(float));
  const int64_t used = !call->batch ? 0 : w.layout == GS_FANIN ? w.n_rows * w.per_row * w.group : pointer_at(w, w.n_out / kSide) * (kSide * kSteps);
  if (call->grad_values) __builtin_memset(call->grad_values + used, 0, static_cast<size_t>(w.n_values - used) * sizeof(float));
  const int64_t most = least(call->batch, kMostColumns), items = ceil_div(w.n_out, kSteps);
  const int64_t low = call->grad_input ? items * kSteps * row_length(most) / 2 : 0, wide = call->grad_values ? items * kSteps * row_length(most) / 2 : 0;
  const int64_t weights = call->grad_input ? mixed_turned(w) : 0;
  uint32_t* words = static_cast<uint32_t*>(gs_call_scratch(static_cast<size_t>((low + wide + weights) * 4 + 64)));
  if (!words) return GS_MEMORY;
  uint32_t* turned = words + low + wide;
  if (call->grad_input && call->batch) mixed_turn(*call, turned);
  for (int64_t begin = 0; begin < call->batch; begin += kMostColumns) {
    const int64_t size = least(kMostColumns, call->batch - begin);
    const Part part = {begin, size, ceil_div(size, kSteps), ceil_div(size, kSide), words, words + low};
    const Rounding rounding = {*call, part, low ? words : nullptr, wide ? words + low : nullptr};
    gs_status status = for_items(*call, items, kSteps * size, [&](int64_t first, int64_t last) {
      uint16_t* rows = static_cast<uint16_t*>(gs_scratch(static_cast<size_t>(kSteps * part.steps * kSteps * 2)));
      if (!rows) return GS_MEMORY;
      for (int64_t item = first; item < last; ++item) rounding.outputs(item, rows);
      return GS_OK;
    });
    if (status == GS_OK) status = gradients_of_part(*call, part, turned);
    if (status != GS_OK) return status;
  }
  return GS_OK;
}

}  // namespace GS_SET
}  // namespace gs
