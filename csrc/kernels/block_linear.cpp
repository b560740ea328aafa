// out = activation(W x + bias + residual) for block: the sums of a strip stay in registers over all its blocks of a span of inputs.
#include "block.h"
#include "block_column.h"
#include "epilogue.h"
#include "items.h"
#include "sweep.h"

namespace gs {
namespace GS_SET {
namespace {

// acc[s][v] += w[s * width] * x[v].
template <class T, int V, int S> GS_INLINE void one_column(const T* x, const T* w, int64_t width, vec<T> (&acc)[S][V]) {
  vec<T> y[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) y[v] = load<T>(x + v * Vec<T>::lanes);
#pragma GCC unroll 8
  for (int s = 0; s < S; ++s) {
    const vec<T> weight = splat<T>(w[s * width]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[s][v] += y[v] * weight;
  }
}

// acc[s][v] += sum over n blocks and their columns c of w[s * width + c] * tile[col[j] * width + c][v]; the next block's values
// are `block` further on. C columns run side by side where one has too few additions to hide their latency.
template <class T, int V, int S, class I>
GS_INLINE void accumulate(const T* tile, const I* col, const T* w, int64_t n, int64_t width, int64_t block, vec<T> (&acc)[S][V]) {
  constexpr int64_t part = V * Vec<T>::lanes;
  constexpr int C = S * V > 6 ? 1 : S * V > 3 ? 2 : 4;
  vec<T> side[C][S][V] = {};
  asm("" : "+r"(tile), "+r"(col), "+r"(w), "+r"(n));  // in registers, as in accumulate.h
  for (int64_t j = 0; j < n; ++j, w += block) {
    const T* x = tile + col[j] * (width * part);
    int64_t c = 0;
    for (; c + C <= width; c += C, x += C * part) {
      one_column<T, V, S>(x, w + c, width, acc);
#pragma GCC unroll 4
      for (int k = 1; k < C; ++k) one_column<T, V, S>(x + k * part, w + c + k, width, side[k]);
    }
    for (; C > 1 && c < width; ++c, x += part) one_column<T, V, S>(x, w + c, width, acc);
  }
#pragma GCC unroll 4
  for (int k = 1; k < C; ++k)
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[s][v] += side[k][s][v];
}

// The values of a strip in blocks from .. to of a row.
template <class T> struct Strip {
  const T* values;
  int64_t block;  // from a block's to the next's
};

// Narrow values are widened, once for all parts of the tile.
template <class T, int S> GS_INLINE Strip<T> strip_at(const Visit& visit, const Row& row, int64_t from, int64_t to, int64_t top) {
  const gs_matrix& w = visit.call->w;
  const int64_t block = w.group * w.tile, size = S * w.tile, first = row.first * block + top * w.tile;
  if constexpr (sizeof(T) == sizeof(float)) {
    if (w.narrow) {
      float* wide = static_cast<float*>(visit.room);
      for (int64_t j = from; j < to; ++j) {
        if (w.narrow == GS_I8) widen_all<int8_t>(w.values, first + j * block, size, wide + (j - from) * size);
        else widen_all<bf16>(w.values, first + j * block, size, wide + (j - from) * size);
      }
      return {wide, size};
    }
  }
  return {static_cast<const T*>(w.values) + first + from * block, block};
}

// S outputs from `top` of block row r, in all parts of the tile.
template <class T, int V, int S>
GS_INLINE void one_strip(const Visit& visit, const Row& row, int64_t r, int64_t from, int64_t to, int64_t top) {
  const gs_call& call = *visit.call;
  constexpr int64_t width = V * Vec<T>::lanes;
  const int64_t size = (visit.end - visit.begin) * width, first = r * call.w.group + top;
  const Strip<T> strip = strip_at<T, S>(visit, row, from, to, top);
  for (int64_t p = 0; p < visit.tile.vectors / V; ++p) {
    const Tile part = part_at<T>(visit.tile, p, V);
    const T* packed = rebased(static_cast<const T*>(visit.packed) + p * size, visit.begin, width);
    vec<T> acc[S][V] = {};
    fetch_rows_ahead<T, V, S>(static_cast<const T*>(call.out) + first * call.out_stride + part.begin, call.out_stride);
    with_columns(visit.grid, row, from, to, [&](const auto* col, int64_t, int64_t n) {
      accumulate<T, V, S>(packed, col, strip.values, n, call.w.tile, strip.block, acc);
    });
    add_block<T, V, S>(call, part, first, S, visit.first, visit.last, acc);
  }
}

template <class T, int V> void visit_rows(const Visit& visit, int64_t r0, int64_t r1) {
  const gs_matrix& w = visit.call->w;
  int64_t active = first_active(w, r0);
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(visit.grid, r, active);
    const int64_t from = visit.from[r - r0], to = visit.to[r - r0];
    if (from == to && !visit.first && !visit.last) continue;
    if (visit.blocked) fetch_ahead(visit.grid, row, from, w.values, w.tile * value_bytes(w));
    for_strips<V == 1>(w.group, [&](auto s, int64_t top) { one_strip<T, V, s.value>(visit, row, r, from, to, top); });
  }
}

template <class T> gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const gs_matrix grid = block_grid(call.w);
  const Blocks spans = span_choice(grid, tile_bytes<T>(call.batch, kTileVectors));
  const int64_t room = grid.narrow ? 8 * spans.features * grid.tile * static_cast<int64_t>(sizeof(T)) : 0;  // a strip of values
  const auto pack = [](const Visit& visit) {
    pack_parts<T>(visit.call->x, visit.begin, visit.end, visit.tile, part_vectors(visit.tile), static_cast<T*>(visit.packed));
  };
  return sweep<T>(call, {grid, grid.tile, spans, kTileVectors, room}, begin, end, pack, [](const Visit& visit, int64_t r0, int64_t r1) {
    for_part(visit.tile, [&](auto v) { visit_rows<T, v.value>(visit, r0, r1); });
  });
}

template <class T> gs_status block_linear(const gs_call* call) {
  const gs_matrix& w = call->w;
#if GS_VEC_BYTES < 64  // which small batches do not reach (table.cpp)
  if (call->batch == 1) return block_column<T>(*call);
#endif
  const int64_t rows = row_groups(w), tiles = tile_count<T>(call->batch, kTileVectors);
  const int64_t cost = (connections(w) / most(1, rows) * w.tile + 8) * w.group * least(call->batch, kTileVectors * Vec<T>::lanes);
  return for_items(*call, tiles * rows, cost, [&](int64_t begin, int64_t end) { return items<T>(*call, begin, end); });
}

}  // namespace

gs_status block_linear_f32(const gs_call* call) { return block_linear<float>(call); }
gs_status block_linear_f64(const gs_call* call) { return block_linear<double>(call); }

}  // namespace GS_SET
}  // namespace gs
