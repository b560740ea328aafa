// The inner loop of every product that keeps an output row in registers.
#ifndef GOSSAMER_ACCUMULATE_H
#define GOSSAMER_ACCUMULATE_H

#include "vec.h"

namespace gs {
namespace GS_SET {

// acc[g][v] += sum over n connections of w[j * G + g] * tile[col[j]][v]. C connections run side by side where one has too
// few additions to hide their latency; the order is fixed by n alone.
template <class T, int V, int G, class I>
GS_INLINE void accumulate(const T* tile, const I* col, const T* w, int64_t n, vec<T> (&acc)[G][V]) {
  constexpr int64_t L = Vec<T>::lanes;
  constexpr int C = 8 / (G * V) > 4 ? 4 : 8 / (G * V);
  vec<T> side[C][G][V] = {};
  // In registers: where this is inlined, some of them would else be read from the stack in every turn.
  if constexpr (C == 1) asm("" : "+r"(tile), "+r"(col), "+r"(w), "+r"(n));
  int64_t j = 0;
  for (; j + C <= n; j += C) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const T* p = tile + col[j + c] * (V * L);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        vec<T> x = load<T>(p + v * L);
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) {
          if (c == 0) acc[g][v] += x * splat<T>(w[(j + c) * G + g]);
          else side[c][g][v] += x * splat<T>(w[(j + c) * G + g]);
        }
      }
    }
  }
  for (; C > 1 && j < n; ++j) {
    const T* p = tile + col[j] * (V * L);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      vec<T> x = load<T>(p + v * L);
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) acc[g][v] += x * splat<T>(w[j * G + g]);
    }
  }
#pragma GCC unroll 8
  for (int c = 1; c < C; ++c)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[g][v] += side[c][g][v];
}

}  // namespace GS_SET
}  // namespace gs

#endif
