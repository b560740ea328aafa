// Products over planes: a matrix whose columns are offsets, made ready once for many images. Layouts meet here and nowhere
// else: what runs are strips of 1, 2, 4 or 8 rows that share a list of offsets, over tiles of positions.
#ifndef GOSSAMER_CONV_H
#define GOSSAMER_CONV_H

#include "kernels.h"
#include "rows.h"
#include "tile.h"

namespace gs {
namespace GS_SET {

// Rows that share their offsets; the strip's number times Ready::group is the first of them.
struct Strip {
  int64_t first;  // of its offsets
  int64_t value;  // of its values: row g of connection j has number value + j * Ready::stride + g
  int64_t count;  // connections
};

// Output positions that are computed at once.
struct Spot {
  int64_t in;       // input position of the first
  int64_t out;      // output position of the first
  int64_t vectors;  // that hold them
  int64_t size;     // positions of these vectors that are in the span
  int64_t held;     // of those, up to the last that is inside
  int64_t tail;     // positions after them that are zeros
  int64_t masked;   // 0: all of them are inside
  uint64_t inside[2];  // a bit for each
};

constexpr int64_t kMostVectors = 8;  // of a spot
static_assert(kMostVectors * GS_VEC_BYTES / sizeof(float) <= 128, "a bit of Spot::inside for each position");

// The head of a room; then strips, spots, offsets and, where they are not those of the matrix, values.
struct Ready {
  int64_t mark;  // kReady, so that other memory is refused
  int64_t n_out, dtype, narrow;
  int64_t group;      // rows of a strip
  int64_t stride;     // values from one connection of a strip to the next
  int64_t n_strips, n_spots, n_offsets;
  int64_t n_values;   // copied here; 0: those of the matrix serve
  int64_t at_strips, at_spots, at_offsets, at_values, bytes;
  int64_t writes;     // elements of one output plane up to the last that is written
};

constexpr int64_t kReady = 0x67735f636f6e7600 + GS_VEC_BYTES;
constexpr int64_t kLine = 64;

template <class R> GS_INLINE R* room_at(const Ready& ready, int64_t offset) {
  return reinterpret_cast<R*>(reinterpret_cast<char*>(const_cast<Ready*>(&ready)) + offset);
}

// Vectors of positions beside the rows of a strip: as many sums as hide the latency of additions and fit the registers.
constexpr int64_t spot_vectors(int64_t group) {
  if (GS_VEC_BYTES < 64) return group == 1 ? 8 : group == 2 ? 6 : group == 4 ? 3 : 1;
  return group < 4 ? 8 : group == 4 ? 6 : 3;
}

}  // namespace GS_SET
}  // namespace gs

#endif
