// nm_nibbles: 16 neurons side by side. For each tile of m <= 16 inputs every neuron keeps n, each at a place of one nibble; eight
// nibbles are a word of a neuron, moved by four bits from one connection to the next: a permute reads the lowest ones. Forward, f32
// only. Every instruction set adds in the same order: each fourth connection of a neuron, then those four sums.
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kNeurons = 16, kWord = 8;  // connections of a word
#if GS_MASKS
constexpr int kLanes = 16;
typedef f32v part;
#else
constexpr int kLanes = 8;
typedef f32l part;
#endif
constexpr int kParts = kNeurons / kLanes;
typedef uint32_t word __attribute__((vector_size(4 * kLanes)));
typedef uint32_t wordu __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));

#if GS_MASKS
GS_INLINE part values(const float* p) { return _mm512_loadu_ps(p); }
GS_INLINE part values(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
GS_INLINE part values(const bf16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
#else
template <class W> GS_INLINE part values(const W* p) { return load8(p); }
#endif

// x[place] per lane, of places in the lowest four bits. Wide: they may be 8 or more. Reads 16 inputs, or 8.
template <bool Wide> GS_INLINE part pick(const float* x, word places) {
#if GS_MASKS
  return _mm512_permutexvar_ps((__m512i)places, _mm512_loadu_ps(x));
#elif defined(__AVX2__)
  const __m256i at = (__m256i)places;
  const part low = _mm256_permutevar8x32_ps(load8(x), at);  // reads three bits
  if constexpr (!Wide) return low;
  const part high = _mm256_permutevar8x32_ps(load8(x + 8), at);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)));  // by the fourth, moved to the top
#else
  part v = {};
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) v[i] = x[places[i] & 15];
  return v;
#endif
}

// One block of neurons.
template <class W> struct Block {
  const W* values;
  const uint8_t* offsets;
  int64_t steps, n, m;  // steps: connections of a neuron
};

// Sums of one block. N is n where that is 1, 2, 4 or 8, which divide a word, else 0.
template <int N, bool Wide, class W> void sums(const Block<W>& block, const float* x, float* out) {
  const int64_t n = N ? N : block.n;
  part sum[4][kParts] = {};
  const W* w = block.values;
  const uint8_t* offsets = block.offsets;
  int64_t kept = 0;
  const auto add = [&](int64_t count) GS_INLINE_LAMBDA {
    word at[kParts];
    each<kParts>([&](auto p) GS_INLINE_LAMBDA { at[p] = *reinterpret_cast<const wordu*>(offsets + p * 4 * kLanes); });
    int64_t i = N ? 0 : kept;
    each<kWord>([&](auto u) GS_INLINE_LAMBDA {
      if (u >= count) return;
      each<kParts>([&](auto p) GS_INLINE_LAMBDA {
        sum[u & 3][p] += values(w + u * kNeurons + p * kLanes) * pick<Wide>(x, at[p]);
        at[p] >>= 4;
      });
      if (++i == n) i = 0, x += block.m;
    });
    kept = i;
  };
  int64_t step = 0;
  for (; step + kWord <= block.steps; step += kWord, w += kWord * kNeurons, offsets += 4 * kNeurons) add(kWord);
  if (step < block.steps) add(block.steps - step);
  each<kParts>([&](auto p) GS_INLINE_LAMBDA {
    const part all = (sum[0][p] + sum[1][p]) + (sum[2][p] + sum[3][p]);
    __builtin_memcpy(out + p * kLanes, &all, sizeof all);
  });
}

template <bool Wide, class W> void sums(const Block<W>& block, const float* x, float* out) {
  switch (block.n) {
    case 1: return sums<1, Wide>(block, x, out);
    case 2: return sums<2, Wide>(block, x, out);
    case 4: return sums<4, Wide>(block, x, out);
    case 8: return sums<8, Wide>(block, x, out);
    default: return sums<0, Wide>(block, x, out);
  }
}

// Blocks b0 .. b1 for one batch column with contiguous features.
template <class W> void blocks(const gs_call& call, const float* x, int64_t column, int64_t b0, int64_t b1) {
  const gs_matrix& w = call.w;
  const int64_t steps = w.n_in / w.tile * w.per_row;
  Column<float> out = {call, b0 * kNeurons, column};
  for (int64_t b = b0; b < b1; ++b) {
    const Block<W> block = {static_cast<const W*>(w.values) + b * steps * kNeurons,
                            static_cast<const uint8_t*>(w.cols) + b * ceil_div(steps, kWord) * 4 * kNeurons, steps, w.per_row, w.tile};
    float y[kNeurons];
    if (w.tile > 8) sums<true>(block, x, y);
    else sums<false>(block, x, y);
    const int64_t count = least(kNeurons, w.n_out - b * kNeurons);
    float* to = out.next(count);
    for (int64_t i = 0; i < count; ++i) to[i] = y[i];
  }
  out.finish();
}

void blocks(const gs_call& call, const float* x, int64_t column, int64_t b0, int64_t b1) {
  switch (call.w.narrow) {
    case GS_I8: return blocks<int8_t>(call, x, column, b0, b1);
    case GS_BF16: return blocks<bf16>(call, x, column, b0, b1);
    default: return blocks<float>(call, x, column, b0, b1);
  }
}

// Items are (batch column, block of 16 neurons) pairs, column outermost. The last tiles of fewer than 16 inputs are read with what
// follows them, so the inputs are copied to where something does.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const int64_t n_in = call.w.n_in, count = ceil_div(call.w.n_out, kNeurons);
  float* room = nullptr;
  if (call.x.feature_stride != 1 || call.w.tile < 16) {
    room = static_cast<float*>(gs_scratch((n_in + 16) * sizeof(float)));
    if (!room) return GS_MEMORY;
    __builtin_memset(room + n_in, 0, 16 * sizeof(float));
  }
  while (begin < end) {
    const int64_t column = begin / count, b0 = begin % count, b1 = least(count, b0 + (end - begin));
    const float* x = column_at<float>(call.x, column, n_in, room);
    if (room && x != room) __builtin_memcpy(room, x, n_in * sizeof(float)), x = room;
    blocks(call, x, column, b0, b1);
    begin += b1 - b0;
  }
  return GS_OK;
}

}  // namespace

gs_status nm_nibbles_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = (w.n_in / w.tile) * w.per_row * 2;
  return for_items(*call, call->batch * ceil_div(w.n_out, kNeurons), cost,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
