// bitmask, bitmask_bytes: a bit for each weight of a row in words of 64 inputs, and the values of those that are set one behind the
// other. What both kernels need to walk through them.
#ifndef GOSSAMER_BITMASK_H
#define GOSSAMER_BITMASK_H

#include "gossamer.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

constexpr int kRows = 16;  // finished together
constexpr int kWordInputs = 64;
constexpr int64_t kFetched = 1024;  // bytes between a fetch of values and their use: they may come from a third cache

GS_INLINE int64_t row_begin(const gs_matrix& w, int64_t row) {
  return w.row_bytes == 8 ? static_cast<const int64_t*>(w.rows)[row] : static_cast<const int32_t*>(w.rows)[row];
}

GS_INLINE int64_t words_of_row(const gs_matrix& w) { return (w.n_in + kWordInputs - 1) / kWordInputs; }

// Bits from an address that need not be aligned.
template <class Bits> GS_INLINE Bits bits_at(const uint8_t* mask) {
  Bits bits;
  __builtin_memcpy(&bits, mask, sizeof bits);
  return bits;
}

// A row: its words, and its values of type W.
template <class W> struct BitRow {
  const W* values;
  const uint8_t* mask;

  GS_INLINE_MEMBER BitRow() {}
  GS_INLINE_MEMBER BitRow(const gs_matrix& w, int64_t row)
      : values(static_cast<const W*>(w.values) + row_begin(w, row)),
        mask(static_cast<const uint8_t*>(w.cols) + row * words_of_row(w) * 8) {}

  // Calls use(value, input) for the inputs that are connected, in order.
  template <class F> GS_INLINE_MEMBER void each(int64_t words, const F& use) const {
    const W* value = values;
    for (int64_t k = 0; k < words; ++k)
      for (uint64_t bits = bits_at<uint64_t>(mask + 8 * k); bits; bits &= bits - 1)
        use(*value++, k * kWordInputs + __builtin_ctzll(bits));
  }
};

#if GS_MASKS
GS_INLINE uint64_t lowest(int64_t count) { return count == 64 ? ~0ull : (1ull << count) - 1; }

// Spreading takes two steps of a vector, but dozens where it reads memory itself: the vector is loaded before.
template <class V> GS_INLINE V in_register(V v) {
  asm("" : "+v"(v));
  return v;
}
#endif

// Rows begin .. end, two at a time, for one of them alone waits for the count of its bits: pair(row) for both, single(row) for one
// behind the last pair, and for those whose values end within `reads` of the buffer.
template <class Pair, class Single>
GS_INLINE void by_pairs(const gs_matrix& w, int64_t begin, int64_t end, int64_t reads, const Pair& pair, const Single& single) {
  int64_t row = begin;
  for (; row + 2 <= end && row_begin(w, row + 2) + reads <= w.n_values; row += 2) pair(row);
  for (; row < end; ++row) single(row);
}

}  // namespace GS_SET
}  // namespace gs

#endif
