// Vectors of one instruction set, from compiler extensions alone. Compiled once per set with GS_SET (a namespace name)
// and GS_VEC_BYTES; nothing here may come from the standard library (an inline function compiled for a newer
// instruction set could be the copy the linker keeps).
#ifndef GOSSAMER_VEC_H
#define GOSSAMER_VEC_H

#include <stdint.h>

// Parts of a vector are read and written by masks; not where 512-bit vectors are made of others (GOSSAMER_EMULATE_AVX512).
#if GS_VEC_BYTES == 64 && defined(__AVX512F__)
#define GS_MASKS 1
#include <immintrin.h>
#else
#define GS_MASKS 0
#endif

// Into every caller; but each once where nothing is optimised, where a copy for every caller would only take time to compile.
#ifdef __OPTIMIZE__
#define GS_INLINE static inline __attribute__((always_inline))
#define GS_INLINE_MEMBER inline __attribute__((always_inline))
#define GS_INLINE_LAMBDA __attribute__((always_inline))
#else
#define GS_INLINE static inline
#define GS_INLINE_MEMBER inline
#define GS_INLINE_LAMBDA
#endif

namespace gs {
namespace GS_SET {

typedef float f32v __attribute__((vector_size(GS_VEC_BYTES)));
typedef double f64v __attribute__((vector_size(GS_VEC_BYTES)));
typedef float f32u __attribute__((vector_size(GS_VEC_BYTES), aligned(4), may_alias));
typedef double f64u __attribute__((vector_size(GS_VEC_BYTES), aligned(8), may_alias));
typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x4u __attribute__((vector_size(16), aligned(4), may_alias));

template <class T> struct Vec;
template <> struct Vec<float> {
  typedef f32v type;
  typedef f32u loose;
  static constexpr int lanes = GS_VEC_BYTES / 4;
};
template <> struct Vec<double> {
  typedef f64v type;
  typedef f64u loose;
  static constexpr int lanes = GS_VEC_BYTES / 8;
};
template <class T> using vec = typename Vec<T>::type;

// f(0), f(1) .. f(n - 1), each with a number that is constant: arrays that are indexed by constants alone are registers from the
// start. A loop that is unrolled later has them in memory first, and what sets that memory to zero costs more than a short sum.
template <int i> struct Number {
  constexpr GS_INLINE_MEMBER operator int() const { return i; }
};
template <int n, class F> GS_INLINE void each(const F& f) {
  if constexpr (n > 0) {
    each<n - 1>(f);
    f(Number<n - 1>{});
  }
}

// Any address; reads exactly one vector.
template <class T> GS_INLINE vec<T> load(const T* p) { return *reinterpret_cast<const typename Vec<T>::loose*>(p); }
template <class T> GS_INLINE void store(T* p, vec<T> v) { *reinterpret_cast<typename Vec<T>::loose*>(p) = v; }

// s - 0 keeps the sign of a negative zero, which s + 0 would lose.
template <class T> GS_INLINE vec<T> splat(T s) { return s - vec<T>{}; }

// The first n lanes (0 <= n <= lanes) from memory, zeros after them.
template <class T> GS_INLINE vec<T> load_part(const T* p, int64_t n) {
#if GS_MASKS
  if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
  else return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#else
  vec<T> v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
template <class T> GS_INLINE void store_part(T* p, vec<T> v, int64_t n) {
#if GS_MASKS
  if constexpr (sizeof(T) == 4) _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
  else _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
#else
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

template <class T> GS_INLINE T sum(vec<T> v) {
  T total = v[0];
  for (int i = 1; i < Vec<T>::lanes; ++i) total += v[i];
  return total;
}

// Keeps NaN: a comparison with NaN is false.
template <class T> GS_INLINE vec<T> relu(vec<T> v) { return v < vec<T>{} ? vec<T>{} : v; }
template <class T> GS_INLINE vec<T> relu6(vec<T> v) {
  v = relu<T>(v);
  return v > splat<T>(6) ? splat<T>(6) : v;
}

// out[q] += sum of the lanes of s[q], q < 4. The order of additions is fixed.
GS_INLINE void add_sums(const f64v (&s)[4], double* out) {
  for (int q = 0; q < 4; ++q) out[q] += sum<double>(s[q]);
}

GS_INLINE f32x4 fold(f32x4 v) { return v; }
#if GS_VEC_BYTES >= 32
typedef float f32x8 __attribute__((vector_size(32)));
GS_INLINE f32x4 fold(f32x8 v) {
  return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
#endif
#if GS_VEC_BYTES >= 64
GS_INLINE f32x4 fold(f32v v) {
  f32x8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
               __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return fold(half);
}
#endif

// Interleaves the low (hi = false) or high halves of each 16-byte part, by single floats and by pairs.
#if GS_VEC_BYTES == 16
#define GS_UNPACK_LO(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define GS_UNPACK_HI(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define GS_PAIRS_LO(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define GS_PAIRS_HI(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#elif GS_VEC_BYTES == 32
#define GS_UNPACK_LO(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define GS_UNPACK_HI(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define GS_PAIRS_LO(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define GS_PAIRS_HI(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define GS_UNPACK_LO(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define GS_UNPACK_HI(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define GS_PAIRS_LO(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define GS_PAIRS_HI(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#endif

GS_INLINE f32x4 sum4(f32v a, f32v b, f32v c, f32v d) {
  f32v ab = GS_UNPACK_LO(a, b) + GS_UNPACK_HI(a, b);
  f32v cd = GS_UNPACK_LO(c, d) + GS_UNPACK_HI(c, d);
  return fold(GS_PAIRS_LO(ab, cd) + GS_PAIRS_HI(ab, cd));
}
GS_INLINE void add_sums(const f32v (&s)[4], float* out) {
  *reinterpret_cast<f32x4u*>(out) += sum4(s[0], s[1], s[2], s[3]);
}

}  // namespace GS_SET
}  // namespace gs

#endif
