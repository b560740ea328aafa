// Rows of tiles, as row-compressed layouts of tiles store them.
#ifndef GOSSAMER_LINES_H
#define GOSSAMER_LINES_H

#include "gossamer.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

// The tiles of a row of tiles: their columns, and their values one behind the other.
struct Line {
  const void* cols;
  const char* values;
  int64_t n;
};

GS_INLINE Line line_at(const gs_matrix& w, int64_t row, int64_t tile_bytes) {
  const auto pointer = [&](int64_t i) {
    return w.row_bytes == 8 ? static_cast<const int64_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
  };
  const int64_t first = pointer(row);
  return {static_cast<const char*>(w.cols) + first * w.col_bytes, static_cast<const char*>(w.values) + first * tile_bytes,
          pointer(row + 1) - first};
}

}  // namespace GS_SET
}  // namespace gs

#endif
