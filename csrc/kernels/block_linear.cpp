// out = activation(W x + bias + residual) for block: the sums of a strip stay in registers over all its blocks of a span of inputs.
#include "block.h"
#include "block_column.h"
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

// acc[s][v] += sum over n blocks and their columns c of w[s * width + c] * tile[col[j] * width + c][v]; the next block's values
// are `block` further on. C columns run side by side where one has too few additions to hide their latency.
template <class T, int V, int S, class I>
GS_INLINE void accumulate(const T* tile, const I* col, const T* w, int64_t n, int64_t width, int64_t block, vec<T> (&acc)[S][V]) {
  constexpr int64_t L = Vec<T>::lanes;
  constexpr int C = 8 / (S * V) > 4 ? 4 : 8 / (S * V);
  vec<T> side[C][S][V] = {};
  for (int64_t j = 0; j < n; ++j, w += block) {
    const T* x = tile + col[j] * (width * V * L);
    int64_t c = 0;
    for (; c + C <= width; c += C, x += C * V * L)
#pragma GCC unroll 4
      for (int k = 0; k < C; ++k)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          const vec<T> y = load<T>(x + (k * V + v) * L);
#pragma GCC unroll 4
          for (int s = 0; s < S; ++s) {
            if (k == 0) acc[s][v] += y * splat<T>(w[s * width + c]);
            else side[k][s][v] += y * splat<T>(w[s * width + c + k]);
          }
        }
    for (; C > 1 && c < width; ++c, x += V * L)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const vec<T> y = load<T>(x + v * L);
#pragma GCC unroll 4
        for (int s = 0; s < S; ++s) acc[s][v] += y * splat<T>(w[s * width + c]);
      }
  }
#pragma GCC unroll 4
  for (int k = 1; k < C; ++k)
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[s][v] += side[k][s][v];
}

// One span of one batch tile, for a range of block rows.
struct Visit {
  const gs_call* call;
  gs_matrix grid;
  Tile tile;
  int64_t begin, end;        // inputs of the span
  bool first, last;          // of the spans
  const void* packed;        // [parts][end - begin][part]
  const int32_t *from, *to;  // of each block row of the range: its blocks in this span
};

// A strip of rows from output `top` in one part of the tile. `w`: the strip's values in the row's first block.
template <class T, int V, int S>
GS_INLINE void one_strip(const Visit& visit, const Tile& part, const T* packed, const Row& row, int64_t from, int64_t to,
                         const T* w, int64_t top) {
  const gs_call& call = *visit.call;
  const int64_t block = call.w.group * call.w.tile;
  fetch_rows_ahead<T, V, S>(static_cast<const T*>(call.out) + top * call.out_stride + part.begin, call.out_stride);
  vec<T> acc[S][V] = {};
  with_columns(visit.grid, row, from, to, [&](const auto* col, int64_t j, int64_t n) {
    accumulate<T, V, S>(packed, col, w + j * block, n, call.w.tile, block, acc);
  });
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) add_block<T, V>(call, part, top + s, visit.first, visit.last, acc[s]);
}

template <class T, int V, int S> void visit_rows(const Visit& visit, int64_t r0, int64_t r1) {
  const gs_matrix& w = visit.call->w;
  const int64_t width = V * Vec<T>::lanes, size = (visit.end - visit.begin) * width, parts = visit.tile.vectors / V;
  int64_t active = 0;
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(visit.grid, r, active);
    const int64_t from = visit.from[r - r0], to = visit.to[r - r0];
    if (from == to && !visit.first && !visit.last) continue;
    const T* values = static_cast<const T*>(w.values) + row.first * w.group * w.tile;
    for (int64_t s = 0; s < w.group; s += S)
      for (int64_t p = 0; p < parts; ++p)
        one_strip<T, V, S>(visit, part_at<T>(visit.tile, p, V), rebased(static_cast<const T*>(visit.packed) + p * size, visit.begin, width),
                           row, from, to, values + s * w.tile, r * w.group + s);
  }
}

// What one thread keeps while it works through its items.
struct Work {
  gs_matrix grid;
  Blocks spans;
  void* packed;           // one span of one tile
  const int32_t* starts;  // find_starts of block rows first .. first + rows
  int64_t first, rows;
};

// Block rows r0 .. r1 of one batch tile, span by span.
template <class T> void tile_rows(const gs_call& call, const Work& work, const Tile& tile, int64_t r0, int64_t r1) {
  for (int64_t n = 0; n < work.spans.count; ++n) {
    const int64_t begin = n * work.spans.features * call.w.tile;
    const int64_t end = least(call.w.n_in, begin + work.spans.features * call.w.tile);
    pack_parts<T>(call.x, begin, end, tile, part_vectors(tile, strip_height(work.grid)), static_cast<T*>(work.packed));
    const int32_t* from = work.starts + n * work.rows + (r0 - work.first);
    const Visit visit = {&call, work.grid, tile, begin, end, n == 0, n + 1 == work.spans.count, work.packed, from, from + work.rows};
    for_shape(work.grid, tile, [&](auto v, auto s) { visit_rows<T, v.value, s.value>(visit, r0, r1); });
  }
}

// Items are (batch tile, block row) pairs, tile outermost. Where a thread's items lie in one tile it needs their rows only.
template <class T> gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const gs_matrix grid = block_grid(call.w);
  const int64_t rows = row_groups(grid), bytes = tile_bytes<T>(call.batch, kTileVectors);
  const bool one_tile = begin / rows == (end - 1) / rows;
  Work work = {grid, span_choice(grid, bytes), nullptr, nullptr, one_tile ? begin % rows : 0, one_tile ? end - begin : rows};
  const int64_t packed = ceil_div(work.spans.features * grid.tile * bytes, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(packed + starts_bytes(work.spans, work.rows)));
  if (!scratch) return GS_MEMORY;
  int32_t* starts = reinterpret_cast<int32_t*>(scratch + packed);
  work.packed = scratch;
  work.starts = starts;
  find_starts(grid, work.spans, work.first, work.first + work.rows, starts);
  while (begin < end) {
    const int64_t r0 = begin % rows, r1 = least(rows, r0 + (end - begin));
    tile_rows<T>(call, work, tile_at<T>(begin / rows, call.batch, kTileVectors), r0, r1);
    begin += r1 - r0;
  }
  return GS_OK;
}

template <class T> gs_status block_linear(const gs_call* call) {
  const gs_matrix& w = call->w;
  if (call->batch == 1) return block_column<T>(*call);
  const int64_t rows = row_groups(w), tiles = tile_count<T>(call->batch, kTileVectors);
  const int64_t cost = (connections(w) / most(1, rows) * w.tile + 8) * w.group * least(call->batch, kTileVectors * Vec<T>::lanes);
  return for_items(*call, tiles * rows, cost, [&](int64_t begin, int64_t end) { return items<T>(*call, begin, end); });
}

}  // namespace

gs_status block_linear_f32(const gs_call* call) { return block_linear<float>(call); }
gs_status block_linear_f64(const gs_call* call) { return block_linear<double>(call); }

}  // namespace GS_SET
}  // namespace gs
