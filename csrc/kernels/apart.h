// Vectors of numbers that do not lie side by side: every second one, or even and odd ones each in a place of their own.
#ifndef GOSSAMER_APART_H
#define GOSSAMER_APART_H

#include "vec.h"

namespace gs {
namespace GS_SET {

// Every second element from p on.
GS_INLINE f32v load_second(const float* p) {
  const f32v a = load<float>(p), b = load<float>(p + Vec<float>::lanes);
#if GS_VEC_BYTES == 16
  return __builtin_shufflevector(a, b, 0, 2, 4, 6);
#elif GS_VEC_BYTES == 32
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
#endif
}
GS_INLINE f64v load_second(const double* p) {
  const f64v a = load<double>(p), b = load<double>(p + Vec<double>::lanes);
#if GS_VEC_BYTES == 16
  return __builtin_shufflevector(a, b, 0, 2);
#elif GS_VEC_BYTES == 32
  return __builtin_shufflevector(a, b, 0, 2, 4, 6);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
#endif
}

// Even lanes in the lower half, odd ones in the upper, and back.
#if GS_VEC_BYTES == 16
#define GS_APART4 0, 2, 1, 3
#define GS_TOGETHER4 0, 2, 1, 3
#define GS_APART8 0, 1
#define GS_TOGETHER8 0, 1
#elif GS_VEC_BYTES == 32
#define GS_APART4 0, 2, 4, 6, 1, 3, 5, 7
#define GS_TOGETHER4 0, 4, 1, 5, 2, 6, 3, 7
#define GS_APART8 0, 2, 1, 3
#define GS_TOGETHER8 0, 2, 1, 3
#else
#define GS_APART4 0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15
#define GS_TOGETHER4 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15
#define GS_APART8 0, 2, 4, 6, 1, 3, 5, 7
#define GS_TOGETHER8 0, 4, 1, 5, 2, 6, 3, 7
#endif
GS_INLINE f32v apart(f32v v) { return __builtin_shufflevector(v, v, GS_APART4); }
GS_INLINE f64v apart(f64v v) { return __builtin_shufflevector(v, v, GS_APART8); }
GS_INLINE f32v together(f32v v) { return __builtin_shufflevector(v, v, GS_TOGETHER4); }
GS_INLINE f64v together(f64v v) { return __builtin_shufflevector(v, v, GS_TOGETHER8); }

constexpr int64_t kHalf = GS_VEC_BYTES / 2;

// n positions of a span that is split, the first an even one.
template <class T> GS_INLINE vec<T> load_split(const T* p, int64_t split, int64_t n) {
  vec<T> v{};
  if (n == Vec<T>::lanes) {
    __builtin_memcpy(&v, p, kHalf), __builtin_memcpy(reinterpret_cast<char*>(&v) + kHalf, p + split, kHalf);
    return together(v);
  }
  for (int64_t i = 0; i < n; ++i) v[i] = p[i % 2 * split + i / 2];
  return v;
}
template <class T> GS_INLINE void store_split(T* p, int64_t split, vec<T> v, int64_t n) {
  if (n == Vec<T>::lanes) {
    const vec<T> both = apart(v);
    __builtin_memcpy(p, &both, kHalf), __builtin_memcpy(p + split, reinterpret_cast<const char*>(&both) + kHalf, kHalf);
    return;
  }
  for (int64_t i = 0; i < n; ++i) p[i % 2 * split + i / 2] = v[i];
}

}  // namespace GS_SET
}  // namespace gs

#endif
