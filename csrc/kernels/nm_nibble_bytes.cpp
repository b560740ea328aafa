// nm_nibble_bytes: int8 values times inputs rounded to int8 (quantize.h), with exact integer sums. 16 neurons side by side, four
// neighbouring tiles each, and a nibble for each place: with byte products (VNNI, VBMI) one permute fetches 64 inputs, and one
// instruction multiplies 64 pairs and adds four of a neuron. Both factors are within 128 x 127, so a sum of two fits 16 bits,
// and one of 2^17, the most a neuron may have, 32 bits: nothing saturates. Forward, for small batches.
#include "rounded.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kNeurons = 16, kStep = 4 * kNeurons;  // a step: a connection of each neuron in each of four tiles

// One block of neurons: its bytes in the order of the file, and the shape they have. A byte of `offsets` holds a place of an even
// step, and of the one behind it in its upper half.
struct Block {
  const int8_t* values;
  const uint8_t* offsets;
  int64_t steps, n, m;
};

// The steps of a block one by one, each with the first input of its tiles. N is n where that is 1, 2 or 4, else 0.
template <int N, class Even, class Odd> GS_INLINE void each_step(const Block& block, const int8_t* q, const Even& even, const Odd& odd) {
  const int64_t n = N ? N : block.n;
  const int8_t* w = block.values;
  const uint8_t* offsets = block.offsets;
  int64_t i = 0;
  for (int64_t step = 0; step < block.steps; step += 2, w += 2 * kStep, offsets += kStep) {
    even(q, w, offsets);
    if (++i == n) i = 0, q += 4 * block.m;
    if (step + 1 == block.steps) break;
    odd(q, w + kStep, offsets);
    if (++i == n) i = 0, q += 4 * block.m;
  }
}

#if defined(__AVX2__)
// 32-bit sums of 8 neurons in each half.
template <int C> struct Sums {
  const int8_t* q;
  int64_t stride, m;
  __m256i sums[C][2] = {};

  // The inputs at 32 places, four tiles in turn: a look-up for each tile, which gives 0 for the places of others.
  GS_INLINE_MEMBER __m256i pick(const int8_t* from, __m256i at) const {
    __m256i found = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int tile = 0; tile < 4; ++tile) {
      const __m256i others = _mm256_set1_epi32(static_cast<int>(0x80808080u ^ (0x80u << 8 * tile)));
      const __m128i inputs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + tile * m));
      found = _mm256_or_si256(found, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(inputs), _mm256_or_si256(at, others)));
    }
    return found;
  }
  template <int shift> GS_INLINE_MEMBER void add(const int8_t* from, const int8_t* w, const uint8_t* offsets) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, w += 32, offsets += 32) {
      const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(offsets));
      const __m256i at = _mm256_and_si256(_mm256_srli_epi16(both, shift), _mm256_set1_epi8(15));
      const __m256i weight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)), size = _mm256_abs_epi8(weight);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(pick(from + c * stride, at), weight));
        sums[c][half] = _mm256_add_epi32(sums[c][half], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      }
    }
  }
};

template <int C> void sums(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  Sums<C> all = {q, stride, block.m};
  each_step<0>(block, q, [&](auto... at) GS_INLINE_LAMBDA { all.template add<0>(at...); },
               [&](auto... at) GS_INLINE_LAMBDA { all.template add<4>(at...); });
  for (int c = 0; c < C; ++c)
    for (int half = 0; half < 2; ++half) _mm256_storeu_si256(reinterpret_cast<__m256i*>(out[c] + 8 * half), all.sums[c][half]);
}
#else
template <int C> void sums(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  for (int c = 0; c < C; ++c) {
    int32_t sum[kNeurons] = {};
    const auto add = [&](const int8_t* from, const int8_t* w, const uint8_t* offsets, int shift) {
      for (int i = 0; i < kStep; ++i) sum[i / 4] += w[i] * from[i % 4 * block.m + (offsets[i] >> shift & 15)];
    };
    each_step<0>(block, q + c * stride, [&](auto... at) { add(at..., 0); }, [&](auto... at) { add(at..., 4); });
    for (int i = 0; i < kNeurons; ++i) out[c][i] = sum[i];
  }
}
#endif

#if defined(__AVX512BW__)
// The same with byte products, one factor of which is unsigned: inputs come 128 larger than they are, and 128 times the sum of the
// values is taken off at the end. Both may wrap around, the difference is exact. Even and odd steps have sums of their own, so that
// one need not wait for the other.
template <int C, int N> GS_BYTE_PRODUCTS void shifted(const Block& block, const int8_t* q, int64_t stride, int32_t (*out)[kNeurons]) {
  const __m512i first = _mm512_set1_epi32(static_cast<int>(block.m) * 0x03020100), nibble = _mm512_set1_epi8(15);
  const int64_t n = N ? N : block.n;
  const int8_t* w = block.values;
  const uint8_t* offsets = block.offsets;
  __m512i sums[2][C] = {}, values[2] = {};
  int64_t i = 0;
  for (int64_t step = 0; step < block.steps; step += 2, offsets += kStep) {
    const __m512i both = _mm512_loadu_si512(offsets);
#pragma GCC unroll 2
    for (int part = 0; part < 2; ++part, w += kStep) {
      if (part && step + 1 == block.steps) break;
      const __m512i at = _mm512_add_epi8(_mm512_and_si512(part ? _mm512_srli_epi16(both, 4) : both, nibble), first);
      const __m512i weight = _mm512_loadu_si512(w);
      values[part] = _mm512_dpbusd_epi32(values[part], _mm512_set1_epi8(-128), weight);  // read as 128
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        sums[part][c] = _mm512_dpbusd_epi32(sums[part][c], _mm512_permutexvar_epi8(at, _mm512_loadu_si512(q + c * stride)), weight);
      if (++i == n) i = 0, q += 4 * block.m;
    }
  }
  for (int c = 0; c < C; ++c) {
    const __m512i sum = _mm512_add_epi32(sums[0][c], sums[1][c]);
    _mm512_storeu_si512(out[c], _mm512_sub_epi32(sum, _mm512_add_epi32(values[0], values[1])));
  }
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
  const int64_t count = ceil_div(w.n_in / w.tile, 4) * w.per_row;
  for (int64_t b = b0; b < b1; ++b) {
    const Block block = {static_cast<const int8_t*>(w.values) + b * count * kStep,
                         static_cast<const uint8_t*>(w.cols) + b * ceil_div(count, 2) * kStep, count, w.per_row, w.tile};
    int32_t out[C][kNeurons] = {};
    if (steps.shifted) sums_of_shifted<C>(block, steps.q, steps.stride, out);
    else sums<C>(block, steps.q, steps.stride, out);
    for (int c = 0; c < C; ++c) finish_integers<kNeurons>(call, b * kNeurons, column + c, out[c], steps.size[c]);
  }
}

}  // namespace

gs_status nm_nibble_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t columns = least(kColumns, call->batch), cost = (w.n_in / w.tile) * w.per_row * columns / 2;
  return rounded(*call, ceil_div(w.n_out, kNeurons), cost, byte_products(),
                 [&](auto c, const Steps& steps, int64_t column, int64_t b0, int64_t b1) {
                   blocks<c>(*call, steps, column, b0, b1);
                 });
}

}  // namespace GS_SET
}  // namespace gs
