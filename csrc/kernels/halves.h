// Pairs of floats as words of two bfloat16, the first one in the lower half: what tiles of the matrix unit are made of.
#ifndef GOSSAMER_HALVES_H
#define GOSSAMER_HALVES_H

#include "vec.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace gs {
namespace GS_SET {

typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16u __attribute__((vector_size(64), aligned(2), may_alias));
typedef uint16_t u16x16u __attribute__((vector_size(32), aligned(2), may_alias));

GS_INLINE u32x16 load_words(const void* p) { return *static_cast<const u32x16u*>(p); }
GS_INLINE void store_words(void* p, u32x16 v) { *static_cast<u32x16u*>(p) = v; }

#if defined(__AVX512BF16__)
GS_INLINE u32x16 words_of(u32x16 first, u32x16 second) {
  const __m512i apart = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  const u32x16 rise = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (u32x16)_mm512_permutexvar_epi16((__m512i)(rise | (rise + 16) << 16), apart);
}
// Neighbours in memory as words.
GS_INLINE u32x16 words_of_neighbours(const float* p) {
  return (u32x16)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(p + 16), _mm512_loadu_ps(p));
}
#else
// To nearest, halves to even; NaN stays NaN. In the upper halves.
GS_INLINE u32x16 rounded(u32x16 bits) {
  const u32x16 near = bits + 0x7fff + (bits >> 16 & 1);
  return (bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : near;
}
GS_INLINE u32x16 words_of(u32x16 first, u32x16 second) { return rounded(first) >> 16 | (rounded(second) & 0xffff0000u); }
GS_INLINE u32x16 words_of_neighbours(const float* p) {
  const u32x16 a = rounded(load_words(p)), b = rounded(load_words(p + 16));
  const u32x16 even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const u32x16 odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return even >> 16 | (odd & 0xffff0000u);
}
#endif

// Of numbers that are bfloat16 already.
GS_INLINE u32x16 words_of(const uint16_t* first, const uint16_t* second) {
  const u32x16 a = __builtin_convertvector(*reinterpret_cast<const u16x16u*>(first), u32x16);
  const u32x16 b = __builtin_convertvector(*reinterpret_cast<const u16x16u*>(second), u32x16);
  return a | b << 16;
}

// n floats to bfloat16.
GS_INLINE void narrow_all(const float* from, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) store_words(to + i, words_of_neighbours(from + i));
  for (; i < n; i += 32) {
    float rest[32] = {};
    __builtin_memcpy(rest, from + i, static_cast<size_t>(n - i) * sizeof(float));
    const u32x16 words = words_of_neighbours(rest);
    __builtin_memcpy(to + i, &words, static_cast<size_t>(n - i) * 2);
  }
}

// Rows and columns of 16 x 16 words change places.
GS_INLINE void transpose_words(u32x16 (&w)[16]) {
  u32x16 t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = __builtin_shufflevector(w[i], w[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    t[i + 1] = __builtin_shufflevector(w[i], w[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    if (!(i & 2)) {
      w[i] = __builtin_shufflevector(t[i], t[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      w[i + 2] = __builtin_shufflevector(t[i], t[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    if (!(i & 4)) {
      t[i] = __builtin_shufflevector(w[i], w[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      t[i + 4] = __builtin_shufflevector(w[i], w[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) {
    w[i] = __builtin_shufflevector(t[i], t[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    w[i + 8] = __builtin_shufflevector(t[i], t[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
}

}  // namespace GS_SET
}  // namespace gs

#endif
