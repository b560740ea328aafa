// Rows of the output gradient for one batch tile, one after the other, into registers.
#ifndef GOSSAMER_GRADIENTS_H
#define GOSSAMER_GRADIENTS_H

#include "tile.h"

namespace gs {
namespace GS_SET {

constexpr int64_t kRowChunk = 16;  // row groups packed at a time

// Feature-major memory is read where it lies; batch-major memory is packed first, chunk by chunk.
template <class T, int V, int G> struct Gradients {
  const gs_panel& panel;
  const Tile& tile;
  T* room;                     // [kRowChunk * G][tile]
  int64_t begin = 0, end = 0;  // row groups that are packed

  GS_INLINE_MEMBER Gradients(const gs_panel& panel, const Tile& tile, T* room)
      : panel(panel), tile(tile), room(room) {}

  // grad = the G rows of row group r; r ascends from call to call and stays below `rows`.
  GS_INLINE_MEMBER void row(int64_t r, int64_t rows, vec<T> (&grad)[G][V]) {
    if (panel.batch_stride == 1) {
      const T* p = static_cast<const T*>(panel.data) + r * G * panel.feature_stride + tile.begin;
      fetch_rows_ahead<T, V, G>(p, panel.feature_stride);
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) load_row<T, V>(p + g * panel.feature_stride, tile.size, grad[g]);
      return;
    }
    if (r >= end) {
      begin = r;
      end = least(rows, r + kRowChunk);
      pack_tile<T>(panel, begin * G, end * G, tile, room);
    }
    const T* p = room + (r - begin) * G * V * Vec<T>::lanes;
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) grad[g][v] = load<T>(p + (g * V + v) * Vec<T>::lanes);
  }
};

}  // namespace GS_SET
}  // namespace gs

#endif
