// nm_lanes: 8 neurons side by side. For each tile of m inputs every neuron keeps n; register permutes fetch the chosen
// inputs of 8 neurons at once (m = 4, 8, 16, 32). Any other m takes the plain path. Forward, f32 only.
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

// x[offset] per lane, every offset below M.
template <int M> GS_INLINE f32l pick(const float* x, const uint8_t* offset) {
#if defined(__AVX2__)
  const __m256i at = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(offset)));
  if constexpr (M == 4) {
    return _mm256_permutevar8x32_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(x)), at);
  } else if constexpr (M == 8) {
    return _mm256_permutevar8x32_ps(load8(x), at);  // reads the low three bits of an offset
#if defined(__AVX512VL__)
  } else if constexpr (M == 16) {
    return _mm256_permutex2var_ps(load8(x), at, load8(x + 8));
#endif
  } else {  // halves by the next bit, moved to where a blend reads it
    const f32l low = pick<M / 2>(x, offset), high = pick<M / 2>(x + M / 2, offset);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(at, M == 16 ? 28 : 27)));
  }
#else
  f32l v = {};
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) v[i] = x[offset[i]];
  return v;
#endif
}

// Sums of 8 neurons: `tiles` tiles of M inputs with n offsets each. Four sums side by side hide the latency of additions;
// N is n where that is 1, 2 or 4, which share out evenly among them, else 0.
template <int M, int N, class W>
GS_INLINE f32l permuted(const float* x, const W* w, const uint8_t* offset, int64_t tiles, int64_t n) {
  f32l sum[4] = {};
  int64_t t = 0;
  if constexpr (N > 0) {
    for (; t + 4 / N <= tiles; t += 4 / N) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) {
        const int64_t q = t * N + u;
        sum[u] += load8(w + q * 8) * pick<M>(x + (t + u / N) * M, offset + q * 8);
      }
    }
  }
  for (; t < tiles; ++t) {
    int64_t q = t * n;
    const int64_t end = q + n;
    for (; q + 2 <= end; q += 2) {
      sum[0] += load8(w + q * 8) * pick<M>(x + t * M, offset + q * 8);
      sum[1] += load8(w + q * 8 + 8) * pick<M>(x + t * M, offset + q * 8 + 8);
    }
    if (q < end) sum[2] += load8(w + q * 8) * pick<M>(x + t * M, offset + q * 8);
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

template <int M, class W>
GS_INLINE f32l permuted(const float* x, const W* w, const uint8_t* offset, int64_t tiles, int64_t n) {
  switch (n) {
    case 1: return permuted<M, 1, W>(x, w, offset, tiles, n);
    case 2: return permuted<M, 2, W>(x, w, offset, tiles, n);
    case 4: return permuted<M, 4, W>(x, w, offset, tiles, n);
    default: return permuted<M, 0, W>(x, w, offset, tiles, n);
  }
}

template <class W>
GS_INLINE f32l gathered(const float* x, const W* w, const uint8_t* offset, int64_t tiles, int64_t n, int64_t m) {
  f32l a = {};
  for (int64_t t = 0; t < tiles; ++t)
    for (int64_t q = t * n; q < (t + 1) * n; ++q) {
      f32l v = {};
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) v[i] = x[t * m + offset[q * 8 + i]];
      a += load8(w + q * 8) * v;
    }
  return a;
}

template <class W>
GS_INLINE f32l sums(const float* x, const W* w, const uint8_t* offset, int64_t tiles, int64_t n, int64_t m) {
  switch (m) {
    case 4: return permuted<4, W>(x, w, offset, tiles, n);
    case 8: return permuted<8, W>(x, w, offset, tiles, n);
    case 16: return permuted<16, W>(x, w, offset, tiles, n);
    case 32: return permuted<32, W>(x, w, offset, tiles, n);
    default: return gathered(x, w, offset, tiles, n, m);
  }
}

// Groups of 8 neurons g0 .. g1 for one batch column with contiguous features.
template <class W> void groups(const gs_call& call, const float* x, int64_t column, int64_t g0, int64_t g1) {
  const gs_matrix& w = call.w;
  const int64_t tiles = w.n_in / w.tile, n = w.per_row;
  Column<float> out = {call, g0 * 8, column};
  for (int64_t g = g0; g < g1; ++g) {
    const W* values = static_cast<const W*>(w.values) + g * tiles * n * 8;
    const uint8_t* offset = static_cast<const uint8_t*>(w.cols) + g * tiles * n * 8;
    const f32l y = sums<W>(x, values, offset, tiles, n, w.tile);
    const int64_t count = least(8, w.n_out - g * 8);
    float* to = out.next(count);
    for (int64_t i = 0; i < count; ++i) to[i] = y[i];
  }
  out.finish();
}

void groups(const gs_call& call, const float* x, int64_t column, int64_t g0, int64_t g1) {
  switch (call.w.narrow) {
    case GS_I8: return groups<int8_t>(call, x, column, g0, g1);
    case GS_BF16: return groups<bf16>(call, x, column, g0, g1);
    default: return groups<float>(call, x, column, g0, g1);
  }
}

// Items are (batch column, group of 8 neurons) pairs, column outermost.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const int64_t count = ceil_div(call.w.n_out, 8);
  const bool copied = call.x.feature_stride != 1;
  float* room = copied ? static_cast<float*>(gs_scratch(call.w.n_in * sizeof(float))) : nullptr;
  if (copied && !room) return GS_MEMORY;
  while (begin < end) {
    const int64_t column = begin / count, g0 = begin % count, g1 = least(count, g0 + (end - begin));
    groups(call, column_at<float>(call.x, column, call.w.n_in, room), column, g0, g1);
    begin += g1 - g0;
  }
  return GS_OK;
}

}  // namespace

gs_status lanes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = (w.n_in / w.tile) * w.per_row * 2;
  return for_items(*call, call->batch * ceil_div(w.n_out, 8), cost,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
