// The block layout, for all its products. A block row is `group` outputs; kernels take it in strips of up to four of them,
// whose sums fit the registers. A batch tile is packed in parts of up to three vectors: a strip's values are read from
// memory once and stay in the first cache level for all parts.
#ifndef GOSSAMER_BLOCK_H
#define GOSSAMER_BLOCK_H

#include "blocks.h"
#include "kernels.h"

namespace gs {
namespace GS_SET {

constexpr int64_t kTileVectors = 6;  // of a batch tile

gs_status block_linear_f32(const gs_call* call);
gs_status block_linear_f64(const gs_call* call);
gs_status block_grad_input_f32(const gs_call* call);
gs_status block_grad_input_f64(const gs_call* call);
gs_status block_grad_values_f32(const gs_call* call);
gs_status block_grad_values_f64(const gs_call* call);

// Rows of a fanin group that the kernels of single connections keep in registers together. More of them are a block of one
// column, in memory as in what is computed, and so are taken in strips.
constexpr int64_t kGroupRows = 8;

// Runs a product of the block layout on a matrix of fanin groups.
GS_INLINE gs_status in_blocks(gs_product* product, gs_call call) {
  call.w.tile = 1;
  return product(&call);
}

// The matrix on its grid of blocks, where a column is `tile` inputs and a connection is a block: what rows.h and blocks.h
// then count are blocks and block columns.
GS_INLINE gs_matrix block_grid(gs_matrix w) {
  w.n_in /= w.tile;
  return w;
}

// Vectors of a part, which divide the tile's. Three, with the four rows of a strip, make twelve sums: more than the latency of
// additions asks for, at seven loads for twelve products, and as many as sixteen registers hold.
GS_INLINE int64_t part_vectors(const Tile& tile) { return tile.vectors % 3 == 0 ? 3 : least(tile.vectors, 2); }

// Part p of a tile; all parts have `vectors` vectors, which divide the tile's.
template <class T> GS_INLINE Tile part_at(const Tile& tile, int64_t p, int64_t vectors) {
  const int64_t width = vectors * Vec<T>::lanes;
  return {tile.begin + p * width, least(width, tile.size - p * width), static_cast<int>(vectors)};
}

// Block columns that share a stay in the second cache level, as Blocks of blocks.h. `bytes`: of one feature of the widest tile.
GS_INLINE Blocks span_choice(const gs_matrix& grid, int64_t bytes) {
  const int64_t all = most(1, grid.n_in), wanted = most(1, kSecondLevel / (bytes * grid.tile));
  const int64_t columns = even_blocks(all, least(wanted, all), 1);
  return {columns, ceil_div(all, columns)};
}

// Outputs whose gradients are packed at a time: whole block rows.
GS_INLINE int64_t gradient_rows(const gs_matrix& w) { return most(1, 32 / w.group) * w.group; }

template <int N> struct Constant {
  static constexpr int value = N;
};

// Calls use(vectors of a part), a compile-time constant.
template <class F> GS_INLINE void for_part(const Tile& tile, F use) {
  switch (part_vectors(tile)) {
    case 1: return use(Constant<1>{});
    case 2: return use(Constant<2>{});
    default: return use(Constant<3>{});
  }
}

// Cuts a block row of `height` outputs into strips and calls use(rows of the strip, its first), the former a compile-time constant.
// Six are three and three rather than four and two. Eight where `tall`: a part of one vector has few sums.
template <bool tall = false, class F> GS_INLINE void for_strips(int64_t height, F use) {
  for (int64_t first = 0, rest; (rest = height - first) > 0;) {
    const int64_t rows = tall && rest >= 8 ? 8 : rest == 4 || rest > 6 ? 4 : least(rest, 3);
    if (rows == 8) {
      if constexpr (tall) use(Constant<8>{}, first);
    } else if (rows == 4) use(Constant<4>{}, first);
    else if (rows == 3) use(Constant<3>{}, first);
    else if (rows == 2) use(Constant<2>{}, first);
    else use(Constant<1>{}, first);
    first += rows;
  }
}

// Features begin .. end of a tile, part after part.
template <class T> GS_INLINE void pack_parts(const gs_panel& x, int64_t begin, int64_t end, const Tile& tile, int64_t vectors, T* out) {
  const int64_t size = (end - begin) * vectors * Vec<T>::lanes;
  for (int64_t p = 0; p < tile.vectors / vectors; ++p, out += size) pack_tile<T>(x, begin, end, part_at<T>(tile, p, vectors), out);
}

}  // namespace GS_SET
}  // namespace gs

#endif
