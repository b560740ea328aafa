// Rows of a sparse matrix, one view for every layout: where a row's connections lie, and their columns as int32.
// A "row" is a row group (`group` outputs that share columns); only fanin and block have groups above 1. Of block what is
// counted are blocks, each `tile` columns wide.
#ifndef GOSSAMER_ROWS_H
#define GOSSAMER_ROWS_H

#include "gossamer.h"
#include "values.h"

namespace gs {
namespace GS_SET {

struct Row {
  int64_t first;  // position of its first connection in cols; its first value is first * group (block: * tile)
  int64_t count;  // connections of the row (per output)
};

GS_INLINE int64_t read_int(const void* p, int64_t bytes, int64_t i) {
  if (bytes == 8) return static_cast<const int64_t*>(p)[i];
  if (bytes == 4) return static_cast<const int32_t*>(p)[i];
  return static_cast<const uint16_t*>(p)[i];
}

GS_INLINE int64_t row_groups(const gs_matrix& w) { return w.n_out / w.group; }

GS_INLINE bool row_compressed(const gs_matrix& w) { return w.layout == GS_CSR || w.layout == GS_BLOCK || w.layout == GS_CSR_HALVES; }

GS_INLINE int64_t connections(const gs_matrix& w) {
  if (row_compressed(w)) return read_int(w.rows, w.row_bytes, row_groups(w));
  if (w.layout == GS_FANIN) return w.n_rows * w.per_row;
  return w.n_out * (w.n_in / w.tile) * w.per_row;
}

// First active entry of a fanin index whose row group is >= r; 0 for other layouts.
GS_INLINE int64_t first_active(const gs_matrix& w, int64_t r) {
  if (w.layout != GS_FANIN) return 0;
  int64_t lo = 0, hi = w.n_rows;
  while (lo < hi) {
    int64_t mid = (lo + hi) / 2;
    if (read_int(w.rows, w.row_bytes, mid) < r) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// The row group r. `active` walks the fanin index and must come from first_active or the call for r - 1.
GS_INLINE Row row_at(const gs_matrix& w, int64_t r, int64_t& active) {
  if (row_compressed(w)) {
    int64_t first = read_int(w.rows, w.row_bytes, r);
    return {first, read_int(w.rows, w.row_bytes, r + 1) - first};
  }
  if (w.layout == GS_NM) {
    int64_t count = (w.n_in / w.tile) * w.per_row;
    return {r * count, count};
  }
  if (active >= w.n_rows || read_int(w.rows, w.row_bytes, active) != r) return {0, 0};
  return {active++ * w.per_row, w.per_row};
}

// Number of connections of the row, counted from its start, whose column is < limit. `from` of them are known to be.
// For nm, limit must be a multiple of m.
GS_INLINE int64_t count_below(const gs_matrix& w, const Row& row, int64_t from, int64_t limit) {
  if (limit >= w.n_in) return row.count;
  if (w.layout == GS_NM) return (limit / w.tile) * w.per_row;
  int64_t j = from;
  if (w.col_bytes == 2) {
    const uint16_t* c = static_cast<const uint16_t*>(w.cols) + row.first;
    while (j + 8 <= row.count && c[j + 7] < limit) j += 8;
    while (j < row.count && c[j] < limit) ++j;
  } else {
    const int32_t* c = static_cast<const int32_t*>(w.cols) + row.first;
    while (j + 8 <= row.count && c[j + 7] < limit) j += 8;
    while (j < row.count && c[j] < limit) ++j;
  }
  return j;
}

// The columns of an nm row are stored as offsets: written out as out[q] = column of connection from + q, q < n <= kChunk.
// `from` counts from the row's start, and is that of a tile. Some tiles at a time, whose starts are the same over and over.
inline __attribute__((noinline)) void decode(const gs_matrix& w, const Row& row, int64_t from, int n, int32_t* out) {
  constexpr int some = 64;
  const uint8_t* c = static_cast<const uint8_t*>(w.cols) + row.first + from;
  const int per = static_cast<int>(w.per_row), m = static_cast<int>(w.tile), all = (n + per - 1) / per;
  const int tiles = per > some ? 1 : all < some / per ? all : some / per, whole = tiles * per;
  int32_t starts[256], start = static_cast<int32_t>(from / per) * m;
  for (int t = 0, q = 0; t < tiles; ++t)
    for (int i = 0; i < per; ++i) starts[q++] = t * m;
  for (int q = 0; q < n; q += whole, start += tiles * m) {
    const int part = n - q < whole ? n - q : whole;
    for (int i = 0; i < part; ++i) out[q + i] = start + starts[i] + c[q + i];
  }
}

// Calls use(columns, from, n) for connections from .. to of a row, in order: at once where columns are stored, chunk by
// chunk where they are decoded first.
template <class F> GS_INLINE void with_columns(const gs_matrix& w, const Row& row, int64_t from, int64_t to, F use) {
  if (w.col_bytes == 2) return use(static_cast<const uint16_t*>(w.cols) + row.first + from, from, to - from);
  if (w.col_bytes == 4) return use(static_cast<const int32_t*>(w.cols) + row.first + from, from, to - from);
  int32_t columns[kChunk];
  const int64_t most = kChunk / w.per_row * w.per_row;  // whole tiles
  for (int64_t n; from < to; from += n) {
    n = to - from < most ? to - from : most;
    decode(w, row, from, static_cast<int>(n), columns);
    use(static_cast<const int32_t*>(columns), from, n);
  }
}

}  // namespace GS_SET
}  // namespace gs

#endif
