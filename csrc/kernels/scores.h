// Scores of a tile of gradient rows, made in place: |gradient| summed over a unit, and a mark on what may not be chosen.
#ifndef GOSSAMER_SCORES_H
#define GOSSAMER_SCORES_H

#include "gossamer.h"
#include "vec.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace gs {
namespace GS_SET {

// Integers as wide as T, one or a vector of them; a non-negative score's bits are ordered as the score is.
template <class T> struct Bits;
template <> struct Bits<float> {
  typedef uint32_t type __attribute__((may_alias));
  typedef int32_t vector __attribute__((vector_size(GS_VEC_BYTES)));
  static constexpr int32_t magnitude = INT32_MAX;
};
template <> struct Bits<double> {
  typedef uint64_t type __attribute__((may_alias));
  typedef int64_t vector __attribute__((vector_size(GS_VEC_BYTES)));
  static constexpr int64_t magnitude = INT64_MAX;
};
template <class T> using bits = typename Bits<T>::type;
template <class T> using mask = typename Bits<T>::vector;  // what a comparison of two vec<T> gives: all ones or zeros

GS_INLINE float magnitude(float s) { return __builtin_fabsf(s); }
GS_INLINE double magnitude(double s) { return __builtin_fabs(s); }
GS_INLINE vec<float> magnitude(vec<float> v) { return (vec<float>)((mask<float>)v & Bits<float>::magnitude); }
GS_INLINE vec<double> magnitude(vec<double> v) { return (vec<double>)((mask<double>)v & Bits<double>::magnitude); }

template <class T> GS_INLINE bool all(mask<T> m) {
  bool every = true;
  for (int i = 0; i < Vec<T>::lanes; ++i) every &= m[i] != 0;
  return every;
}

// The lanes of a comparison that are true, as bits.
template <class T> GS_INLINE unsigned set_of(mask<T> m) {
  unsigned set = 0;
#if defined(__AVX2__) && GS_VEC_BYTES == 32
  if constexpr (sizeof(T) == 4) return static_cast<unsigned>(_mm256_movemask_ps((__m256)m));
#endif
  for (int i = 0; i < Vec<T>::lanes; ++i) set |= (m[i] & 1u) << i;
  return set;
}

// row[0, n) = sum of |row[i * stride, i * stride + n)| over i < h, in ascending order; whether every sum is finite. H is h
// where that is known, else 0.
template <class T, int H> GS_INLINE bool sum_rows(T* row, int64_t n, int64_t stride, int64_t given) {
  const int64_t h = H ? H : given;
  const T infinite = static_cast<T>(__builtin_inf());
  mask<T> finite = ~mask<T>{};
  int64_t c = 0;
  for (; c + Vec<T>::lanes <= n; c += Vec<T>::lanes) {
    vec<T> total = magnitude(load<T>(row + c));
    for (int64_t i = 1; i < h; ++i) total += magnitude(load<T>(row + i * stride + c));
    finite &= total < splat<T>(infinite);
    store<T>(row + c, total);
  }
  bool good = all<T>(finite);
  for (; c < n; ++c) {
    T total = magnitude(row[c]);
    for (int64_t i = 1; i < h; ++i) total += magnitude(row[i * stride + c]);
    good &= total < infinite;
    row[c] = total;
  }
  return good;
}

// row[c] = row[c * w] + ... + row[c * w + w - 1] for c < cols; whether every sum is finite.
template <class T> GS_INLINE bool sum_columns(T* row, int64_t cols, int64_t w) {
  bool good = true;
  for (int64_t c = 0; c < cols; ++c) {
    T total = row[c * w];
    for (int64_t j = 1; j < w; ++j) total += row[c * w + j];
    good &= total < static_cast<T>(__builtin_inf());
    row[c] = total;
  }
  return good;
}

// The number of taken positions below `position`.
GS_INLINE int64_t taken_below(const gs_scores& tile, int64_t position) {
  int64_t lo = 0, hi = tile.n_taken;
  while (lo < hi) {
    const int64_t middle = lo + (hi - lo) / 2;
    if (tile.taken[middle] < position) lo = middle + 1;
    else hi = middle;
  }
  return lo;
}

// Scores of row r, made of the gradient rows from `row` on, `stride` apart; what is taken scores -1, below every real score.
// *next is the first taken position of this row, then that of the next. Positions out of order are refused, not followed.
template <class T> GS_INLINE gs_status make_scores(const gs_scores& tile, int64_t r, T* row, int64_t stride, int64_t* next) {
  const int64_t n = tile.cols * tile.w;
  bool good = true;  // a gradient that was made here has been looked at, and is a score where it is a unit
  if (tile.h > 1) good = sum_rows<T, 0>(row, n, stride, tile.h);
  else if (tile.gradient) good = sum_rows<T, 1>(row, n, stride, 1);
  if (tile.w > 1) good &= sum_columns<T>(row, tile.cols, tile.w);
  const int64_t first = tile.first + r * tile.cols;
  int64_t i = *next;
  for (; i < tile.n_taken && tile.taken[i] < first + tile.cols; ++i) {
    if (tile.taken[i] < first) return GS_INDEX;
    row[tile.taken[i] - first] = -1;
  }
  *next = i;
  return good ? GS_OK : GS_NOT_FINITE;
}

}  // namespace GS_SET
}  // namespace gs

#endif
