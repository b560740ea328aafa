// Convolutions of bytes: what is made ready once (conv_bytes_prepare.cpp) and runs for every image (conv_bytes.cpp).
#ifndef GOSSAMER_CONV_BYTES_H
#define GOSSAMER_CONV_BYTES_H

#include "byte_sums.h"

namespace gs {
namespace GS_SET {

// Connections of a group of rows, four at a time; short ones are filled up with weights of 0.
struct Share {
  int64_t first, count;  // quads
};

// The head of a room; then shares, spots, offsets, words and what sums begin with.
struct ReadyBytes {
  int64_t mark;  // kReadyBytes, so that other memory is refused
  int64_t n_out, n_columns, group;
  int64_t n_shares, n_spots, n_quads;
  int64_t image, before, past;  // elements of the input's planes, of the border before them and behind them
  int64_t at_shares, at_spots, at_offsets, at_words, at_firsts, bytes;
  int64_t writes;  // elements of one output plane up to the last that is written
};

constexpr int64_t kReadyBytes = 0x67735f6279746500 + GS_VEC_BYTES;

template <class R> GS_INLINE R* room_at(const ReadyBytes& ready, int64_t offset) {
  return reinterpret_cast<R*>(reinterpret_cast<char*>(const_cast<ReadyBytes*>(&ready)) + offset);
}

}  // namespace GS_SET
}  // namespace gs

#endif
