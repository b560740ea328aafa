// out[connection] = sum over the batch of grad[row] * x[column] for block: a sampled product. Two rows by four columns of
// dot products run along a batch tile together; four sums, contiguous in memory, are reduced at a time. Batch tiles are
// added in ascending order.
#include "block.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kTile = 8;  // vectors of a batch tile

// out[i][k] += dot(a[i], b + k * width) over `width` batch columns, whole vectors; i < A, k < 4.
template <class T, int A> GS_INLINE void dots(const T* const (&a)[A], const T* b, int64_t width, T* const (&out)[A]) {
  vec<T> sums[A][4] = {};
  for (int64_t v = 0; v < width; v += Vec<T>::lanes) {
    vec<T> y[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) y[k] = load<T>(b + k * width + v);
#pragma GCC unroll 2
    for (int i = 0; i < A; ++i) {
      const vec<T> x = load<T>(a[i] + v);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) sums[i][k] += x * y[k];
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < A; ++i) add_sums(sums[i], out[i]);
}

// The blocks of one row in one span. x: addressed by feature number; grad: `height` rows; both are `size` long a line.
template <class T, class I> struct Run {
  const T* x;
  const T* grad;
  const I* col;
  T* out;
  int64_t n, height, width, size;
};
template <class T, class I>
Run(const T*, T*, const I*, T*, int64_t, int64_t, int64_t, int64_t) -> Run<T, I>;

// Widths that are multiples of four: four columns, two rows where they come in twos.
template <class T, int A, class I> void wide(const Run<T, I>& run) {
  T* out = run.out;
  for (int64_t j = 0; j < run.n; ++j)
    for (int64_t g = 0; g < run.height; g += A, out += A * run.width) {
      const T* const a[] = {run.grad + g * run.size, run.grad + (g + A - 1) * run.size};
      T* const o[] = {out, out + (A - 1) * run.width};
      for (int64_t c = 0; c < run.width; c += 4) {
        const T* x = run.x + (run.col[j] * run.width + c) * run.size;
        if constexpr (A == 2) dots<T, 2>({a[0], a[1]}, x, run.size, {o[0] + c, o[1] + c});
        else dots<T, 1>({a[0]}, x, run.size, {o[0] + c});
      }
    }
}

// Blocks of one column whose heights are multiples of four: four rows, two blocks.
template <class T, class I> void tall(const Run<T, I>& run) {
  int64_t j = 0;
  for (; j + 2 <= run.n; j += 2)
    for (int64_t g = 0; g < run.height; g += 4)
      dots<T, 2>({run.x + run.col[j] * run.size, run.x + run.col[j + 1] * run.size}, run.grad + g * run.size, run.size,
                 {run.out + j * run.height + g, run.out + (j + 1) * run.height + g});
  for (int64_t g = 0; j < run.n && g < run.height; g += 4)
    dots<T, 1>({run.x + run.col[j] * run.size}, run.grad + g * run.size, run.size, {run.out + j * run.height + g});
}

// Any blocks: four members at a time; the last one stands in for those past the end, whose sums are dropped.
template <class T, class I> void plain(const Run<T, I>& run) {
  const int64_t block = run.height * run.width, members = run.n * block;
  for (int64_t m = 0; m < members; m += 4) {
    vec<T> s[4] = {};
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const int64_t i = least(m + q, members - 1), j = i / block, g = i % block / run.width, c = i % run.width;
      const T *x = run.x + (run.col[j] * run.width + c) * run.size, *grad = run.grad + g * run.size;
      for (int64_t v = 0; v < run.size; v += Vec<T>::lanes) s[q] += load<T>(x + v) * load<T>(grad + v);
    }
    T sums[4] = {};
    add_sums(s, sums);
    for (int64_t q = 0; q < least(4, members - m); ++q) run.out[m + q] += sums[q];
  }
}

template <class T, class I> GS_INLINE void sample(const Run<T, I>& run) {
  if (run.width % 4 == 0) return run.height % 2 == 0 ? wide<T, 2>(run) : wide<T, 1>(run);
  if (run.width == 1 && run.height % 4 == 0) return tall(run);
  plain(run);
}

// One span of one batch tile.
struct Visit {
  const gs_call* call;
  gs_matrix grid;
  Tile tile;
  const void* packed;        // the tile, addressed by feature number
  void* grads;               // room for gradient_rows of them
  const int32_t *from, *to;  // of each block row of the range: its blocks in this span
};

template <class T> void visit_rows(const Visit& visit, int64_t r0, int64_t r1) {
  const gs_matrix& w = visit.call->w;
  const int64_t some = gradient_rows(w) / w.group, size = visit.tile.vectors * Vec<T>::lanes;
  T* grads = static_cast<T*>(visit.grads);
  int64_t active = first_active(w, r0);
  for (int64_t first = r0; first < r1; first += some) {
    const int64_t last = least(r1, first + some);
    pack_tile<T>(visit.call->grad, first * w.group, last * w.group, visit.tile, grads);
    for (int64_t r = first; r < last; ++r) {
      const Row row = row_at(visit.grid, r, active);
      T* out = static_cast<T*>(visit.call->out) + row.first * w.group * w.tile;
      with_columns(visit.grid, row, visit.from[r - r0], visit.to[r - r0], [&](const auto* col, int64_t j, int64_t n) {
        sample(Run{static_cast<const T*>(visit.packed), grads + (r - first) * w.group * size, col, out + j * w.group * w.tile, n,
                   w.group, w.tile, size});
      });
    }
  }
}

// All batch tiles for block rows r0 .. r1.
template <class T> gs_status rows(const gs_call& call, int64_t r0, int64_t r1) {
  const gs_matrix grid = block_grid(call.w);
  const int64_t bytes = tile_bytes<T>(call.batch, kTile);
  const Blocks spans = span_choice(grid, bytes);
  const int64_t inputs = spans.features * grid.tile, packed = ceil_div(inputs * bytes, 64) * 64;
  const int64_t grads = ceil_div(gradient_rows(grid) * bytes, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(packed + grads + starts_bytes(spans, r1 - r0)));
  if (!scratch) return GS_MEMORY;
  int32_t* starts = reinterpret_cast<int32_t*>(scratch + packed + grads);
  find_starts(grid, spans, r0, r1, starts);
  clear_rows<T>(grid, r0, r1, grid.group * grid.tile, static_cast<T*>(call.out));
  for (int64_t t = 0; t < tile_count<T>(call.batch, kTile); ++t) {
    const Tile tile = tile_at<T>(t, call.batch, kTile);
    for (int64_t n = 0; n < spans.count; ++n) {
      const int64_t begin = n * inputs, end = least(call.w.n_in, begin + inputs);
      T* x = reinterpret_cast<T*>(scratch);
      pack_tile<T>(call.x, begin, end, tile, x);
      const int32_t* from = starts + n * (r1 - r0);
      visit_rows<T>({&call, grid, tile, rebased(x, begin, tile.vectors * Vec<T>::lanes), scratch + packed, from, from + (r1 - r0)}, r0, r1);
    }
  }
  return GS_OK;
}

template <class T> gs_status block_grad_values(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t groups = row_groups(w), used = connections(w) * w.group * w.tile;
  T* out = static_cast<T*>(call->out);
  for (int64_t i = call->batch ? used : 0; i < w.n_values; ++i) out[i] = 0;
  if (call->batch == 0) return GS_OK;
  const int64_t cost = (used / most(1, groups) + 1) * call->batch;
  return for_items(*call, groups, cost, [&](int64_t begin, int64_t end) { return rows<T>(*call, begin, end); });
}

}  // namespace

gs_status block_grad_values_f32(const gs_call* call) { return block_grad_values<float>(call); }
gs_status block_grad_values_f64(const gs_call* call) { return block_grad_values<double>(call); }

}  // namespace GS_SET
}  // namespace gs
