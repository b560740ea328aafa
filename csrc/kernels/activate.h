// The activations of gs_activation on vectors. A number becomes the same bits wherever it stands in a vector, and whatever
// stands beside it: all but those of few instructions go through one function.
#ifndef GOSSAMER_ACTIVATE_H
#define GOSSAMER_ACTIVATE_H

#include "gossamer.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

// y[0 .. n) in place, any activation.
template <class T> void activate_called(int64_t kind, T slope, vec<T>* y, int64_t n);
extern template void activate_called<float>(int64_t, float, f32v*, int64_t);
extern template void activate_called<double>(int64_t, double, f64v*, int64_t);

// n numbers side by side, in place, any activation.
template <class T> void activate_stored(int64_t kind, T slope, T* y, int64_t n);
extern template void activate_stored<float>(int64_t, float, float*, int64_t);
extern template void activate_stored<double>(int64_t, double, double*, int64_t);

// Whether it takes more than a few instructions, and so a call.
GS_INLINE bool called(int64_t kind) { return kind > GS_RELU6; }

// Those that take no call.
template <class T, int V> GS_INLINE void activate_short(int64_t kind, double slope, vec<T> (&y)[V]) {
  if (kind == GS_RELU) {
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] = relu<T>(y[v]); });
  } else if (kind == GS_LEAKY_RELU) {
    const vec<T> by = splat<T>(static_cast<T>(slope));
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) y[v] = y[v] < vec<T>{} ? y[v] * by : y[v];
  } else if (kind == GS_RELU6) {
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] = relu6<T>(y[v]); });
  }
}

// Any, in registers.
template <class T, int V> GS_INLINE void activate(int64_t kind, double slope, vec<T> (&y)[V]) {
  if (!called(kind)) {
    activate_short<T, V>(kind, slope, y);
  } else {
    vec<T> there[V];  // a copy: what a call is handed the address of does not stay in registers
    each<V>([&](auto v) GS_INLINE_LAMBDA { there[v] = y[v]; });
    activate_called<T>(kind, static_cast<T>(slope), there, V);
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] = there[v]; });
  }
}

// n numbers side by side, in place.
template <class T> GS_INLINE void activate_all(int64_t kind, double slope, T* y, int64_t n) {
  const T by = static_cast<T>(slope);
  if (kind == GS_IDENTITY) return;
  if (kind == GS_RELU)
    for (int64_t i = 0; i < n; ++i) y[i] = y[i] < 0 ? 0 : y[i];
  else if (kind == GS_LEAKY_RELU)
    for (int64_t i = 0; i < n; ++i) y[i] = y[i] < 0 ? y[i] * by : y[i];
  else
    activate_stored<T>(kind, by, y, n);
}

}  // namespace GS_SET
}  // namespace gs

#endif
