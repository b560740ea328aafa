// window_bytes: int8 values times inputs rounded to int8 (quantize.h), with exact integer sums. A window is 64 inputs of 16 neurons: a step
// has four connections of each neuron and their places in the window, so that with byte products (VNNI, VBMI) one permute fetches 64
// inputs, and one instruction multiplies 64 pairs and adds four of a neuron. Forward, for small batches. Places are read by six bits: no
// index reaches past its window.
#include "rounded.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kNeurons = 16, kStep = 4 * kNeurons, kWindow = 64;

// The windows of one block of neurons: where each starts, in steps.
struct Block {
  const int32_t* starts;
  int64_t windows;
  const int8_t* values;
  const uint8_t* places;
};

template <int C> void portable(const Block& block, const Steps& steps, int32_t (*out)[kNeurons]) {
  for (int64_t k = 0; k < block.windows; ++k)
    for (int64_t i = block.starts[k] * int64_t{kStep}; i < block.starts[k + 1] * int64_t{kStep}; ++i)
      for (int c = 0; c < C; ++c)
        out[c][i % kStep / 4] += block.values[i] * steps.q[c * steps.stride + k * kWindow + (block.places[i] & (kWindow - 1))];
}

#if GS_MASKS
// One factor of a byte product is unsigned: inputs come 128 larger than they are, and 128 times the sum of the values is taken off at the
// end. Both may wrap around, the difference is exact. Even and odd steps have sums of their own, so that one need not wait for the other.
template <int C> GS_BYTE_PRODUCTS void shifted(const Block& block, const Steps& steps, int32_t (*out)[kNeurons]) {
  const __m512i shift = _mm512_set1_epi8(-128);  // read as 128
  __m512i sums[2][C], off[2];
#pragma GCC unroll 2
  for (int part = 0; part < 2; ++part) {
    off[part] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sums[part][c] = _mm512_setzero_si512();
  }
  const int8_t *q = steps.q, *w = block.values + block.starts[0] * int64_t{kStep};
  const uint8_t* places = block.places + block.starts[0] * int64_t{kStep};
  for (int64_t k = 0; k < block.windows; ++k, q += kWindow) {
    __m512i window[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) window[c] = _mm512_loadu_si512(q + c * steps.stride);
    const int64_t count = block.starts[k + 1] - block.starts[k];
    for (int64_t i = 0; i < count; i += 2)
#pragma GCC unroll 2
      for (int part = 0; part < 2; ++part, w += kStep, places += kStep) {
        if (part && i + 1 == count) break;
        const __m512i weight = _mm512_loadu_si512(w), at = _mm512_loadu_si512(places);
        off[part] = _mm512_dpbusd_epi32(off[part], shift, weight);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sums[part][c] = _mm512_dpbusd_epi32(sums[part][c], _mm512_permutexvar_epi8(at, window[c]), weight);
      }
  }
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c)
    _mm512_storeu_si512(out[c], _mm512_sub_epi32(_mm512_add_epi32(sums[0][c], sums[1][c]), _mm512_add_epi32(off[0], off[1])));
}

bool byte_products() { return gs_has_byte_products(); }
#else
template <int C> void shifted(const Block&, const Steps&, int32_t (*)[kNeurons]) {}
constexpr bool byte_products() { return false; }
#endif

// Blocks b0 .. b1 for C batch columns from `column` on.
template <int C> void blocks(const gs_call& call, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
  const gs_matrix& w = call.w;
  const int64_t windows = ceil_div(w.n_in, kWindow);
  for (int64_t b = b0; b < b1; ++b) {
    const Block block = {static_cast<const int32_t*>(w.rows) + b * windows, windows, static_cast<const int8_t*>(w.values),
                         static_cast<const uint8_t*>(w.cols)};
    int32_t out[C][kNeurons] = {};
    if (steps.shifted) shifted<C>(block, steps, out);
    else portable<C>(block, steps, out);
    for (int c = 0; c < C; ++c) finish_integers<kNeurons>(call, b * kNeurons, column + c, out[c], steps.size[c]);
  }
}

}  // namespace

gs_status window_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t count = ceil_div(w.n_out, kNeurons), cost = w.n_cols / most(1, count) * least(kColumns, call->batch) / 4;
  return rounded(*call, count, cost, byte_products(), [&](auto c, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
    blocks<c>(*call, steps, column, b0, b1);
  });
}

}  // namespace GS_SET
}  // namespace gs
