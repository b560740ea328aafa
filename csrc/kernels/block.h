// The block layout, for all its products. A block row is `group` outputs; kernels take it in strips of 4, 2 or 1 of them,
// whose sums fit the registers. A batch tile is packed in parts as wide as the registers allow: a strip's values are
// read from memory once and stay in the first cache level for all parts.
#ifndef GOSSAMER_BLOCK_H
#define GOSSAMER_BLOCK_H

#include "blocks.h"

namespace gs {
namespace GS_SET {

constexpr int64_t kTileVectors = 8;  // of a batch tile

// The matrix on its grid of blocks, where a column is `tile` inputs and a connection is a block: what rows.h and blocks.h
// then count are blocks and block columns.
GS_INLINE gs_matrix block_grid(gs_matrix w) {
  w.n_in /= w.tile;
  return w;
}

GS_INLINE int64_t strip_height(const gs_matrix& w) { return w.group % 4 == 0 ? 4 : w.group % 2 == 0 ? 2 : 1; }

// Vectors of a part: with a strip's rows they make eight sums, which hide the latency of additions.
GS_INLINE int64_t part_vectors(const Tile& tile, int64_t strip) { return least(tile.vectors, kTileVectors / strip); }

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

// Calls use(vectors of a part, rows of a strip), both as compile-time constants.
template <class F> GS_INLINE void for_shape(const gs_matrix& w, const Tile& tile, F use) {
  const int64_t strip = strip_height(w), vectors = part_vectors(tile, strip);
  if (strip == 4) return vectors == 2 ? use(Constant<2>{}, Constant<4>{}) : use(Constant<1>{}, Constant<4>{});
  if (strip == 2) {
    if (vectors == 4) return use(Constant<4>{}, Constant<2>{});
    return vectors == 2 ? use(Constant<2>{}, Constant<2>{}) : use(Constant<1>{}, Constant<2>{});
  }
  if (vectors == 8) return use(Constant<8>{}, Constant<1>{});
  if (vectors == 4) return use(Constant<4>{}, Constant<1>{});
  return vectors == 2 ? use(Constant<2>{}, Constant<1>{}) : use(Constant<1>{}, Constant<1>{});
}

// Features begin .. end of a tile, part after part.
template <class T> GS_INLINE void pack_parts(const gs_panel& x, int64_t begin, int64_t end, const Tile& tile, int64_t vectors, T* out) {
  const int64_t size = (end - begin) * vectors * Vec<T>::lanes;
  for (int64_t p = 0; p < tile.vectors / vectors; ++p, out += size) pack_tile<T>(x, begin, end, part_at<T>(tile, p, vectors), out);
}

}  // namespace GS_SET
}  // namespace gs

#endif
