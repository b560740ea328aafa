// bitmask_bytes: int8 values times inputs rounded to int8 (quantize.h), with exact integer sums. Processors of the 512-bit set with
// byte products (VNNI, VBMI2) spread up to 64 values over the inputs of a word at once, and multiply and add all 64. Both factors are
// within 128 x 127, so a sum of 2^17 products, the most a row may have, fits 32 bits. Forward, for small batches.
#include "bitmask.h"
#include "rounded.h"

namespace gs {
namespace GS_SET {
namespace {

template <int C> using Sums = int32_t (&)[C][kRows];  // of a block of rows

template <int C> void portable(const gs_matrix& w, int64_t row, const Steps& steps, Sums<C> out) {
  const BitRow<int8_t> at(w, row);
  for (int c = 0; c < C; ++c) {
    const int8_t* q = steps.q + c * steps.stride;
    int32_t sum = 0;
    at.each(words_of_row(w), [&](int8_t value, int64_t input) { sum += value * q[input]; });
    out[c][row % kRows] = sum;
  }
}

#if GS_MASKS
// R rows from `row` on. One factor of a byte product is unsigned: inputs come 128 larger than they are, and 128 times the sum of the
// values is taken off at the end. Both may wrap around, the difference is exact. Whole: 64 values may be read at every word; else no
// more than there are. A word takes three cycles of the one port that moves bits into masks (one) and spreads bytes (two), however few
// are set.
template <int R, int C, bool Whole> GS_BYTE_PRODUCTS void shifted(const gs_matrix& w, int64_t row, const Steps& steps, Sums<C> out) {
  const int64_t words = words_of_row(w);
  const __m512i shift = _mm512_set1_epi8(-128);  // read as 128
  BitRow<int8_t> at[R];
  __m512i sum[R][C], off[R];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
    at[r] = BitRow<int8_t>(w, row + r);
    off[r] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[r][c] = _mm512_setzero_si512();
  }
  const int8_t* q = steps.q;
  for (int64_t k = 0; k < words; ++k, q += kWordInputs)
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const uint64_t bits = bits_at<uint64_t>(at[r].mask + 8 * k);
      const int64_t count = __builtin_popcountll(bits);
      const int8_t* values = at[r].values;
      prefetch(values, kFetched);
      const __m512i packed = Whole ? _mm512_loadu_si512(values) : _mm512_maskz_loadu_epi8(lowest(count), values);
      const __m512i weight = _mm512_maskz_expand_epi8(bits, in_register(packed));
      at[r].values = values + count;
      off[r] = _mm512_dpbusd_epi32(off[r], shift, weight);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], _mm512_loadu_si512(q + c * steps.stride), weight);
    }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) out[c][row % kRows + r] = _mm512_reduce_add_epi32(_mm512_sub_epi32(sum[r][c], off[r]));
}

template <int C> void rows(const gs_matrix& w, int64_t begin, int64_t end, const Steps& steps, Sums<C> out) {
  by_pairs(w, begin, end, kWordInputs, [&](int64_t row) { shifted<2, C, true>(w, row, steps, out); },
           [&](int64_t row) { shifted<1, C, false>(w, row, steps, out); });
}

bool byte_products() { return gs_has_byte_products(); }
#else
template <int C> void rows(const gs_matrix&, int64_t, int64_t, const Steps&, Sums<C>) {}
constexpr bool byte_products() { return false; }
#endif

// Blocks b0 .. b1 of rows for C batch columns from `column` on.
template <int C> void blocks(const gs_call& call, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
  for (int64_t b = b0; b < b1; ++b) {
    int32_t out[C][kRows] = {};
    const int64_t begin = b * kRows, end = least(call.w.n_out, begin + kRows);
    if (steps.shifted) rows<C>(call.w, begin, end, steps, out);
    for (int64_t row = begin; !steps.shifted && row < end; ++row) portable<C>(call.w, row, steps, out);
    for (int c = 0; c < C; ++c) finish_integers<kRows>(call, begin, column + c, out[c], steps.size[c]);
  }
}

}  // namespace

gs_status bitmask_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = words_of_row(w) * kRows * least(kColumns, call->batch) * 4;
  return rounded(*call, ceil_div(w.n_out, kRows), cost, byte_products(),
                 [&](auto c, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
                   blocks<c>(*call, steps, column, b0, b1);
                 });
}

}  // namespace GS_SET
}  // namespace gs
