// The forward pass over a batch: tile by tile, block by block of inputs, all rows on one block before the next.
#ifndef GOSSAMER_SWEEP_H
#define GOSSAMER_SWEEP_H

#include "blocks.h"

namespace gs {
namespace GS_SET {

// One block of inputs of one batch tile, for a range of rows.
struct Visit {
  const gs_call* call;
  gs_matrix grid;            // what rows and connections are counted on
  Tile tile;
  int64_t begin, end;        // inputs of the block
  bool blocked;              // there is more than this block,
  bool first, last;          // which is one of these
  void* packed;              // its inputs for the tile
  void* room;                // as many bytes as the sweep was asked for
  const int32_t *from, *to;  // of each row of the range: its connections in this block
};

struct Sweep {
  gs_matrix grid;
  int64_t column;   // inputs of a column of the grid
  Blocks blocks;    // of columns
  int64_t vectors;  // of a batch tile
  int64_t room;     // bytes that a visit may use
};

// Items are (batch tile, row) pairs, tile outermost. Where a thread's items lie in one tile it needs their rows only.
// pack(visit) fills visit.packed, then use(visit, r0, r1) works on rows r0 .. r1.
template <class T, class Pack, class Use>
GS_INLINE gs_status sweep(const gs_call& call, const Sweep& how, int64_t begin, int64_t end, Pack pack, Use use) {
  const int64_t rows = row_groups(how.grid), bytes = tile_bytes<T>(call.batch, how.vectors), inputs = how.blocks.features * how.column;
  const bool one_tile = begin / rows == (end - 1) / rows;
  const int64_t top = one_tile ? begin % rows : 0, some = one_tile ? end - begin : rows;
  const int64_t packed = ceil_div(inputs * bytes, 64) * 64, room = ceil_div(how.room, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(packed + room + starts_bytes(how.blocks, some)));
  if (!scratch) return GS_MEMORY;
  int32_t* starts = reinterpret_cast<int32_t*>(scratch + packed + room);
  find_starts(how.grid, how.blocks, top, top + some, starts);
  while (begin < end) {
    const int64_t r0 = begin % rows, r1 = least(rows, r0 + (end - begin));
    const Tile tile = tile_at<T>(begin / rows, call.batch, how.vectors);
    for (int64_t n = 0; n < how.blocks.count; ++n) {
      const int32_t* from = starts + n * some + (r0 - top);
      const Visit visit = {&call, how.grid, tile, n * inputs, least(call.w.n_in, (n + 1) * inputs), how.blocks.count > 1,
                           n == 0, n + 1 == how.blocks.count, scratch, scratch + packed, from, from + some};
      pack(visit);
      use(visit, r0, r1);
    }
    begin += r1 - r0;
  }
  return GS_OK;
}

}  // namespace GS_SET
}  // namespace gs

#endif
