// The best of many small buckets that lie side by side, such as the tiles of N:M: a bucket in every lane.
#ifndef GOSSAMER_SMALL_BUCKETS_H
#define GOSSAMER_SMALL_BUCKETS_H

#include "scores.h"
#include "tile.h"

namespace gs {
namespace GS_SET {

constexpr int64_t kSmall = 32;  // scores of a bucket, at most: one bit of a lane each

// The numbers of a vector of buckets, narrowed to its lanes.
template <class T> GS_INLINE mask<T> narrow(const int64_t* p) {
  typedef int64_t wide __attribute__((vector_size(Vec<T>::lanes * 8), aligned(8), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const wide*>(p), mask<T>);
}

// A lane's want[lane] largest of its m scores t[.][lane], the first of equal ones, as bits. Picks past what is free, which score
// below 0, show in `bad`. Overwrites t.
template <class T> GS_INLINE mask<T> best_of_lanes(T* t, int64_t m, mask<T> want, mask<T>* bad) {
  constexpr int64_t lanes = Vec<T>::lanes;
  mask<T> set{}, wanted = want > 0;
  while (set_of<T>(wanted)) {
    vec<T> top = load<T>(t);
    mask<T> at{}, place{};
    for (int64_t i = 1; i < m; ++i) {
      const vec<T> v = load<T>(t + i * lanes);
      const mask<T> better = v > top;
      place += 1;
      top = better ? v : top;
      at = better ? place : at;
    }
    *bad |= wanted & (top < vec<T>{});
    set |= wanted & ((mask<T>{} + 1) << at);
    want -= 1;
    wanted = want > 0;
    if (!set_of<T>(wanted)) break;
    place = mask<T>{};
    for (int64_t i = 0; i < m; ++i, place += 1) {
      const vec<T> v = load<T>(t + i * lanes);
      store<T>(t + i * lanes, at == place ? splat<T>(-1) : v);
    }
  }
  return set;
}

// Writes base + the place of every bit, ascending; where the next one goes.
GS_INLINE int64_t* write_bits(uint64_t word, int64_t base, int64_t* out) {
  for (; word; word &= word - 1) *out++ = base + __builtin_ctzll(word);
  return out;
}

// Lane i of the result is lane i ^ s of v.
#if GS_VEC_BYTES == 16
#define GS_ACROSS(v, s) __builtin_shufflevector(v, v, 0 ^ s, 1 ^ s, 2 ^ s, 3 ^ s)
#elif GS_VEC_BYTES == 32
#define GS_ACROSS(v, s) __builtin_shufflevector(v, v, 0 ^ s, 1 ^ s, 2 ^ s, 3 ^ s, 4 ^ s, 5 ^ s, 6 ^ s, 7 ^ s)
#else
#define GS_ACROSS(v, s)                                                                                              \
  __builtin_shufflevector(v, v, 0 ^ s, 1 ^ s, 2 ^ s, 3 ^ s, 4 ^ s, 5 ^ s, 6 ^ s, 7 ^ s, 8 ^ s, 9 ^ s, 10 ^ s, 11 ^ s, \
                          12 ^ s, 13 ^ s, 14 ^ s, 15 ^ s)
#endif

// -1 for every score that beats lane i's, of those s, s + 1, .. m - 1 lanes across: the larger, and of equal ones the first.
// Scores as bits are ordered as they are, and marks are below them.
template <int s, int m> GS_INLINE mask<float> beaten(mask<float> v, mask<float> lane) {
  if constexpr (s < m) {
    const mask<float> before = (lane ^ s) < lane;
    return (GS_ACROSS(v, s) > v + before) + beaten<s + 1, m>(v, lane);
  } else {
    return mask<float>{};
  }
}

// As best_of_small, of `whole` vectors of buckets of m scores that divide a vector: a score is chosen if fewer than wanted beat
// it. Up to four scores that costs less than a bucket in every lane.
template <int m>
bool best_across(const float* s, int64_t whole, const int64_t* want, int64_t base, int64_t** chosen) {
  constexpr int lanes = Vec<float>::lanes, in_word = 64 / lanes;
  mask<float> bad{}, lane{};
  for (int i = 0; i < lanes; ++i) lane[i] = i;
  for (int64_t v = 0; v < whole; v += in_word) {
    uint64_t word = 0;
    for (int64_t j = v; j < least(whole, v + in_word); ++j, want += lanes / m) {
      mask<float> wanted = mask<float>{} + static_cast<int32_t>(want[0]);
#pragma GCC unroll 8
      for (int b = 1; b < lanes / m; ++b) wanted = lane < b * m ? wanted : mask<float>{} + static_cast<int32_t>(want[b]);
      const mask<float> scores = (mask<float>)load<float>(s + j * lanes);
      const mask<float> kept = wanted + beaten<1, m>(scores, lane) > 0;
      bad |= kept & (scores < 0);
      word |= static_cast<uint64_t>(set_of<float>(kept)) << (j - v) * lanes;
    }
    *chosen = write_bits(word, base + v * lanes, *chosen);
  }
  return all<float>(~bad);
}

// The want[b] best of bucket b of m <= kSmall scores, ascending, as base + index, and where the next row's go; false
// where fewer are free. `room` holds a vector for each score of a bucket.
template <class T>
bool best_of_small(const T* s, int64_t buckets, int64_t m, const int64_t* want, int64_t base, T* room, int64_t** chosen) {
  constexpr int64_t lanes = Vec<T>::lanes;
  if constexpr (sizeof(T) == 4) {
    if (m == 4 && buckets * m % lanes == 0) return best_across<4>(s, buckets * m / lanes, want, base, chosen);
  }
  const int64_t in_word = 64 / m;
  mask<T> bad{};
  for (int64_t b = 0; b < buckets; b += lanes) {
    const int64_t count = least(lanes, buckets - b);
    int64_t last[lanes] = {};  // numbers of a vector that is not full
    if (count < lanes)
      for (int64_t i = 0; i < count; ++i) last[i] = want[b + i];
    const mask<T> wanted = narrow<T>(count < lanes ? last : want + b);
    pack_batch_major<T>(s + b * m, m, m, count, room, lanes);
    const mask<T> set = best_of_lanes<T>(room, m, wanted, &bad);
    for (int64_t i = 0; i < count;) {
      const int64_t begin = i, end = least(count, i + in_word);
      uint64_t word = 0;
      for (; i < end; ++i) word |= static_cast<uint64_t>(static_cast<uint32_t>(set[i])) << (i - begin) * m;
      *chosen = write_bits(word, base + (b + begin) * m, *chosen);
    }
  }
  return all<T>(~bad);
}

}  // namespace GS_SET
}  // namespace gs

#endif
