// Sums of products of two bytes, exact integers, in the forms that processors have: on a matrix unit or its emulation, with
// products of bytes that are added by fours, and as plain dot products of one sample.
#ifndef GOSSAMER_BYTE_PRODUCTS_H
#define GOSSAMER_BYTE_PRODUCTS_H

#include "byte_tiles.h"
#include "unit.h"

namespace gs {
namespace GS_SET {

// Who calls says where the j-th of n tiles of weights lies, [16][width] bytes, and the inputs for it: [tiles][width / 4][16] words, or
// of one sample [width] bytes.

// How many sums of every tile run side by side: a product takes as long as four that do not wait for each other.
constexpr int copies(int tiles) { return tiles == 1 ? 4 : tiles <= 3 ? 2 : 1; }

// sums [16][tiles * 16]
template <int tiles, class W, class X> GS_INLINE void multiply_on_unit(Unit& unit, int64_t n, int width, const W& weights, const X& inputs, int32_t* sums) {
  constexpr int c = copies(tiles), across = tiles * kSide;
  each<c * tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  const auto step = [&](auto copy, int64_t j) GS_INLINE_LAMBDA {
    unit.template load<6>(weights(j), width);
    const uint32_t* x = inputs(j);
    each<tiles>([&](auto t) GS_INLINE_LAMBDA {
      unit.template load<7>(x + t * (width * 4), 64);
      unit.template int8<decltype(copy)() * tiles + t>();
    });
  };
  int64_t j = 0;
  for (; j + c <= n; j += c) each<c>([&](auto copy) GS_INLINE_LAMBDA { step(copy, j + copy); });
  each<c - 1>([&](auto copy) GS_INLINE_LAMBDA {
    if (j + copy < n) step(copy, j + copy);
  });
  each<tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(sums + t * kSide, across * 4); });
  if constexpr (c > 1) {
    alignas(64) int32_t others[(c - 1) * kWords * tiles];
    each<(c - 1) * tiles>([&](auto t) GS_INLINE_LAMBDA {
      unit.template store<tiles + t>(others + t / tiles * (kWords * tiles) + t % tiles * kSide, across * 4);
    });
    for (int i = 0; i < kWords * tiles; ++i)
      for (int k = 0; k < c - 1; ++k) sums[i] += others[k * (kWords * tiles) + i];
  }
}

// The sum over the lanes of each of 16 vectors.
GS_INLINE u32x16 sums_across(u32x16 (&v)[kSide]) {
  transpose_words(v);
  u32x16 sum = v[0];
#pragma GCC unroll 16
  for (int i = 1; i < kSide; ++i) sum += v[i];
  return sum;
}

// out[C][16] of C samples, `stride` bytes apart.
template <int C, class W, class X>
GS_INLINE void dot_bytes(int64_t n, int width, const W& weights, const X& inputs, int64_t stride, int32_t (*out)[kSide]) {
  for (int64_t j = 0; j < n; ++j)
    for (int r = 0; r < kSide; ++r)
      for (int c = 0; c < C; ++c) {
        const int8_t *w = weights(j) + r * width, *x = inputs(j) + c * stride;
        int32_t sum = 0;
        for (int i = 0; i < width; ++i) sum += w[i] * x[i];
        out[c][r] += sum;
      }
}

#if defined(__AVX512BW__)
// Byte products take one factor unsigned: inputs come 128 larger than they are, and 128 times the sum of the weights is taken off at the
// end. Both may wrap around, the difference is exact.

template <int C, class W, class X>
GS_BYTE_PRODUCTS void dot_shifted(int64_t n, int width, const W& weights, const X& inputs, int64_t stride, int32_t (*out)[kSide]) {
  constexpr int R = C == 1 ? 8 : 4;  // neurons whose sums stay in registers
  const __m512i shift = _mm512_set1_epi8(-128);  // read as 128
  const __mmask16 there = width == 64 ? 0xffff : 0x00ff;
  u32x16 sums[C][kSide];
#pragma GCC unroll 4
  for (int first = 0; first < kSide; first += R) {
    __m512i sum[C][R] = {}, all[R] = {};
    for (int64_t j = 0; j < n; ++j) {
      const int8_t* w = weights(j) + first * width;
      const uint8_t* x = reinterpret_cast<const uint8_t*>(inputs(j));
      __m512i q[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) q[c] = _mm512_loadu_si512(x + c * stride);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m512i row = _mm512_maskz_loadu_epi32(there, w + r * width);
        all[r] = _mm512_dpbusd_epi32(all[r], shift, row);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) sum[c][r] = _mm512_dpbusd_epi32(sum[c][r], q[c], row);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sums[c][first + r] = (u32x16)_mm512_sub_epi32(sum[c][r], all[r]);
  }
  for (int c = 0; c < C; ++c) store_words(out[c], sums_across(sums[c]));
}

// sums [16][stride] of T tiles of columns from tile t0 on, without what is to be taken off.
template <int T, int width, class W, class X>
GS_BYTE_PRODUCTS void add_products(int64_t n, const W& weights, const X& inputs, int t0, int32_t* sums, int64_t stride) {
  constexpr int R = kSide / T;  // neurons whose sums stay in registers
  for (int first = 0; first < kSide; first += R) {
    __m512i sum[R][T] = {};
    for (int64_t j = 0; j < n; ++j) {
      const int8_t* w = weights(j) + first * width;
      const uint32_t* x = inputs(j) + t0 * (width * 4);
      for (int k = 0; k < width / 4; ++k) {
        __m512i q[T];
#pragma GCC unroll 2
        for (int t = 0; t < T; ++t) q[t] = _mm512_loadu_si512(x + t * (width * 4) + k * kSide);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          int32_t four;
          __builtin_memcpy(&four, w + r * width + 4 * k, sizeof four);
          const __m512i weight = _mm512_set1_epi32(four);
#pragma GCC unroll 2
          for (int t = 0; t < T; ++t) sum[r][t] = _mm512_dpbusd_epi32(sum[r][t], q[t], weight);
        }
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) _mm512_storeu_si512(sums + (first + r) * stride + (t0 + t) * kSide, sum[r][t]);
  }
}

// 128 times the sum of the weights of each neuron.
template <int width, class W> GS_BYTE_PRODUCTS void add_weights(int64_t n, const W& weights, int32_t* out) {
  const __m512i shift = _mm512_set1_epi8(-128);
  const __mmask16 there = width == 64 ? 0xffff : 0x00ff;
  __m512i all[kSide] = {};
  for (int64_t j = 0; j < n; ++j)
#pragma GCC unroll 16
    for (int r = 0; r < kSide; ++r) all[r] = _mm512_dpbusd_epi32(all[r], shift, _mm512_maskz_loadu_epi32(there, weights(j) + r * width));
  u32x16 sums[kSide];
#pragma GCC unroll 16
  for (int r = 0; r < kSide; ++r) sums[r] = (u32x16)all[r];
  store_words(out, sums_across(sums));
}

template <int tiles, int width, class W, class X> void multiply_shifted(int64_t n, const W& weights, const X& inputs, int32_t* sums) {
  constexpr int across = tiles * kSide;
  for (int t = 0; t + 2 <= tiles; t += 2) add_products<2, width>(n, weights, inputs, t, sums, across);
  if constexpr (tiles % 2) add_products<1, width>(n, weights, inputs, tiles - 1, sums, across);
  int32_t all[kSide];
  add_weights<width>(n, weights, all);
  for (int r = 0; r < kSide; ++r)
    for (int i = 0; i < across; ++i) sums[r * across + i] -= all[r];
}
#endif

// Which form multiplies: few samples one by one, others by tiles. `shifted`: with byte products, and shifted inputs.
struct Form {
  bool dots, shifted;
};
GS_INLINE Form form_of(int64_t batch) {
#if defined(__AMX_TILE__)
  return batch <= 4 ? Form{true, true} : Form{false, false};
#elif defined(__AVX512BW__)
  return {batch <= 8, gs_has_byte_products()};
#else
  return {batch <= 8, false};
#endif
}

// out[C][16] of C samples.
template <int C, class W, class X>
GS_INLINE void dots([[maybe_unused]] bool shifted, int64_t n, int width, const W& weights, const X& inputs, int64_t stride, int32_t (*out)[kSide]) {
#if defined(__AVX512BW__)
  if (shifted) return dot_shifted<C>(n, width, weights, inputs, stride, out);
#endif
  dot_bytes<C>(n, width, weights, inputs, stride, out);
}

// sums [16][tiles * 16]
template <int tiles, class W, class X>
GS_INLINE void products(Unit& unit, [[maybe_unused]] bool shifted, int64_t n, int width, const W& weights, const X& inputs, int32_t* sums) {
#if defined(__AVX512BW__) && !defined(__AMX_TILE__)
  if (shifted) return width == 64 ? multiply_shifted<tiles, 64>(n, weights, inputs, sums) : multiply_shifted<tiles, 32>(n, weights, inputs, sums);
#endif
  multiply_on_unit<tiles>(unit, n, width, weights, inputs, sums);
}

// Outputs of 16 neurons, or as many as there are, for one batch column.
GS_INLINE void finish_dots(const gs_call& call, int64_t row, int64_t column, const int32_t* sums, float step) {
  const int64_t count = least(kSide, call.w.n_out - row);
  const float* scale = scales<float>(call.w) + row;
  float y[kSide];
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(sums[i]) * step * scale[i];
  settle(y);
  finish_scaled<float>(call, row, count, column, y);
}

}  // namespace GS_SET
}  // namespace gs

#endif
