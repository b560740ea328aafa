// nm_bytes: int8 values times inputs rounded to int8 (quantize.h), with exact integer sums. 16 neurons side by side, two
// neighbouring tiles each, so that one byte permute fetches 32 inputs and one multiply-add makes 16 sums of two products.
// Both factors are within 128 x 127, so a sum of two fits 16 bits, and one of 2^17, the most a neuron may have, 32 bits:
// nothing saturates. Forward, for small batches. Processors of the 512-bit set with byte products (VNNI, VBMI) multiply 64 pairs
// and add four of a neuron in one instruction.
#include "rounded.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kNeurons = 16;  // side by side

// One block of neurons: its bytes in the order of the file, and the shape they have.
struct Block {
  const int8_t* values;
  const uint8_t* offsets;  // from the first input of a pair of tiles
  int64_t pairs, n, m;
};

#if defined(__AVX2__)
// 32-bit sums of 16 neurons, of which the even ones come in lower and the odd ones in upper halves.
struct Sums {
  __m256i even = _mm256_setzero_si256(), odd = _mm256_setzero_si256();

  GS_INLINE_MEMBER void add(__m256i pairs) {
    even = _mm256_add_epi32(even, _mm256_madd_epi16(pairs, _mm256_set1_epi32(1)));
    odd = _mm256_add_epi32(odd, _mm256_srai_epi32(pairs, 16));
  }
  GS_INLINE_MEMBER void store(int32_t* out) const {
    const __m256i low = _mm256_unpacklo_epi32(even, odd), high = _mm256_unpackhi_epi32(even, odd);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), _mm256_permute2x128_si256(low, high, 0x31));
  }
};

GS_INLINE __m256i table(const int8_t* q) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q)));
}

// The inputs at 32 offsets: below 16, or, if the pair of tiles is wider, below 32.
template <bool Wide> GS_INLINE __m256i pick(const int8_t* q, __m256i offsets) {
  const __m256i low = _mm256_shuffle_epi8(table(q), offsets);
  if constexpr (!Wide) return low;
  const __m256i high = _mm256_shuffle_epi8(table(q + 16), offsets);
  return _mm256_blendv_epi8(low, high, _mm256_slli_epi16(offsets, 3));  // by bit 4, moved to where a blend reads it
}

template <int C, bool Wide> GS_INLINE void permuted(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  Sums sums[C];
  const int8_t* w = block.values;
  const uint8_t* offsets = block.offsets;
  for (int64_t pair = 0; pair < block.pairs; ++pair, q += 2 * block.m)
    for (int64_t i = 0; i < block.n; ++i, w += 32, offsets += 32) {
      const __m256i at = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(offsets));
      const __m256i weight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)), size = _mm256_abs_epi8(weight);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        sums[c].add(_mm256_maddubs_epi16(size, _mm256_sign_epi8(pick<Wide>(q + c * stride, at), weight)));
    }
  for (int c = 0; c < C; ++c) sums[c].store(out[c]);
}

template <int C> void sums(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  if (block.m <= 8) permuted<C, false>(block, q, stride, out);
  else permuted<C, true>(block, q, stride, out);
}
#else
template <int C> void sums(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  for (int c = 0; c < C; ++c) {
    int32_t sum[kNeurons] = {};
    for (int64_t step = 0; step < block.pairs * block.n; ++step) {
      const int8_t* inputs = q + c * stride + step / block.n * 2 * block.m;
      for (int i = 0; i < 2 * kNeurons; ++i)
        sum[i / 2] += block.values[step * 32 + i] * inputs[block.offsets[step * 32 + i]];
    }
    for (int i = 0; i < kNeurons; ++i) out[c][i] = sum[i];
  }
}
#endif

#if defined(__AVX512BW__)
// The same with byte products, one factor of which is unsigned: inputs come 128 larger than they are, and 128 times the sum of the
// values is taken off at the end. Both may wrap around, the difference is exact.
template <int C> struct ShiftedSums {
  __m512i sums[C] = {}, values = {};

  // Two steps of 32. Their words alternate then, so that the four products that are added belong to one neuron.
  GS_BYTE_PRODUCTS GS_INLINE_MEMBER void add(const __m512i (&table)[C], __m512i w, __m512i offsets, __m512i past) {
    const __m512i rise = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i alternate = _mm512_or_si512(rise, _mm512_slli_epi32(_mm512_add_epi32(rise, _mm512_set1_epi32(16)), 16));
    const __m512i at = _mm512_add_epi8(_mm512_permutexvar_epi16(alternate, offsets), past);
    w = _mm512_permutexvar_epi16(alternate, w);
    values = _mm512_dpbusd_epi32(values, _mm512_set1_epi8(-128), w);  // read as 128
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sums[c] = _mm512_dpbusd_epi32(sums[c], _mm512_permutexvar_epi8(at, table[c]), w);
  }
};

// Two pairs of tiles share a table of 64 inputs. N is n where that is 1, 2 or 4, else 0.
template <int C, int N> GS_BYTE_PRODUCTS void shifted(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  const int64_t n = N ? N : block.n;
  const __m512i all = _mm512_set1_epi8(static_cast<char>(2 * block.m));
  const __m512i past[3] = {{}, _mm512_maskz_mov_epi16(0xaaaaaaaa, all), all};  // by the steps that are of the second pair
  ShiftedSums<C> sums;
  __m512i table[C];
  const int8_t* w = block.values;
  const uint8_t* offsets = block.offsets;
  int64_t pair = 0;
  for (; pair < block.pairs; pair += 2, q += 4 * block.m) {
    for (int c = 0; c < C; ++c) table[c] = _mm512_loadu_si512(q + c * stride);
    if (pair + 1 == block.pairs) break;
#pragma GCC unroll 4
    for (int64_t i = 0; i < 2 * n; i += 2, w += 64, offsets += 64)
      sums.add(table, _mm512_loadu_si512(w), _mm512_loadu_si512(offsets), past[(i >= n) + (i + 1 >= n)]);
  }
  for (int64_t i = 0; pair < block.pairs && i < n; i += 2, w += 64, offsets += 64) {
    const __mmask64 there = i + 1 < n ? ~0ull : 0xffffffffull;
    sums.add(table, _mm512_maskz_loadu_epi8(there, w), _mm512_maskz_loadu_epi8(there, offsets), past[0]);
  }
  for (int c = 0; c < C; ++c) _mm512_storeu_si512(out[c], _mm512_sub_epi32(sums.sums[c], sums.values));
}

template <int C> void sums_of_shifted(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  switch (block.n) {
    case 1: return shifted<C, 1>(block, q, stride, out);
    case 2: return shifted<C, 2>(block, q, stride, out);
    case 4: return shifted<C, 4>(block, q, stride, out);
    default: return shifted<C, 0>(block, q, stride, out);
  }
}

bool byte_products() { return gs_has_byte_products(); }
#else
template <int C> void sums_of_shifted(const Block&, const int8_t*, int64_t, int32_t (*)[kNeurons]) {}
constexpr bool byte_products() { return false; }
#endif

// Blocks b0 .. b1 for C batch columns from `column` on.
template <int C> void blocks(const gs_call& call, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
  const gs_matrix& w = call.w;
  const int64_t pairs = ceil_div(w.n_in / w.tile, 2), bytes = pairs * w.per_row * 2 * kNeurons;
  for (int64_t b = b0; b < b1; ++b) {
    const Block block = {static_cast<const int8_t*>(w.values) + b * bytes, static_cast<const uint8_t*>(w.cols) + b * bytes,
                         pairs, w.per_row, w.tile};
    int32_t out[C][kNeurons] = {};
    if (steps.shifted) sums_of_shifted<C>(block, steps.q, steps.stride, out);
    else sums<C>(block, steps.q, steps.stride, out);
    for (int c = 0; c < C; ++c) finish_integers<kNeurons>(call, b * kNeurons, column + c, out[c], steps.size[c]);
  }
}

}  // namespace

gs_status nm_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t columns = least(kColumns, call->batch), cost = (w.n_in / w.tile) * w.per_row * columns / 2;
  return rounded(*call, ceil_div(w.n_out, kNeurons), cost, byte_products(),
                 [&](auto columns, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
                   blocks<columns>(*call, steps, column, b0, b1);
                 });
}

}  // namespace GS_SET
}  // namespace gs
