// Stored values as numbers to compute with: float and double as they are; bfloat16 and int8, which only inference has,
// widened to float. An int8 value counts in units of its row's scale, which multiplies the finished sum.
#ifndef GOSSAMER_VALUES_H
#define GOSSAMER_VALUES_H

#include "gossamer.h"
#include "vec.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace gs {
namespace GS_SET {

struct bf16 {
  uint16_t bits;
};

GS_INLINE float widen(float w) { return w; }
GS_INLINE double widen(double w) { return w; }
GS_INLINE float widen(int8_t w) { return w; }
GS_INLINE float widen(bf16 w) {
  const uint32_t bits = static_cast<uint32_t>(w.bits) << 16;
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}

typedef float f32l __attribute__((vector_size(32)));  // eight floats, whatever the instruction set's vectors are
typedef float f32lu __attribute__((vector_size(32), aligned(4), may_alias));

GS_INLINE f32l load8(const float* p) { return *reinterpret_cast<const f32lu*>(p); }
#if defined(__AVX2__)
GS_INLINE f32l load8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
GS_INLINE f32l load8(const bf16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
#else
template <class W> GS_INLINE f32l load8(const W* p) {
  f32l v = {};
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) v[i] = widen(p[i]);
  return v;
}
#endif

// One vector of stored values.
GS_INLINE f32v load_values(const float* p) { return load<float>(p); }
GS_INLINE f64v load_values(const double* p) { return load<double>(p); }
template <class W> GS_INLINE f32v load_values(const W* p) {
#if GS_VEC_BYTES == 32
  return load8(p);
#elif GS_VEC_BYTES == 64
  return __builtin_shufflevector(load8(p), load8(p + 8), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  return f32v{widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])};
#endif
}

template <class W> GS_INLINE void widen_all(const void* from, int64_t first, int64_t n, float* out) {
  const W* p = static_cast<const W*>(from) + first;
  int64_t i = 0;
  for (; i + Vec<float>::lanes <= n; i += Vec<float>::lanes) store<float>(out + i, load_values(p + i));
  for (; i < n; ++i) out[i] = widen(p[i]);
}

constexpr int64_t kChunk = 512;  // connections decoded, or values widened, at a time

// Calls use(values, from, n) for `n` connections of G values each, the first of them at value `first`: at once where values
// are stored as T, chunk by chunk where they are widened first.
template <class T, int G, class F> GS_INLINE void with_values(const gs_matrix& w, int64_t first, int64_t n, F use) {
  const T* values = static_cast<const T*>(w.values) + first;
  if constexpr (sizeof(T) == sizeof(float)) {
    if (w.narrow) {
      float wide[kChunk];
      for (int64_t from = 0, part; from < n; from += part) {
        part = n - from < kChunk / G ? n - from : kChunk / G;
        if (w.narrow == GS_I8) widen_all<int8_t>(w.values, first + from * G, part * G, wide);
        else widen_all<bf16>(w.values, first + from * G, part * G, wide);
        use(static_cast<const float*>(wide), from, part);
      }
      return;
    }
  }
  use(values, 0, n);
}

// Bytes of one stored value.
GS_INLINE int64_t value_bytes(const gs_matrix& w) {
  if (w.narrow) return w.narrow == GS_I8 ? 1 : 2;
  return w.dtype == GS_F64 ? 8 : 4;
}

// What multiplies the sum of each row, or null.
template <class T> GS_INLINE const T* scales(const gs_matrix& w) {
  return w.narrow == GS_I8 ? static_cast<const T*>(w.scales) : nullptr;
}

}  // namespace GS_SET
}  // namespace gs

#endif
