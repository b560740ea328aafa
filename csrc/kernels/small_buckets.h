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

// The want[b] best of bucket b of m <= kSmall scores, ascending, as base + index, and where the next row's go; false
// where fewer are free. `room` holds a vector for each score of a bucket.
template <class T>
bool best_of_small(const T* s, int64_t buckets, int64_t m, const int64_t* want, int64_t base, T* room, int64_t** chosen) {
  constexpr int64_t lanes = Vec<T>::lanes;
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
