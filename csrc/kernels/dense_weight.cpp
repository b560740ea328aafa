// The values of a layout in their places of a dense matrix, and back: for products that are faster on a dense weight.
#include "block.h"
#include "rows.h"

namespace gs {
namespace GS_SET {
namespace {

// Calls use(place in [n_out, n_in], position of the value) for every value of n connections of row group r, which has G rows
// (0: known at run time only, as is the width of a block).
template <int G, class I, class F>
GS_INLINE void each_of(const gs_matrix& w, int64_t r, const I* col, int64_t first, int64_t n, F use) {
  const int64_t group = G ? G : w.group, width = G ? 1 : w.tile, line = w.n_in, at = r * group * line;
  for (int64_t j = 0; j < n; ++j)
#pragma GCC unroll 8
    for (int64_t g = 0; g < group; ++g)
      for (int64_t k = 0; k < width; ++k) use(at + g * line + col[j] * width + k, ((first + j) * group + g) * width + k);
}

template <int G, class F> void each_value(const gs_matrix& w, int64_t r0, int64_t r1, F use) {
  const gs_matrix grid = G ? w : block_grid(w);
  int64_t active = first_active(grid, r0);
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(grid, r, active);
    with_columns(grid, row, 0, row.count,
                 [&](const auto* col, int64_t from, int64_t n) { each_of<G>(w, r, col, row.first + from, n, use); });
  }
}

// All values of row groups r0 .. r1.
template <class F> void each_value(const gs_matrix& w, int64_t r0, int64_t r1, F use) {
  if (w.layout == GS_BLOCK) return each_value<0>(w, r0, r1, use);
  if (w.group > kGroupRows) {
    gs_matrix blocks = w;
    blocks.tile = 1;
    return each_value<0>(blocks, r0, r1, use);
  }
  switch (w.group) {
    case 1: return each_value<1>(w, r0, r1, use);
    case 2: return each_value<2>(w, r0, r1, use);
    case 4: return each_value<4>(w, r0, r1, use);
    default: return each_value<8>(w, r0, r1, use);
  }
}

template <class T> void to_dense(const gs_matrix* w, int64_t r0, int64_t r1, void* dense) {
  const T* values = static_cast<const T*>(w->values);
  T* out = static_cast<T*>(dense);
  each_value(*w, r0, r1, [=](int64_t place, int64_t i) { out[place] = values[i]; });
}

template <class T> void from_dense(const gs_matrix* w, int64_t r0, int64_t r1, const void* dense, void* values) {
  const T* in = static_cast<const T*>(dense);
  T* out = static_cast<T*>(values);
  each_value(*w, r0, r1, [=](int64_t place, int64_t i) { out[i] = in[place]; });
}

}  // namespace

void to_dense_f32(const gs_matrix* w, int64_t r0, int64_t r1, void* dense) { to_dense<float>(w, r0, r1, dense); }
void to_dense_f64(const gs_matrix* w, int64_t r0, int64_t r1, void* dense) { to_dense<double>(w, r0, r1, dense); }

void from_dense_f32(const gs_matrix* w, int64_t r0, int64_t r1, const void* dense, void* values) {
  from_dense<float>(w, r0, r1, dense, values);
}
void from_dense_f64(const gs_matrix* w, int64_t r0, int64_t r1, const void* dense, void* values) {
  from_dense<double>(w, r0, r1, dense, values);
}

}  // namespace GS_SET
}  // namespace gs
