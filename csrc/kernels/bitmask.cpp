// bitmask: the values of the bits that are set are spread over the inputs of their bits, and multiplied with those inputs. Forward, f32
// only, for small batches. Every instruction set adds in the same order: sums of each 32nd input, then those 32 sums. Spreading needs
// VBMI2, and multiplies 0 with inputs that are not connected; samples with an infinity or NaN, which must reach nobody but those that are
// connected, are computed bit by bit, as everything is elsewhere.
#include "bitmask.h"
#include "rounded.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kSums = 32;  // of a row

template <int C> using Sums = float (&)[C][kRows];  // of a block of rows

// Up to kColumns samples, `stride` apart, with zeros up to whole words.
struct Samples {
  const float* x;
  int64_t stride;
  bool spreads;  // all finite, in the order that spread values have
};

// The sign of a zero would tell whether zeros were added to it.
GS_INLINE float unsigned_zero(float sum) { return sum + 0.0f; }

template <int C, class W> void portable(const gs_matrix& w, int64_t row, const Samples& samples, Sums<C> out) {
  const BitRow<W> at(w, row);
  for (int c = 0; c < C; ++c) {
    const float* x = samples.x + c * samples.stride;
    float all[kSums] = {};
    at.each(words_of_row(w), [&](W value, int64_t input) { all[input % kSums] += widen(value) * x[input]; });
    for (int half = kSums / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) all[i] += all[i + half];
    out[c][row % kRows] = unsigned_zero(all[0]);
  }
}

#if GS_MASKS
// Sums 0 .. 15 of a row, and 16 .. 31.
GS_INLINE float folded(__m512 low, __m512 high) {
  const __m512 sixteen = _mm512_add_ps(low, high);
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(sixteen), _mm512_extractf32x8_ps(sixteen, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return unsigned_zero(_mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two))));
}

// How values of a type are spread: add() takes a word of a row, and adds to both sums of every sample. Whole: a vector may be read; else
// no more than there are.
template <class W> struct Spread;

template <> struct Spread<float> {
  static constexpr bool kPaired = false;  // inputs in their order

  template <int C, bool Whole> GS_BYTE_PRODUCTS static GS_INLINE_MEMBER void add(BitRow<float>& at, int64_t word, const float* x, int64_t stride, __m512 (&sum)[C][2]) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part, x += 16) {
      const uint16_t bits = bits_at<uint16_t>(at.mask + 8 * word + 2 * part);
      const int count = __builtin_popcount(bits);
      const __m512 packed = Whole ? _mm512_loadu_ps(at.values) : _mm512_maskz_loadu_ps(static_cast<__mmask16>(lowest(count)), at.values);
      const __m512 weight = _mm512_maskz_expand_ps(bits, in_register(packed));
      at.values += count;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum[c][part & 1] += weight * _mm512_loadu_ps(x + c * stride);
    }
  }
};

// The upper half of a float: of 32 spread ones, those of even inputs are moved there, those of odd inputs are there.
template <> struct Spread<bf16> {
  static constexpr bool kPaired = true;  // of 32 inputs the even ones, then the odd ones

  template <int C, bool Whole> GS_BYTE_PRODUCTS static GS_INLINE_MEMBER void add(BitRow<bf16>& at, int64_t word, const float* x, int64_t stride, __m512 (&sum)[C][2]) {
#pragma GCC unroll 2
    for (int part = 0; part < 2; ++part, x += 32) {
      const uint32_t bits = bits_at<uint32_t>(at.mask + 8 * word + 4 * part);
      const int count = __builtin_popcount(bits);
      const __m512i packed = Whole ? _mm512_loadu_si512(at.values) : _mm512_maskz_loadu_epi16(static_cast<__mmask32>(lowest(count)), at.values);
      const __m512i both = _mm512_maskz_expand_epi16(bits, in_register(packed));
      const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
      const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
      at.values += count;
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        sum[c][0] += even * _mm512_loadu_ps(x + c * stride);
        sum[c][1] += odd * _mm512_loadu_ps(x + c * stride + 16);
      }
    }
  }
};

// Spread by 64, and widened by 16 from where they were put: taking a vector apart would need the port that spreads.
template <> struct Spread<int8_t> {
  static constexpr bool kPaired = false;

  template <int C, bool Whole> GS_BYTE_PRODUCTS static GS_INLINE_MEMBER void add(BitRow<int8_t>& at, int64_t word, const float* x, int64_t stride, __m512 (&sum)[C][2]) {
    const uint64_t bits = bits_at<uint64_t>(at.mask + 8 * word);
    const int64_t count = __builtin_popcountll(bits);
    const __m512i packed = Whole ? _mm512_loadu_si512(at.values) : _mm512_maskz_loadu_epi8(lowest(count), at.values);
    alignas(64) int8_t spread[kWordInputs];
    _mm512_store_si512(spread, _mm512_maskz_expand_epi8(bits, in_register(packed)));
    asm("" : "+m"(spread));
    at.values += count;
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part, x += 16) {
      const __m512 weight = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(spread + 16 * part))));
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum[c][part & 1] += weight * _mm512_loadu_ps(x + c * stride);
    }
  }
};

// Sums of even and of odd inputs, brought into order.
GS_INLINE float folded_pairs(__m512 even, __m512 odd) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  return folded(_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd));
}

// R rows from `row` on.
template <int R, int C, bool Whole, class W> GS_BYTE_PRODUCTS void spread(const gs_matrix& w, int64_t row, const Samples& samples, Sums<C> out) {
  const int64_t words = words_of_row(w);
  BitRow<W> at[R];
  __m512 sum[R][C][2];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
    at[r] = BitRow<W>(w, row + r);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[r][c][0] = sum[r][c][1] = _mm512_setzero_ps();
  }
  const float* x = samples.x;
  for (int64_t k = 0; k < words; ++k, x += kWordInputs)
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      prefetch(at[r].values, kFetched);
      Spread<W>::template add<C, Whole>(at[r], k, x, samples.stride, sum[r]);
    }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c)
      out[c][row % kRows + r] = Spread<W>::kPaired ? folded_pairs(sum[r][c][0], sum[r][c][1]) : folded(sum[r][c][0], sum[r][c][1]);
}

template <int C, class W> void rows(const gs_matrix& w, int64_t begin, int64_t end, const Samples& samples, Sums<C> out) {
  by_pairs(w, begin, end, kWordInputs / sizeof(W), [&](int64_t row) { spread<2, C, true, W>(w, row, samples, out); },
           [&](int64_t row) { spread<1, C, false, W>(w, row, samples, out); });
}

bool can_spread() { return gs_has_byte_products(); }
#else
template <int C, class W> void rows(const gs_matrix&, int64_t, int64_t, const Samples&, Sums<C>) {}
constexpr bool can_spread() { return false; }
#endif

// Blocks b0 .. b1 of rows for C samples from `column` on.
template <int C, class W> void blocks(const gs_call& call, const Samples& samples, int64_t column, int64_t b0, int64_t b1) {
  for (int64_t b = b0; b < b1; ++b) {
    float out[C][kRows];
    const int64_t begin = b * kRows, end = least(call.w.n_out, begin + kRows);
    if (samples.spreads) rows<C, W>(call.w, begin, end, samples, out);
    for (int64_t row = begin; !samples.spreads && row < end; ++row) portable<C, W>(call.w, row, samples, out);
    for (int c = 0; c < C; ++c) finish_column<float>(call, begin, end - begin, column + c, out[c]);
  }
}

template <int C> void blocks(const gs_call& call, const Samples& samples, int64_t column, int64_t b0, int64_t b1) {
  switch (call.w.narrow) {
    case GS_I8: return blocks<C, int8_t>(call, samples, column, b0, b1);
    case GS_BF16: return blocks<C, bf16>(call, samples, column, b0, b1);
    default: return blocks<C, float>(call, samples, column, b0, b1);
  }
}

bool finite(const float* x, int64_t n) {
  vec<float> none = {};  // a lane of NaN where an input is not finite
  for (int64_t i = 0; i < n; i += Vec<float>::lanes) none += load<float>(x + i) * 0;
  return sum<float>(none) == 0;
}

// Of each 32 inputs the even ones, then the odd ones.
void pair_up(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += kSums, x += kSums) {
    float odd[kSums / 2];
    for (int j = 0; j < kSums / 2; ++j) odd[j] = x[2 * j + 1];
    for (int j = 0; j < kSums / 2; ++j) x[j] = x[2 * j];
    __builtin_memcpy(x + kSums / 2, odd, sizeof odd);
  }
}

// Samples first .. first + count in whole words.
Samples gathered(const gs_call& call, int64_t first, int64_t count, int64_t stride, float* room) {
  const int64_t n_in = call.w.n_in;
  bool spreads = can_spread();
  for (int64_t c = 0; c < count; ++c) {
    float* to = room + c * stride;
    const float* x = column_at<float>(call.x, first + c, n_in, to);
    if (x != to) __builtin_memcpy(to, x, n_in * sizeof(float));
    __builtin_memset(to + n_in, 0, (stride - n_in) * sizeof(float));
    spreads = spreads && finite(to, stride);
  }
  if (spreads && call.w.narrow == GS_BF16) pair_up(room, count * stride);
  return {room, stride, spreads};
}

// Items are (kColumns samples, block of rows) pairs, samples outermost.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const int64_t count = ceil_div(call.w.n_out, kRows), stride = words_of_row(call.w) * kWordInputs;
  float* room = static_cast<float*>(gs_scratch(kColumns * stride * sizeof(float)));
  if (!room) return GS_MEMORY;
  while (begin < end) {
    const int64_t first = begin / count * kColumns, columns = least(kColumns, call.batch - first);
    const int64_t b0 = begin % count, b1 = least(count, b0 + (end - begin));
    const Samples samples = gathered(call, first, columns, stride, room);
    switch (columns) {
      case 1: blocks<1>(call, samples, first, b0, b1); break;
      case 2: blocks<2>(call, samples, first, b0, b1); break;
      case 3: blocks<3>(call, samples, first, b0, b1); break;
      default: blocks<4>(call, samples, first, b0, b1);
    }
    begin += b1 - b0;
  }
  return GS_OK;
}

}  // namespace

gs_status bitmask_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = words_of_row(w) * kRows * least(kColumns, call->batch) * 16;
  return for_items(*call, ceil_div(call->batch, kColumns) * ceil_div(w.n_out, kRows), cost,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
