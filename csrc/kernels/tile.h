// Batch tiles and feature blocks: a tile is up to 8 vectors of batch columns; its inputs are packed as [features][tile]
// so that a connection reads one short contiguous run, block by block so that the run is still in cache.
#ifndef GOSSAMER_TILE_H
#define GOSSAMER_TILE_H

#include "gossamer.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

struct Tile {
  int64_t begin;  // first batch column
  int64_t size;   // batch columns in use
  int vectors;    // vectors that hold them
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// A batch is cut into tiles of `vectors` vectors, eight at most; what remains into falling powers of two. The cut depends
// on the batch alone, so results do not depend on the number of threads.
template <class T> GS_INLINE int64_t tile_count(int64_t batch, int64_t vectors) {
  const int64_t all = ceil_div(batch, Vec<T>::lanes);
  return all / vectors + __builtin_popcountll(static_cast<uint64_t>(all % vectors));
}
template <class T> GS_INLINE Tile tile_at(int64_t t, int64_t batch, int64_t vectors) {
  const int64_t lanes = Vec<T>::lanes, all = ceil_div(batch, lanes), whole = all / vectors;
  int64_t done = least(t, whole) * vectors, wide = vectors;
  if (t >= whole) {
    const int64_t rest = all % vectors;
    wide = 8;
    for (int64_t skip = t - whole;;) {
      wide /= 2;
      if (!(rest & wide)) continue;
      if (skip-- == 0) break;
      done += wide;
    }
  }
  return {done * lanes, least(wide * lanes, batch - done * lanes), static_cast<int>(wide)};
}
// Bytes of one feature of the widest tile of a batch (>= 1).
template <class T> GS_INLINE int64_t tile_bytes(int64_t batch, int64_t vectors) {
  const Tile widest = tile_at<T>(0, batch, vectors);
  return widest.vectors * Vec<T>::lanes * static_cast<int64_t>(sizeof(T));
}

// `features` or a little fewer, so that blocks are of about one size; a multiple of `unit`, at least one of it.
GS_INLINE int64_t even_blocks(int64_t n_in, int64_t features, int64_t unit) {
  const int64_t blocks = ceil_div(n_in, most(unit, features / unit * unit));
  return blocks <= 1 ? n_in : ceil_div(ceil_div(n_in, blocks), unit) * unit;
}

// Four batch columns by four features, both contiguous on their side.
GS_INLINE void transpose4(const float* p, int64_t stride, float* out, int64_t width) {
  f32x4 a = *reinterpret_cast<const f32x4u*>(p), b = *reinterpret_cast<const f32x4u*>(p + stride);
  f32x4 c = *reinterpret_cast<const f32x4u*>(p + 2 * stride), d = *reinterpret_cast<const f32x4u*>(p + 3 * stride);
  f32x4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  f32x4 cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  *reinterpret_cast<f32x4u*>(out) = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  *reinterpret_cast<f32x4u*>(out + width) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  *reinterpret_cast<f32x4u*>(out + 2 * width) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  *reinterpret_cast<f32x4u*>(out + 3 * width) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}
GS_INLINE void transpose4(const double* p, int64_t stride, double* out, int64_t width) {
  for (int i = 0; i < 4; ++i)
    for (int b = 0; b < 4; ++b) out[i * width + b] = p[b * stride + i];
}

// Batch-major memory: row b of `p` (rows `stride` apart) becomes column b of out[features][width].
template <class T>
GS_INLINE void pack_batch_major(const T* p, int64_t stride, int64_t features, int64_t size, T* out, int64_t width) {
  int64_t b = 0;
  for (; b + 4 <= size; b += 4) {
    int64_t i = 0;
    for (; i + 4 <= features; i += 4) transpose4(p + b * stride + i, stride, out + i * width + b, width);
    for (; i < features; ++i)
      for (int q = 0; q < 4; ++q) out[i * width + b + q] = p[(b + q) * stride + i];
  }
  for (; b < size; ++b)
    for (int64_t i = 0; i < features; ++i) out[i * width + b] = p[b * stride + i];
}

// out[i - begin][0 .. width) = features begin <= i < end of the tile, zeros past its size. out is 64-byte aligned.
template <class T>
GS_INLINE void pack_tile(const gs_panel& x, int64_t begin, int64_t end, const Tile& tile, T* out) {
  const int64_t lanes = Vec<T>::lanes, width = tile.vectors * lanes;
  const T* p = static_cast<const T*>(x.data) + begin * x.feature_stride + tile.begin * x.batch_stride;
  if (x.batch_stride == 1) {
    const int64_t whole = tile.size / lanes * lanes;
    for (int64_t i = begin; i < end; ++i, p += x.feature_stride, out += width) {
      for (int64_t b = 0; b < whole; b += lanes) store<T>(out + b, load<T>(p + b));
      if (whole < width) store<T>(out + whole, load_part<T>(p + whole, tile.size - whole));
    }
    return;
  }
  pack_batch_major<T>(p, x.batch_stride, end - begin, tile.size, out, width);
  for (int64_t b = tile.size; b < width; ++b)
    for (int64_t i = 0; i < end - begin; ++i) out[i * width + b] = 0;
}

// The features of one batch column side by side: where they lie, or copied into `room`, which has space for all of them.
template <class T> GS_INLINE const T* column_at(const gs_panel& x, int64_t column, int64_t features, T* room) {
  const T* p = static_cast<const T*>(x.data) + column * x.batch_stride;
  if (x.feature_stride == 1) return p;
  for (int64_t i = 0; i < features; ++i) room[i] = p[i * x.feature_stride];
  return room;
}

// Asks for the cache line `bytes` after p; any address will do.
GS_INLINE void prefetch(const void* p, int64_t bytes) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + static_cast<uintptr_t>(bytes)));
}

constexpr int64_t kAhead = 4;  // row groups between a fetch and the use of what it fetches

// The V vectors of each of the G rows that come kAhead row groups after those at p, rows `stride` elements apart.
template <class T, int V, int G> GS_INLINE void fetch_rows_ahead(const T* p, int64_t stride) {
  constexpr int64_t size = sizeof(T), bytes = V * Vec<T>::lanes * size;
  for (int64_t g = 0; g < G; ++g)
    for (int64_t v = 0; v < bytes; v += 64) prefetch(p, (kAhead * G + g) * stride * size + v);
}

// One row of a tile, in memory as `size` contiguous elements: whole vectors, then a part.
template <class T, int V> GS_INLINE void load_row(const T* p, int64_t size, vec<T> (&v)[V]) {
  each<V - 1>([&](auto i) GS_INLINE_LAMBDA { v[i] = load<T>(p + i * Vec<T>::lanes); });
  const int64_t rest = size - (V - 1) * Vec<T>::lanes;
  v[V - 1] = rest == Vec<T>::lanes ? load<T>(p + (V - 1) * Vec<T>::lanes) : load_part<T>(p + (V - 1) * Vec<T>::lanes, rest);
}
template <class T, int V> GS_INLINE void store_row(T* p, int64_t size, const vec<T> (&v)[V]) {
  each<V - 1>([&](auto i) GS_INLINE_LAMBDA { store<T>(p + i * Vec<T>::lanes, v[i]); });
  const int64_t rest = size - (V - 1) * Vec<T>::lanes;
  if (rest == Vec<T>::lanes) store<T>(p + (V - 1) * Vec<T>::lanes, v[V - 1]);
  else store_part<T>(p + (V - 1) * Vec<T>::lanes, v[V - 1], rest);
}

}  // namespace GS_SET
}  // namespace gs

#endif
