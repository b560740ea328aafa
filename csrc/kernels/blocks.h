// Blocks of features: all rows work on one block of inputs before the next, so that the block's tile stays in cache.
#ifndef GOSSAMER_BLOCKS_H
#define GOSSAMER_BLOCKS_H

#include "rows.h"
#include "tile.h"

namespace gs {
namespace GS_SET {

// Vectors of a batch tile: with a group's rows they make eight sums, which hide the latency of additions.
constexpr int64_t tile_vectors(int64_t group) { return GS_VEC_BYTES < 64 ? 8 / group : group < 4 ? 4 / group : 1; }

struct Blocks {
  int64_t features;  // of a block; the last may have fewer
  int64_t count;
};

// Bytes of a block's tile. A visit to a row costs some hundred cycles whatever the row holds there, so a block holds kWorth
// products of vectors a row where the second cache level allows; blocks of first-level size pay for dense rows and groups only.
// Beyond the second level there is nothing to gain but that rows are not visited for less than kLeast connections.
constexpr int64_t kFirstLevel = 24 * 1024, kSecondLevel = 192 * 1024, kWorth = 240, kLeast = 2;

// `bytes`: of one feature of the widest tile. The choice depends on the matrix and the batch alone.
GS_INLINE Blocks block_choice(const gs_matrix& w, int64_t bytes) {
  const int64_t n_in = most(1, w.n_in), per_row = most(1, connections(w) / most(1, row_groups(w)));
  const int64_t products = w.group * (bytes / GS_VEC_BYTES);  // of a connection, in vectors
  const int64_t worth = least(kWorth / products * n_in / per_row, kSecondLevel / bytes);
  const int64_t wanted = most(most(kFirstLevel / bytes, worth), kLeast * n_in / per_row);
  const int64_t features = even_blocks(n_in, least(wanted, n_in), w.layout == GS_NM ? w.tile : 1);
  return {features, ceil_div(n_in, features)};
}

// Bytes of the table that find_starts fills.
GS_INLINE int64_t starts_bytes(const Blocks& blocks, int64_t rows) {
  return ceil_div((blocks.count + 1) * rows * static_cast<int64_t>(sizeof(int32_t)), 64) * 64;
}

// starts[b * (r1 - r0) + r - r0]: connections of row group r in the blocks before b, 0 <= b <= blocks.count.
GS_INLINE void find_starts(const gs_matrix& w, const Blocks& blocks, int64_t r0, int64_t r1, int32_t* starts) {
  int64_t active = first_active(w, r0);
  for (int64_t r = r0; r < r1; ++r, ++starts) {
    const Row row = row_at(w, r, active);
    int64_t below = 0;
    starts[0] = 0;
    for (int64_t b = 1; b <= blocks.count; ++b) {
      below = count_below(w, row, below, b * blocks.features);
      starts[b * (r1 - r0)] = static_cast<int32_t>(below);
    }
  }
}

// The values of row groups r0 .. r1, `members` of each connection, start as zeros.
template <class T> void clear_rows(const gs_matrix& w, int64_t r0, int64_t r1, int64_t members, T* out) {
  int64_t active = first_active(w, r0);
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(w, r, active);
    for (int64_t i = row.first * members; i < (row.first + row.count) * members; ++i) out[i] = 0;
  }
}

// The connections of one block lie apart in memory, row by row: fetches those of the row kAhead rows on, taking it to be as
// long as this one (a wrong guess costs nothing but the fetch). `values`, of `bytes` each, may be the gradient that is written.
GS_INLINE void fetch_ahead(const gs_matrix& w, const Row& row, int64_t from, const void* values, int64_t bytes) {
  const int64_t next = row.first + from + kAhead * row.count;
  prefetch(values, next * w.group * bytes);
  prefetch(values, next * w.group * bytes + 64);
  prefetch(w.cols, next * w.col_bytes);
}

// The tile of feature 0, were it there: features are then addressed by their number.
template <class T> GS_INLINE T* rebased(T* block, int64_t begin, int64_t width) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(block) - static_cast<uintptr_t>(begin * width) * sizeof(T));
}

}  // namespace GS_SET
}  // namespace gs

#endif
