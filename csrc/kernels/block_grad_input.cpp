// out[n_in, batch] = W^T grad for block: the output gradients of a strip stay in registers while all its blocks add to the
// tiles of their inputs. The tile of a span of inputs stays in cache; no transposed index is needed.
#include "block.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

// tile[col[j] * width + c][v] += sum over s of w[s * width + c] * grad[s][v], for n blocks whose values are `block` apart.
template <class T, int V, int S, class I>
GS_INLINE void scatter(T* tile, const I* col, const T* w, int64_t n, int64_t width, int64_t block, const vec<T> (&grad)[S][V]) {
  constexpr int64_t L = Vec<T>::lanes;
  for (int64_t j = 0; j < n; ++j, w += block) {
    T* p = tile + col[j] * (width * V * L);
    for (int64_t c = 0; c < width; ++c, p += V * L) {
      vec<T> a[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) a[v] = load<T>(p + v * L);
#pragma GCC unroll 4
      for (int s = 0; s < S; ++s) {
        const vec<T> y = splat<T>(w[s * width + c]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) a[v] += y * grad[s][v];
      }
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store<T>(p + v * L, a[v]);
    }
  }
}

// One span of inputs of one batch tile.
struct Visit {
  const gs_call* call;
  gs_matrix grid;
  Tile tile;
  int64_t begin, end;        // inputs
  void* sums;                // [parts][end - begin][part], zeroed
  void* grads;               // room for gradient_rows of them
  const int32_t *from, *to;  // of each block row: its blocks in this span
};

// The blocks of S outputs from `top` of block row r add to the sums. `grads`: [parts][rows][part], the first row being the block row's.
template <class T, int V, int S>
GS_INLINE void one_strip(const Visit& visit, const Row& row, int64_t r, int64_t top, const T* grads, int64_t rows) {
  constexpr int64_t L = Vec<T>::lanes, width = V * L;
  const gs_matrix& w = visit.call->w;
  const int64_t block = w.group * w.tile, size = (visit.end - visit.begin) * width;
  const T* values = static_cast<const T*>(w.values) + row.first * block + top * w.tile;
  for (int64_t p = 0; p < visit.tile.vectors / V; ++p) {
    const T* g = grads + (p * rows + top) * width;
    vec<T> grad[S][V];
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) grad[s][v] = load<T>(g + s * width + v * L);
    T* sums = rebased(static_cast<T*>(visit.sums) + p * size, visit.begin, width);
    with_columns(visit.grid, row, visit.from[r], visit.to[r], [&](const auto* col, int64_t j, int64_t n) {
      scatter<T, V, S>(sums, col, values + j * block, n, w.tile, block, grad);
    });
  }
}

template <class T, int V> void visit_rows(const Visit& visit) {
  const gs_matrix& w = visit.call->w;
  const int64_t rows = row_groups(w), some = gradient_rows(w) / w.group;
  T* grads = static_cast<T*>(visit.grads);
  int64_t active = 0;
  for (int64_t r0 = 0; r0 < rows; r0 += some) {
    const int64_t r1 = least(rows, r0 + some), packed = (r1 - r0) * w.group;
    pack_parts<T>(visit.call->grad, r0 * w.group, r1 * w.group, visit.tile, V, grads);
    for (int64_t r = r0; r < r1; ++r) {
      const Row row = row_at(visit.grid, r, active);
      for_strips(w.group, [&](auto s, int64_t top) {
        one_strip<T, V, s.value>(visit, row, r, top, grads + (r - r0) * w.group * V * Vec<T>::lanes, packed);
      });
    }
  }
}

// Copies the finished span to the output.
template <class T, int V> void write_span(const Visit& visit) {
  constexpr int64_t L = Vec<T>::lanes;
  const T* sums = static_cast<const T*>(visit.sums);
  for (int64_t p = 0; p < visit.tile.vectors / V; ++p) {
    const Tile part = part_at<T>(visit.tile, p, V);
    T* out = static_cast<T*>(visit.call->out) + part.begin;
    for (int64_t i = visit.begin; i < visit.end; ++i, sums += V * L) {
      vec<T> sum[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[v] = load<T>(sums + v * L);
      store_row<T, V>(out + i * visit.call->out_stride, part.size, sum);
    }
  }
}

template <class T> void visit_all(const Visit& visit) {
  const int64_t used = (visit.end - visit.begin) * visit.tile.vectors * Vec<T>::lanes;
  for (int64_t i = 0; i < used; i += Vec<T>::lanes) store<T>(static_cast<T*>(visit.sums) + i, vec<T>{});
  for_part(visit.tile, [&](auto v) {
    visit_rows<T, v.value>(visit);
    write_span<T, v.value>(visit);
  });
}

// Items are (batch tile, span of inputs) pairs, tile outermost.
template <class T> gs_status items(const gs_call& call, const Blocks& spans, int64_t begin, int64_t end) {
  const gs_matrix grid = block_grid(call.w);
  const int64_t rows = row_groups(grid), bytes = tile_bytes<T>(call.batch, kTileVectors), inputs = spans.features * grid.tile;
  const int64_t sums = ceil_div(inputs * bytes, 64) * 64, grads = ceil_div(gradient_rows(grid) * bytes, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(sums + grads + starts_bytes(spans, rows)));
  if (!scratch) return GS_MEMORY;
  int32_t* starts = reinterpret_cast<int32_t*>(scratch + sums + grads);
  find_starts(grid, spans, 0, rows, starts);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t span = item % spans.count;
    const int32_t* from = starts + span * rows;
    visit_all<T>({&call, grid, tile_at<T>(item / spans.count, call.batch, kTileVectors), span * inputs,
                  least(call.w.n_in, (span + 1) * inputs), scratch, scratch + sums, from, from + rows});
  }
  return GS_OK;
}

template <class T> gs_status block_grad_input(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t bytes = tile_bytes<T>(call->batch, kTileVectors);
  const Blocks spans = span_choice(block_grid(w), bytes);
  const int64_t work = connections(w) * w.group / spans.count + spans.features;
  return for_items(*call, tile_count<T>(call->batch, kTileVectors) * spans.count, work * w.tile * (bytes / sizeof(T)),
                   [&](int64_t begin, int64_t end) { return items<T>(*call, spans, begin, end); });
}

}  // namespace

gs_status block_grad_input_f32(const gs_call* call) { return block_grad_input<float>(call); }
gs_status block_grad_input_f64(const gs_call* call) { return block_grad_input<double>(call); }

}  // namespace GS_SET
}  // namespace gs
