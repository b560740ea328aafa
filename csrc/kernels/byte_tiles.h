// What products of int8 tiles share: how a batch is cut, how inputs become rounded tiles, and what becomes of finished sums.
#ifndef GOSSAMER_BYTE_TILES_H
#define GOSSAMER_BYTE_TILES_H

#include "epilogue.h"
#include "halves.h"
#include "rounded.h"

namespace gs {
namespace GS_SET {

constexpr int64_t kSide = 16, kPanel = 64;  // outputs or samples of a tile; batch columns that are packed together
constexpr int64_t kMostTiles = kPanel / kSide, kWords = kSide * kSide;

// Batch columns begin .. begin + size, in `tiles` tiles. A batch is cut by itself alone, so results do not depend on threads.
struct Chunk {
  int64_t begin, size;
  int tiles;
};
GS_INLINE int64_t chunk_count(int64_t batch) { return ceil_div(batch, kPanel); }
GS_INLINE Chunk chunk_at(int64_t i, int64_t batch) {
  const int64_t begin = i * kPanel, size = least(kPanel, batch - begin);
  return {begin, size, static_cast<int>(ceil_div(size, kSide))};
}

// f(Number<n>) with n = tiles, 1 .. 4.
template <class F> GS_INLINE void with_tiles(int tiles, const F& f) {
  switch (tiles) {
    case 1: return f(Number<1>{});
    case 2: return f(Number<2>{});
    case 3: return f(Number<3>{});
    default: return f(Number<4>{});
  }
}

// What one step of every column stands for, and what is flipped of the bytes: for products with unsigned ones they are 128 larger.
struct Rounding {
  float size[kPanel];
  uint32_t flip;
};

// Batch-major inputs: store(t, k, w) gets what inputs 64 k .. 64 k + 63 of the 16 columns of tile t are, w[i] the words of inputs 4 i
// .. 4 i + 3, zeros where there is nothing. rows: room for 16 columns, `sample_room(features)` bytes.
GS_INLINE int64_t sample_room(int64_t features) { return kSide * (ceil_div(features, 64) * 64 + 64); }
template <class Store> GS_INLINE void round_samples(const gs_call& call, const Chunk& chunk, int8_t* rows, Rounding& rounding, const Store& store) {
  const int64_t n_in = call.w.n_in, full = ceil_div(n_in, 64) * 64, stride = full + 64;  // so that 16 rows do not share cache sets
  const u32x16 flip = u32x16{} + rounding.flip;
  for (int t = 0; t < chunk.tiles; ++t) {
    for (int64_t s = 0; s < kSide; ++s) {
      const int64_t column = t * kSide + s, there = column < chunk.size ? n_in : 0;
      int8_t* q = rows + s * stride;
      rounding.size[column] = 0;
      if (there) rounding.size[column] = quantize(static_cast<const float*>(call.x.data) + (chunk.begin + column) * call.x.batch_stride, n_in, q);
      __builtin_memset(q + there, 0, static_cast<size_t>(full - there));
    }
    for (int64_t k = 0; k < full / 64; ++k) {
      u32x16 w[kSide];
#pragma GCC unroll 16
      for (int s = 0; s < kSide; ++s) w[s] = load_words(rows + s * stride + 64 * k) ^ flip;
      transpose_words(w);
      store(t, k, w);
    }
  }
}

// A row of a panel: one input of 64 columns, column 16 t + 4 l + i in byte 16 l + 4 t + i, so that rows become tiles by few steps.
typedef uint8_t u8x64 __attribute__((vector_size(64)));

struct Steps64 {
  float inverse[kPanel];
  int32_t keep[kPanel];  // 0 where the column has an input that is not finite
};

// Columns of tile t at x, zeros where there are none.
template <bool whole> GS_INLINE u32x16 tile_words(const float* x, const Chunk& chunk, int t) {
  if constexpr (whole) return load_words(x + t * kSide);
  const int64_t n = least(kSide, chunk.size - t * kSide);
#if GS_MASKS
  return (u32x16)_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1), x + t * kSide);
#else
  u32x16 v = {};
  __builtin_memcpy(&v, x + t * kSide, static_cast<size_t>(n) * sizeof(float));
  return v;
#endif
}

template <int tiles, bool whole> GS_INLINE u8x64 panel_row(const float* x, const Chunk& chunk, const Steps64& steps) {
#if GS_MASKS
  __m512i part[kMostTiles] = {};
  each<tiles>([&](auto t) GS_INLINE_LAMBDA {
    const __m512 by = _mm512_loadu_ps(steps.inverse + t * kSide), v = (__m512)tile_words<whole>(x, chunk, t);
    part[t] = _mm512_and_si512(_mm512_cvtps_epi32(_mm512_mul_ps(v, by)), _mm512_loadu_si512(steps.keep + t * kSide));
  });
  return (u8x64)_mm512_packs_epi16(_mm512_packs_epi32(part[0], part[1]), _mm512_packs_epi32(part[2], part[3]));
#else
  u8x64 row = {};
  for (int64_t c = 0; c < chunk.size; ++c)
    if (steps.keep[c]) row[c % 16 / 4 * 16 + c / 16 * 4 + c % 4] = static_cast<uint8_t>(__builtin_lrintf(x[c] * steps.inverse[c]));
  return row;
#endif
}

constexpr int64_t kRowsAhead = 8;  // that are fetched in advance: no processor foresees steps of a whole batch

template <int tiles, bool whole, class Store>
GS_INLINE void round_rows(const gs_call& call, const Chunk& chunk, Rounding& rounding, const Store& store) {
  const float* first = static_cast<const float*>(call.x.data) + chunk.begin;
  const u32x16 magnitude = u32x16{} + 0x7fffffffu;
  u32x16 largest[kMostTiles] = {};
  const float* x = first;
  for (int64_t i = 0; i < call.w.n_in; ++i, x += call.x.feature_stride)
    each<tiles>([&](auto t) GS_INLINE_LAMBDA {
      __builtin_prefetch(x + kRowsAhead * call.x.feature_stride + t * kSide);
      const u32x16 bits = tile_words<whole>(x, chunk, t) & magnitude;
      largest[t] = bits > largest[t] ? bits : largest[t];
    });
  Steps64 steps;
  for (int c = 0; c < kPanel; ++c) {
    const Scale scale = scale_of(static_cast<int32_t>(largest[c / kSide][c % kSide]));
    rounding.size[c] = scale.step, steps.inverse[c] = scale.inverse;
    steps.keep[c] = steps.inverse[c] == 0 ? 0 : -1;
  }
  const u8x64 flip = (u8x64)(u32x16{} + rounding.flip);
  x = first;
  for (int64_t r = 0; r < ceil_div(call.w.n_in, 4); ++r) {
    u8x64 rows[4];
#pragma GCC unroll 4
    for (int f = 0; f < 4; ++f, x += call.x.feature_stride)
      rows[f] = (4 * r + f < call.w.n_in ? panel_row<tiles, whole>(x, chunk, steps) : u8x64{}) ^ flip;
    store(r, rows);
  }
}

// Feature-major inputs: store(r, rows) gets panel rows 4 r .. 4 r + 3, zeros behind the last.
template <int tiles, class Store> GS_INLINE void round_features(const gs_call& call, const Chunk& chunk, Rounding& rounding, const Store& store) {
  if (chunk.size == tiles * kSide) round_rows<tiles, true>(call, chunk, rounding, store);
  else round_rows<tiles, false>(call, chunk, rounding, store);
}

#define GS_BYTES4(o) o, 64 + o, 1 + o, 65 + o, 2 + o, 66 + o, 3 + o, 67 + o, 4 + o, 68 + o, 5 + o, 69 + o, 6 + o, 70 + o, 7 + o, 71 + o
#define GS_PAIRS4(o) o, 32 + o, 1 + o, 33 + o, 2 + o, 34 + o, 3 + o, 35 + o
typedef uint16_t u16x32 __attribute__((vector_size(64)));
GS_INLINE u16x32 low_bytes(u8x64 a, u8x64 b) { return (u16x32)__builtin_shufflevector(a, b, GS_BYTES4(0), GS_BYTES4(16), GS_BYTES4(32), GS_BYTES4(48)); }
GS_INLINE u16x32 high_bytes(u8x64 a, u8x64 b) { return (u16x32)__builtin_shufflevector(a, b, GS_BYTES4(8), GS_BYTES4(24), GS_BYTES4(40), GS_BYTES4(56)); }
GS_INLINE u32x16 low_pairs(u16x32 a, u16x32 b) { return (u32x16)__builtin_shufflevector(a, b, GS_PAIRS4(0), GS_PAIRS4(8), GS_PAIRS4(16), GS_PAIRS4(24)); }
GS_INLINE u32x16 high_pairs(u16x32 a, u16x32 b) { return (u32x16)__builtin_shufflevector(a, b, GS_PAIRS4(4), GS_PAIRS4(12), GS_PAIRS4(20), GS_PAIRS4(28)); }

// Four panel rows as a row of each tile: words of four inputs for 16 columns, of the first `tiles` tiles, `apart` words from each other.
template <int tiles> GS_INLINE void tile_rows(u8x64 a, u8x64 b, u8x64 c, u8x64 d, uint32_t* to, int64_t apart) {
  const u16x32 ab = low_bytes(a, b), cd = low_bytes(c, d);
  store_words(to, low_pairs(ab, cd));
  if constexpr (tiles > 1) store_words(to + apart, high_pairs(ab, cd));
  if constexpr (tiles > 2) {
    const u16x32 high_ab = high_bytes(a, b), high_cd = high_bytes(c, d);
    store_words(to + 2 * apart, low_pairs(high_ab, high_cd));
    if constexpr (tiles > 3) store_words(to + 3 * apart, high_pairs(high_ab, high_cd));
  }
}

#undef GS_BYTES4
#undef GS_PAIRS4

// The inverse for four tiles: words of four inputs for the columns of each become four panel rows.
GS_INLINE void in_rows(u8x64 a, u8x64 b, u8x64 c, u8x64 d, u8x64* to) {
  typedef uint64_t u64x8 __attribute__((vector_size(64)));
#define GS_FOURS(o) o, 4 + o, 8 + o, 12 + o, 1 + o, 5 + o, 9 + o, 13 + o, 2 + o, 6 + o, 10 + o, 14 + o, 3 + o, 7 + o, 11 + o, 15 + o
  const auto apart = [](u8x64 v) GS_INLINE_LAMBDA { return (u32x16)__builtin_shufflevector(v, v, GS_FOURS(0), GS_FOURS(16), GS_FOURS(32), GS_FOURS(48)); };
#undef GS_FOURS
  const u32x16 v[4] = {apart(a), apart(b), apart(c), apart(d)};  // 16 columns by fours: four bytes of each input
  const auto low = [](u32x16 p, u32x16 q) GS_INLINE_LAMBDA {
    return (u64x8)__builtin_shufflevector(p, q, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
  };
  const auto high = [](u32x16 p, u32x16 q) GS_INLINE_LAMBDA {
    return (u64x8)__builtin_shufflevector(p, q, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
  };
  const u64x8 ab = low(v[0], v[1]), cd = low(v[2], v[3]), high_ab = high(v[0], v[1]), high_cd = high(v[2], v[3]);
  to[0] = (u8x64)__builtin_shufflevector(ab, cd, 0, 8, 2, 10, 4, 12, 6, 14);
  to[1] = (u8x64)__builtin_shufflevector(ab, cd, 1, 9, 3, 11, 5, 13, 7, 15);
  to[2] = (u8x64)__builtin_shufflevector(high_ab, high_cd, 0, 8, 2, 10, 4, 12, 6, 14);
  to[3] = (u8x64)__builtin_shufflevector(high_ab, high_cd, 1, 9, 3, 11, 5, 13, 7, 15);
}

// Products are rounded before anything is added to them, in every instruction set: what is in memory no compiler fuses.
GS_INLINE void settle(float* y) { asm volatile("" : : "r"(y) : "memory"); }

// Outputs row .. row + count of a chunk, of sums [count][tiles * 16].
template <int tiles>
GS_INLINE void finish_sums(const gs_call& call, const Chunk& chunk, const float* size, int64_t row, int64_t count, const int32_t* sums) {
  constexpr int width = tiles * kSide;
  const float *scale = scales<float>(call.w), *bias = static_cast<const float*>(call.bias);
  const float* more = static_cast<const float*>(call.residual.data);
  for (int64_t r = row; r < row + count; ++r, sums += width) {
    float y[width];
    for (int i = 0; i < width; ++i) y[i] = static_cast<float>(sums[i]) * size[i] * scale[r];
    settle(y);
    if (bias)
      for (int i = 0; i < width; ++i) y[i] += bias[r];
    if (more)
      for (int64_t i = 0; i < chunk.size; ++i) y[i] += more[r * call.residual.feature_stride + chunk.begin + i];
    activate_all<float>(call.activation, call.slope, y, width);
    float* out = static_cast<float*>(call.out) + r * call.out_stride + chunk.begin;
    if (chunk.size == width) __builtin_memcpy(out, y, sizeof y);
    else __builtin_memcpy(out, y, static_cast<size_t>(chunk.size) * sizeof(float));
  }
}

}  // namespace GS_SET
}  // namespace gs

#endif
