// What becomes of the sums of a row at a spot of positions: scale, bias, residual, activation and border, and their place.
#ifndef GOSSAMER_CONV_STORE_H
#define GOSSAMER_CONV_STORE_H

#include "apart.h"
#include "conv.h"
#include "epilogue.h"

namespace gs {
namespace GS_SET {

// Bits of positions as lanes that are kept.
template <class T> struct Lanes;
template <> struct Lanes<float> { typedef int32_t type __attribute__((vector_size(GS_VEC_BYTES))); typedef int32_t one; };
template <> struct Lanes<double> { typedef int64_t type __attribute__((vector_size(GS_VEC_BYTES))); typedef int64_t one; };

template <class T, int V> struct Mask {
  typename Lanes<T>::type lanes[V];
};

template <class T, int V> GS_INLINE void expand(const Spot& spot, Mask<T, V>& mask) {
  typedef typename Lanes<T>::one one;
  constexpr int64_t L = Vec<T>::lanes;
  typename Lanes<T>::type bit;
  for (int64_t i = 0; i < L; ++i) bit[i] = one(1) << i;
  each<V>([&](auto v) GS_INLINE_LAMBDA {
    const one kept = static_cast<one>(spot.inside[v * L / 64] >> (v * L % 64));
    mask.lanes[v] = ((typename Lanes<T>::type{} + kept) & bit) != 0;
  });
}

template <class T> GS_INLINE vec<T> keep(vec<T> v, typename Lanes<T>::type lanes) {
  return (vec<T>)((typename Lanes<T>::type)v & lanes);
}

template <class T, int V> GS_INLINE void load_more(const T* p, int64_t split, int64_t size, vec<T> (&y)[V]) {
  constexpr int64_t L = Vec<T>::lanes;
  if (!split) {
    vec<T> more[V];
    load_row<T, V>(p, size, more);
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] += more[v]; });
    return;
  }
  each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] += load_split<T>(p + v * L / 2, split, least(L, size - v * L)); });
}

// Scale, bias, residual, activation and border of one row, and its place in memory.
template <class T, int V> GS_INLINE void store_spot(const gs_call& call, const gs_places& places, const Spot& spot, const Mask<T, V>& mask,
                                                  int64_t row, vec<T> (&y)[V]) {
  constexpr int64_t L = Vec<T>::lanes;
  const int64_t split = places.split;
  const T *bias = static_cast<const T*>(call.bias), *scale = scales<T>(call.w), *more = static_cast<const T*>(call.residual.data);
  if (scale)
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] *= splat<T>(scale[row]); });
  if (bias)
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] += splat<T>(bias[row]); });
  if (more) load_more<T, V>(more + row * call.residual.feature_stride + spot.out, split, spot.size, y);
  activate<T, V>(call.activation, call.slope, y);
  if (spot.masked)
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] = keep<T>(y[v], mask.lanes[v]); });
  T* out = static_cast<T*>(call.out) + row * call.out_stride + spot.out;
  if (!split) return store_row<T, V>(out, spot.size, y);
  each<V>([&](auto v) GS_INLINE_LAMBDA { store_split<T>(out + v * L / 2, split, y[v], least(L, spot.size - v * L)); });
}

template <class T> GS_INLINE void zero_tail(const gs_call& call, const gs_places& places, const Spot& spot, int64_t row) {
  const int64_t split = places.split, size = spot.size;
  T* out = static_cast<T*>(call.out) + row * call.out_stride + spot.out;
  if (!split)
    for (int64_t i = size; i < size + spot.tail; ++i) out[i] = 0;
  else
    for (int64_t i = size; i < size + spot.tail; ++i) out[i % 2 * split + i / 2] = 0;
}

// Whether the memory of outputs limits a layer, not that of inputs: it has more than a cache holds of them, each of few inputs.
// Then a few planes are written from end to end; else all of them get one spot, whose inputs stay in cache.
template <class T> GS_INLINE bool writes_more(int64_t written, int64_t n_in, int64_t count) {
  constexpr int64_t cache = 1 << 19, few = 4, narrow = 32;  // bytes; connections of a strip; columns of the matrix
  const int64_t bytes = written * static_cast<int64_t>(sizeof(T));
  return bytes > cache && (count <= few || n_in <= narrow);
}

}  // namespace GS_SET
}  // namespace gs

#endif
