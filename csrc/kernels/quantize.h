// Inputs of one batch column in int8 steps: x is about step * q, with q the nearest integer of x * (127 / largest |x|), halves
// to even, and step = largest |x| / 127. The same bits in every instruction set.
#ifndef GOSSAMER_QUANTIZE_H
#define GOSSAMER_QUANTIZE_H

#include "vec.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace gs {
namespace GS_SET {

typedef int32_t i32v __attribute__((vector_size(GS_VEC_BYTES)));

// The bits of the largest |x|. Read as integers, magnitudes keep their order, and infinities and NaN come after all numbers.
GS_INLINE int32_t largest_magnitude(const float* x, int64_t n) {
  const i32v magnitude = i32v{} + 0x7fffffff;
  constexpr int64_t L = Vec<float>::lanes;
  const auto larger = [&](const float* p, i32v& most) GS_INLINE_LAMBDA {
    const i32v bits = (i32v)load<float>(p) & magnitude;
    most = bits > most ? bits : most;
  };
  i32v some[4] = {};  // as many as hide the latency of a comparison
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
    each<4>([&](auto part) GS_INLINE_LAMBDA { larger(x + i + part * L, some[part]); });
  for (; i + L <= n; i += L) larger(x + i, some[0]);
  i32v most = some[0];
  each<4>([&](auto part) GS_INLINE_LAMBDA { most = some[part] > most ? some[part] : most; });
  const i32v bits = (i32v)load_part<float>(x + i, n - i) & magnitude;
  most = bits > most ? bits : most;
  int32_t largest = most[0];
  for (int lane = 1; lane < L; ++lane) largest = most[lane] > largest ? most[lane] : largest;
  return largest;
}

// `flip`: bits of every step that are turned over, none or the highest, which makes the byte 128 larger.
GS_INLINE void to_steps(const float* x, int64_t n, float inverse, uint8_t flip, int8_t* q) {
  int64_t i = 0;
#if GS_MASKS
  const __m512 by = _mm512_set1_ps(inverse);
  const __m512i turned = _mm512_set1_epi8(static_cast<char>(flip));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (; i + 64 <= n; i += 64) {
    __m512i part[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) part[p] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i + 16 * p), by));
    const __m512i mixed = _mm512_packs_epi16(_mm512_packs_epi32(part[0], part[1]), _mm512_packs_epi32(part[2], part[3]));
    _mm512_storeu_si512(q + i, _mm512_xor_si512(_mm512_permutexvar_epi32(order, mixed), turned));
  }
#elif defined(__AVX2__)
  const __m256 by = _mm256_set1_ps(inverse);
  const __m256i turned = _mm256_set1_epi8(static_cast<char>(flip));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (; i + 32 <= n; i += 32) {
    __m256i part[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) part[p] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * p), by));
    const __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(part[0], part[1]), _mm256_packs_epi32(part[2], part[3]));
    const __m256i steps = _mm256_xor_si256(_mm256_permutevar8x32_epi32(mixed, order), turned);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q + i), steps);
  }
#endif
  for (; i < n; ++i) q[i] = static_cast<int8_t>(__builtin_lrintf(x[i] * inverse) ^ flip);
}

// What a step stands for, and the steps of 1; 0 of those where all are 0.
struct Scale {
  float step, inverse;
};

// By the bits of the largest magnitude. The step is 0 for zeros, NaN where an input is infinite or NaN. Magnitudes below 2^-119
// count as zeros: their steps would leave the range of float.
GS_INLINE Scale scale_of(int32_t bits) {
  constexpr int32_t infinite = 0x7f800000, tiny = 8 << 23;
  float largest;
  __builtin_memcpy(&largest, &bits, sizeof largest);
  if (bits < tiny) return {0, 0};
  if (bits >= infinite) return {__builtin_nanf(""), 0};
  return {largest / 127, 127 / largest};
}

// Fills q[n] and returns the step.
GS_INLINE float quantize(const float* x, int64_t n, int8_t* q) {
  const Scale scale = scale_of(largest_magnitude(x, n));
  if (scale.inverse == 0) __builtin_memset(q, 0, static_cast<size_t>(n));
  else to_steps(x, n, scale.inverse, 0, q);
  return scale.step;
}

}  // namespace GS_SET
}  // namespace gs

#endif
