// A dense layer. Batch 1: dot products of a few rows at a time. Batches: a few rows times two vectors of a batch tile stay in
// registers over a block of features; blocks of the weight that several tiles read are copied to where no rows collide in the
// cache. An output is the sum of its blocks, each added up in ascending order, whatever the batch above 1, the tile and the
// threads. Forward; narrow values are widened in registers (batch 1), or with the copy.
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

#if GS_VEC_BYTES == 64
constexpr int kRows = 12;
#else
constexpr int kRows = 6;  // twelve sums of sixteen registers
#endif
constexpr int kVectors = 2;               // batch tile
constexpr int64_t kBlockBytes = 1536;     // of one row in a block of features
constexpr int64_t kBlockRows = 96;        // of the weight, which then stays in the second cache
constexpr int64_t kPanelBytes = 1 << 19;  // of packed inputs
constexpr int64_t kPad = 64;              // bytes between copied rows

template <class T, class W> GS_INLINE vec<T> values_part(const W* p, int64_t n) {
  if constexpr (sizeof(T) == sizeof(W)) return load_part<T>(p, n);
  vec<T> v{};
  for (int64_t i = 0; i < n; ++i) v[i] = widen(p[i]);
  return v;
}

// Four rows from r (rows past the last are repeated and not stored) times one column of contiguous features.
template <class T, class W> void four_rows(const gs_call& call, int64_t r, int64_t count) {
  constexpr int64_t L = Vec<T>::lanes;
  const int64_t n = call.w.n_in;
  const T* x = static_cast<const T*>(call.x.data);
  const W* w[4];
  for (int q = 0; q < 4; ++q) w[q] = static_cast<const W*>(call.w.values) + (r + least(q, count - 1)) * n;
  vec<T> s[4] = {}, t[4] = {};
  int64_t i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const vec<T> u = load<T>(x + i), v = load<T>(x + i + L);
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) s[q] += u * load_values(w[q] + i), t[q] += v * load_values(w[q] + i + L);
  }
  for (; i < n; i += L) {
    const int64_t part = least(n - i, L);
    const vec<T> v = load_part<T>(x + i, part);
    for (int q = 0; q < 4; ++q) s[q] += v * values_part<T, W>(w[q] + i, part);
  }
  for (int q = 0; q < 4; ++q) s[q] += t[q];
  T y[4] = {};
  add_sums(s, y);
  finish_column<T>(call, r, count, 0, y);
}

template <class T> void rows_by_column(const gs_call& call, int64_t r0, int64_t r1) {
  for (int64_t r = r0; r < r1; r += 4) {
    const int64_t count = least(4, r1 - r);
    if constexpr (sizeof(T) == sizeof(float)) {
      if (call.w.narrow == GS_I8) { four_rows<T, int8_t>(call, r, count); continue; }
      if (call.w.narrow == GS_BF16) { four_rows<T, bf16>(call, r, count); continue; }
    }
    four_rows<T, T>(call, r, count);
  }
}

// A block of features, and the rows of the weight in it: where they are stored, or copied.
template <class T> struct Block {
  int64_t begin, end;
  bool first, last;
  const T* rows;   // of row r0
  int64_t stride;  // between rows
  int64_t r0;
};

// R rows from r (rows past the last are repeated and not stored) times a packed tile of V vectors.
template <class T, int R, int V>
GS_INLINE void product(const gs_call& call, const Block<T>& block, const Tile& tile, const T* packed, int64_t r, int64_t count) {
  constexpr int64_t L = Vec<T>::lanes;
  const T* w[R];
  for (int q = 0; q < R; ++q) w[q] = block.rows + (r - block.r0 + least(q, count - 1)) * block.stride;
  vec<T> sum[R][V] = {};
  for (int64_t i = 0, n = block.end - block.begin; i < n; ++i, packed += V * L) {
    vec<T> x[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) x[v] = load<T>(packed + v * L);
#pragma GCC unroll 24
    for (int q = 0; q < R; ++q) {
      const vec<T> s = splat<T>(w[q][i]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[q][v] += s * x[v];
    }
  }
  add_block<T, V, R>(call, tile, r, count, block.first, block.last, sum);
}

template <class T, int R, int V>
void rows_by_tile(const gs_call& call, const Block<T>& block, const Tile& tile, const T* packed, int64_t r1) {
  for (int64_t r = block.r0; r < r1; r += R) product<T, R, V>(call, block, tile, packed, r, least(R, r1 - r));
}

// Rows r0 .. r1 of a block, as numbers in `room`.
template <class T> void copy_rows(const gs_matrix& w, int64_t r0, int64_t r1, const Block<T>& block, T* room) {
  const int64_t n = block.end - block.begin;
  for (int64_t r = r0; r < r1; ++r, room += block.stride) {
    const int64_t first = r * w.n_in + block.begin;
    if constexpr (sizeof(T) == sizeof(float)) {
      if (w.narrow == GS_I8) { widen_all<int8_t>(w.values, first, n, room); continue; }
      if (w.narrow == GS_BF16) { widen_all<bf16>(w.values, first, n, room); continue; }
    }
    const T* from = static_cast<const T*>(w.values) + first;
    for (int64_t i = 0; i < n; ++i) room[i] = from[i];
  }
}

// Tiles t0 .. t1 times rows r0 .. r1: inputs are packed once for a block of features, and the rows go by in blocks.
template <class T> gs_status panel(const gs_call& call, int64_t t0, int64_t t1, int64_t r0, int64_t r1) {
  constexpr int64_t L = Vec<T>::lanes, size = sizeof(T);
  const gs_matrix& w = call.w;
  const int64_t features = even_blocks(w.n_in, kBlockBytes / size, 1), width = kVectors * L;
  const int64_t stride = (features * size + 63) / 64 * 64 / size + kPad / size;
  const bool copied = w.narrow || t1 - t0 > 3;
  T* packed = static_cast<T*>(gs_scratch(((t1 - t0) * width * features + (copied ? kBlockRows * stride : 0)) * size));
  if (!packed) return GS_MEMORY;
  T* room = packed + (t1 - t0) * width * features;
  for (int64_t begin = 0; begin == 0 || begin < w.n_in; begin += most(1, features)) {
    Block<T> block = {begin, least(w.n_in, begin + features), begin == 0, begin + features >= w.n_in, nullptr, copied ? stride : w.n_in, r0};
    for (int64_t t = t0; t < t1; ++t)
      pack_tile<T>(call.x, block.begin, block.end, tile_at<T>(t, call.batch, kVectors), packed + (t - t0) * width * features);
    for (; block.r0 < r1; block.r0 += kBlockRows) {
      const int64_t last = least(r1, block.r0 + kBlockRows);
      if (copied) copy_rows<T>(w, block.r0, last, block, room);
      block.rows = copied ? room : static_cast<const T*>(w.values) + block.r0 * w.n_in + begin;
      for (int64_t t = t0; t < t1; ++t) {
        const Tile tile = tile_at<T>(t, call.batch, kVectors);
        const T* x = packed + (t - t0) * width * features;
        if (tile.vectors == 1) rows_by_tile<T, 2 * kRows, 1>(call, block, tile, x, last);
        else rows_by_tile<T, kRows, 2>(call, block, tile, x, last);
      }
    }
  }
  return GS_OK;
}

// Items are (panel of batch tiles, block of rows) pairs, the panel outermost.
template <class T> gs_status dense(const gs_call& call) {
  constexpr int64_t size = sizeof(T), width = kVectors * Vec<T>::lanes;
  const gs_matrix& w = call.w;
  if (call.batch == 1 && call.x.feature_stride == 1)
    return for_items(call, ceil_div(w.n_out, 4), (w.n_in + 8) * 4, [&](int64_t begin, int64_t end) {
      rows_by_column<T>(call, begin * 4, least(w.n_out, end * 4));
      return GS_OK;
    });
  const int64_t tiles = tile_count<T>(call.batch, kVectors), features = even_blocks(w.n_in, kBlockBytes / size, 1);
  const int64_t wide = most(1, least(tiles, kPanelBytes / size / (width * most(1, features))));
  const int64_t rows = 2 * kRows, blocks = ceil_div(w.n_out, rows);
  return for_items(call, ceil_div(tiles, wide) * blocks, (w.n_in + 8) * rows * least(call.batch, wide * width),
                   [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t p = begin / blocks, b0 = begin % blocks, b1 = least(blocks, b0 + (end - begin));
      const gs_status status = panel<T>(call, p * wide, least(tiles, (p + 1) * wide), b0 * rows, least(w.n_out, b1 * rows));
      if (status != GS_OK) return status;
      begin += b1 - b0;
    }
    return GS_OK;
  });
}

}  // namespace

gs_status dense_f32(const gs_call* call) { return dense<float>(*call); }
gs_status dense_f64(const gs_call* call) { return dense<double>(*call); }

}  // namespace GS_SET
}  // namespace gs
