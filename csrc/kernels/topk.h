// The k largest of an array of non-negative scores, and among equal ones the first: what both kinds of buckets need.
#ifndef GOSSAMER_TOPK_H
#define GOSSAMER_TOPK_H

#include "scores.h"

namespace gs {
namespace GS_SET {

#if defined(__AVX2__)
// For every set of lanes, the lanes in ascending order, one byte each.
struct Lanes {
  uint64_t of[256];
  constexpr Lanes() : of() {
    for (int set = 0; set < 256; ++set)
      for (int lane = 7; lane >= 0; --lane)
        if (set >> lane & 1) of[set] = of[set] << 8 | static_cast<uint64_t>(lane);
  }
};
constexpr Lanes kLanes;

GS_INLINE void store_indices(int32_t* out, __m256i chosen, int32_t base) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_add_epi32(chosen, _mm256_set1_epi32(base)));
}
GS_INLINE void store_indices(int64_t* out, __m256i chosen, int64_t base) {
  const __m256i b = _mm256_set1_epi64x(base);
  const __m256i lo = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(chosen));
  const __m256i hi = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(chosen, 1));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_add_epi64(lo, b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 4), _mm256_add_epi64(hi, b));
}

// The part of `collect` that goes by vectors: 32 scores at a time, passed over where none is large enough.
template <class I>
GS_INLINE int64_t collect_whole(const float* s, int64_t n, float floor, I base, float* scores, I* index, int64_t* found) {
  const __m256 below = _mm256_set1_ps(floor);
  int64_t i = 0, m = *found;
  for (; i + 32 <= n; i += 32) {
    unsigned sets[4], any = 0;
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const __m256 enough = _mm256_cmp_ps(_mm256_loadu_ps(s + i + 8 * v), below, _CMP_GT_OQ);
      any |= sets[v] = static_cast<unsigned>(_mm256_movemask_ps(enough));
    }
    if (!any) continue;
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const __m256i chosen = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(kLanes.of[sets[v]])));
      _mm256_storeu_ps(scores + m, _mm256_permutevar8x32_ps(_mm256_loadu_ps(s + i + 8 * v), chosen));
      store_indices(index + m, chosen, static_cast<I>(base + i + 8 * v));
      m += __builtin_popcount(sets[v]);
    }
  }
  *found = m;
  return i;
}
#else
template <class I> GS_INLINE int64_t collect_whole(const float*, int64_t, float, I, float*, I*, int64_t*) { return 0; }
#endif
template <class I> GS_INLINE int64_t collect_whole(const double*, int64_t, double, I, double*, I*, int64_t*) { return 0; }

// Scores > floor in order, each with base + its index; returns how many. Both outputs have room for n, and what they
// hold past the result is overwritten. `scores` may be `s` itself.
template <class T, class I> GS_INLINE int64_t collect(const T* s, int64_t n, T floor, I base, T* scores, I* index) {
  int64_t m = 0;
  for (int64_t i = collect_whole(s, n, floor, base, scores, index, &m); i < n; ++i) {
    const T score = s[i];
    scores[m] = score, index[m] = static_cast<I>(base + i);
    m += score > floor;
  }
  return m;
}

constexpr int kDigit = 11;  // leading bits that are told apart in one pass over many scores; 8 over few

// Scores from `lo` to `hi`, seen as bits, counted by the leading bits in which these differ.
template <class T> struct Histogram {
  bits<T> lo, range;
  int shift;
  int64_t count[1 << kDigit];

  GS_INLINE_MEMBER void fill(const bits<T>* p, int64_t n) {
    bits<T> least = p[0], most = p[0];
    for (int64_t i = 1; i < n; ++i) least = p[i] < least ? p[i] : least, most = p[i] > most ? p[i] : most;
    fill(p, n, least, most);
  }
  GS_INLINE_MEMBER void fill(const bits<T>* p, int64_t n, bits<T> least, bits<T> most) {
    lo = least, range = most - least;
    const int digit = n < 4096 ? 8 : kDigit, width = 64 - __builtin_clzll(range | 1);
    shift = width > digit ? width - digit : 0;
    for (bits<T> bin = 0; bin <= range >> shift; ++bin) count[bin] = 0;
    for (int64_t i = 0; i < n; ++i)
      if (p[i] - lo <= range) ++count[(p[i] - lo) >> shift];
  }
  // The bin of the k-th largest; k becomes its rank in there.
  GS_INLINE_MEMBER bits<T> find(int64_t* k) const {
    bits<T> bin = range >> shift;
    while (*k > count[bin]) *k -= count[bin--];
    return bin;
  }
  GS_INLINE_MEMBER bits<T> least_of(bits<T> bin) const { return lo + (bin << shift); }
  GS_INLINE_MEMBER bits<T> most_of(bits<T> bin) const {
    const bits<T> most = least_of(bin) + ((bits<T>{1} << shift) - 1);
    return most < lo + range ? most : lo + range;
  }
};

template <class T> GS_INLINE T score_of(bits<T> b) {
  T score;
  __builtin_memcpy(&score, &b, sizeof(T));
  return score;
}

// A score that at least k of n reach, and few more: 1 <= k <= n.
template <class T> T about_kth_largest(const T* s, int64_t n, int64_t k) {
  Histogram<T> h;
  h.fill(reinterpret_cast<const bits<T>*>(s), n);
  return score_of<T>(h.least_of(h.find(&k)));
}

// The k-th largest of n scores >= 0, 1 <= k <= n. `room` holds n / 4: the scores of its bin are looked at alone.
template <class T> T kth_largest(const T* s, int64_t n, int64_t k, T* room) {
  const bits<T>* p = reinterpret_cast<const bits<T>*>(s);
  Histogram<T> h;
  h.fill(p, n);
  while (h.range) {
    const bits<T> bin = h.find(&k), lo = h.least_of(bin), range = h.most_of(bin) - lo;
    if (h.count[bin] <= n / 4) {
      bits<T>* q = reinterpret_cast<bits<T>*>(room);
      int64_t m = 0;
      for (int64_t i = 0; i < n; ++i)
        if (p[i] - lo <= range) q[m++] = p[i];
      p = q, n = m;
    }
    h.fill(p, n, lo, lo + range);
  }
  return score_of<T>(h.lo);
}

// Keeps the k best of n entries in order, in place: `scores` and whatever goes with each of them.
template <class T, class I> GS_INLINE void keep_best(T* scores, I* index, int64_t n, int64_t k, T kth) {
  int64_t above = 0, m = 0;
  for (int64_t i = 0; i < n; ++i) above += scores[i] > kth;
  int64_t ties = k - above;
  for (int64_t i = 0; i < n; ++i) {
    const T score = scores[i];
    const int tied = (score == kth) & (ties > 0);  // no branch: which entry is kept cannot be foretold
    ties -= tied;
    scores[m] = score, index[m] = index[i];
    m += tied | (score > kth);
  }
}

}  // namespace GS_SET
}  // namespace gs

#endif
