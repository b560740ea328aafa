// Rows of a sparse matrix, one view for every layout: where a row's connections lie, and their columns as int32.
// A "row" is a row group (`group` outputs that share columns); only fanin has groups above 1.
#ifndef GOSSAMER_ROWS_H
#define GOSSAMER_ROWS_H

#include "gossamer.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

constexpr int kChunk = 512;  // connections decoded at a time; a multiple of every n is used for nm

struct Row {
  int64_t first;  // position of its first connection in cols; its first value is first * group
  int64_t count;  // connections of the row (per output)
};

GS_INLINE int64_t read_int(const void* p, int64_t bytes, int64_t i) {
  if (bytes == 8) return static_cast<const int64_t*>(p)[i];
  if (bytes == 4) return static_cast<const int32_t*>(p)[i];
  return static_cast<const uint16_t*>(p)[i];
}

GS_INLINE int64_t row_groups(const gs_matrix& w) { return w.n_out / w.group; }

GS_INLINE int64_t connections(const gs_matrix& w) {
  if (w.layout == GS_CSR) return read_int(w.rows, w.row_bytes, w.n_out);
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
  if (w.layout == GS_CSR) {
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

// The same by bisection, for a row nobody has walked yet.
GS_INLINE int64_t find_below(const gs_matrix& w, const Row& row, int64_t limit) {
  if (limit <= 0) return 0;
  if (w.layout == GS_NM) return (limit / w.tile) * w.per_row;
  int64_t lo = 0, hi = row.count;
  while (lo < hi) {
    int64_t mid = (lo + hi) / 2;
    if (read_int(w.cols, w.col_bytes, row.first + mid) < limit) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

// Connections that decode() takes at once: kChunk, or the largest multiple of n below it.
GS_INLINE int64_t chunk_of(const gs_matrix& w) {
  return w.layout == GS_NM ? (kChunk / w.per_row) * w.per_row : kChunk;
}

// out[q] = (column of connection from + q - base) * scale, q < n <= chunk_of(w). For nm, `from` is a multiple of n.
GS_INLINE void decode(const gs_matrix& w, const Row& row, int64_t from, int n, int32_t base, int32_t scale, int32_t* out) {
  if (w.layout == GS_NM) {
    const uint8_t* c = static_cast<const uint8_t*>(w.cols) + row.first + from;
    int32_t per = static_cast<int32_t>(w.per_row), m = static_cast<int32_t>(w.tile);
    int32_t start = static_cast<int32_t>(from / w.per_row) * m - base;
    if (per == 1) {
      for (int q = 0; q < n; ++q) out[q] = (start + q * m + c[q]) * scale;
      return;
    }
    for (int q = 0; q < n; start += m)
      for (int i = 0; i < per; ++i, ++q) out[q] = (start + c[q]) * scale;
  } else if (w.col_bytes == 2) {
    const uint16_t* c = static_cast<const uint16_t*>(w.cols) + row.first + from;
    for (int q = 0; q < n; ++q) out[q] = (c[q] - base) * scale;
  } else {
    const int32_t* c = static_cast<const int32_t*>(w.cols) + row.first + from;
    for (int q = 0; q < n; ++q) out[q] = (c[q] - base) * scale;
  }
}

}  // namespace GS_SET
}  // namespace gs

#endif
