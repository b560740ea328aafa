// What products on the matrix unit share: how a batch is cut, how inputs become tiles, and what becomes of finished sums.
#ifndef GOSSAMER_TILES_H
#define GOSSAMER_TILES_H

#include "activate.h"
#include "halves.h"
#include "items.h"
#include "tile.h"
#include "unit.h"

namespace gs {
namespace GS_SET {

constexpr int kMostTiles = 6;  // of sums, which are what a tile of weights is read for
constexpr int64_t kSide = 16, kSteps = 32;  // outputs or samples of a tile, bfloat16 inputs of one
constexpr int64_t kWords = kSide * kSide;   // of a tile

// Batch columns begin .. begin + size, in `tiles` tiles. A batch is cut by itself alone, so results do not depend on threads: into
// one chunk or an even number of like ones, since whoever meets a chunk packs it, and two threads then meet none twice.
struct Chunk {
  int64_t begin, size;
  int tiles;
};
// Chunks begin at multiples of `piece` columns.
GS_INLINE int64_t chunk_count(int64_t batch, int64_t piece = kSide) {
  const int64_t columns = kMostTiles * kSide, pieces = ceil_div(batch, piece);
  return batch <= columns ? least(1, pieces) : 2 * ceil_div(pieces, 2 * columns / piece);
}
GS_INLINE Chunk chunk_at(int64_t i, int64_t batch, int64_t piece = kSide) {
  const int64_t pieces = ceil_div(batch, piece), count = most(1, chunk_count(batch, piece));
  const int64_t begin = ceil_div(i * pieces, count) * piece, size = least(ceil_div((i + 1) * pieces, count) * piece, batch) - begin;
  return {begin, size, static_cast<int>(ceil_div(size, kSide))};
}

// f(Number<n>) with n = tiles, 1 .. 6.
template <class F> GS_INLINE void with_tiles(int tiles, const F& f) {
  switch (tiles) {
    case 1: return f(Number<1>{});
    case 2: return f(Number<2>{});
    case 3: return f(Number<3>{});
    case 4: return f(Number<4>{});
    case 5: return f(Number<5>{});
    default: return f(Number<6>{});
  }
}

// 16 numbers at p, of which n are there: where they lie, or copied into room, with zeros behind them.
template <class T> GS_INLINE const T* sixteen(const T* p, int64_t n, T* room) {
  if (n >= kSide) return p;
  for (int64_t i = 0; i < kSide; ++i) room[i] = i < n ? p[i] : T{};
  return room;
}

GS_INLINE u32x16 pair_words(const float* a, const float* b) { return words_of(load_words(a), load_words(b)); }
GS_INLINE u32x16 pair_words(const uint16_t* a, const uint16_t* b) { return words_of(a, b); }

// Inputs of a chunk as right factors: [ceil(features / 32)][tiles][16 pairs of features][16 columns] words, zeros where there
// is nothing. Feature-major memory, float or bfloat16.
template <class T> void pack_features(const gs_panel& x, int64_t features, const Chunk& chunk, uint32_t* words) {
  const T* from = static_cast<const T*>(x.data) + chunk.begin;
  const T none[kSide] = {};
  T room[2][kSide];
  for (int64_t pair = 0; pair < ceil_div(features, kSteps) * kSide; ++pair)
    for (int t = 0; t < chunk.tiles; ++t) {
      const T* two[2];
      for (int64_t i = 0; i < 2; ++i) {
        const int64_t feature = 2 * pair + i, left = chunk.size - t * kSide;
        two[i] = feature < features ? sixteen(from + feature * x.feature_stride + t * kSide, left, room[i]) : none;
      }
      store_words(words + ((pair / kSide * chunk.tiles + t) * kSide + pair % kSide) * kSide, pair_words(two[0], two[1]));
    }
}

// n <= 32 neighbouring features of a sample as pairs, zeros behind them.
GS_INLINE u32x16 part_of(const float* p, int64_t n) {
  if (n == kSteps) return words_of_neighbours(p);
  float room[kSteps] = {};
  for (int64_t i = 0; i < n; ++i) room[i] = p[i];
  return words_of_neighbours(room);
}

// The same of batch-major memory.
inline void pack_samples(const gs_panel& x, int64_t features, const Chunk& chunk, uint32_t* words) {
  const float* from = static_cast<const float*>(x.data) + chunk.begin * x.batch_stride;
  for (int t = 0; t < chunk.tiles; ++t, from += kSide * x.batch_stride)
    for (int64_t k = 0; k < features; k += kSteps) {
      u32x16 w[kSide];
      const int64_t there = least(kSide, chunk.size - t * kSide), n = least(kSteps, features - k);
#pragma GCC unroll 16
      for (int64_t s = 0; s < kSide; ++s) w[s] = part_of(from + s * x.batch_stride + k, s < there ? n : 0);
      transpose_words(w);
      uint32_t* to = words + (k / kSteps * chunk.tiles + t) * kWords;
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i) store_words(to + i * kSide, w[i]);
    }
}

GS_INLINE void pack_chunk(const gs_call& call, const Chunk& chunk, uint32_t* words) {
  if (call.x_narrow) pack_features<uint16_t>(call.x, call.w.n_in, chunk, words);
  else if (call.x.feature_stride == 1) pack_samples(call.x, call.w.n_in, chunk, words);
  else pack_features<float>(call.x, call.w.n_in, chunk, words);
}

// Where outputs row .. row + count of a chunk lie, if sums [16][tiles * 16] are what they are and fill them; else null.
template <int tiles> GS_INLINE float* where_sums_stay(const gs_call& call, const Chunk& chunk, int64_t row, int64_t count) {
  const bool changed = call.bias || call.residual.data || call.activation != GS_IDENTITY || call.out_narrow;
  if (changed || chunk.size < tiles * kSide || count % kSide) return nullptr;
  return static_cast<float*>(call.out) + row * call.out_stride + chunk.begin;
}

// Asks for the memory of outputs row .. row + count, which is written when their sums are there.
template <int tiles> GS_INLINE void fetch_outputs(const gs_call& call, const Chunk& chunk, int64_t row, int64_t count) {
  const int64_t bytes = call.out_narrow ? 2 : sizeof(float);
  for (int64_t r = row; r < row + count; ++r)
    for (int64_t i = 0; i < tiles * kSide * bytes; i += 64)
      __builtin_prefetch(static_cast<const char*>(call.out) + (r * call.out_stride + chunk.begin) * bytes + i, 1);
}

// Stores outputs row .. row + count of a chunk: sums [16][tiles * 16], which it overwrites.
template <int tiles> GS_INLINE void finish_tiles(const gs_call& call, const Chunk& chunk, int64_t row, int64_t count, float* sums) {
  constexpr int width = tiles * kSide;
  const float *bias = static_cast<const float*>(call.bias), *more = static_cast<const float*>(call.residual.data);
  for (int64_t r = row; r < row + count; ++r, sums += width) {
    if (bias)
      for (int i = 0; i < width; ++i) sums[i] += bias[r];
    if (more)
      for (int64_t i = 0; i < chunk.size; ++i) sums[i] += more[r * call.residual.feature_stride + chunk.begin + i];
    activate_all<float>(call.activation, call.slope, sums, width);
    const int64_t at = r * call.out_stride + chunk.begin;
    if (call.out_narrow) narrow_all(sums, chunk.size, static_cast<uint16_t*>(call.out) + at);
    else if (chunk.size == width) __builtin_memcpy(static_cast<float*>(call.out) + at, sums, width * sizeof(float));
    else __builtin_memcpy(static_cast<float*>(call.out) + at, sums, static_cast<size_t>(chunk.size) * sizeof(float));
  }
}

}  // namespace GS_SET
}  // namespace gs

#endif
