// Sums of products of two bytes for a list of shared inputs: 32 or 64 neighbouring positions of planes of bytes, times the
// weights of up to 32 rows. Whatever the instructions, the sums are the same integers.
#ifndef GOSSAMER_BYTE_SUMS_H
#define GOSSAMER_BYTE_SUMS_H

#include "conv.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace gs {
namespace GS_SET {

constexpr int64_t kPositions = GS_VEC_BYTES == 64 ? 64 : 32;  // of a spot, whose sums lie side by side
constexpr int64_t kQuads = 64;                                // that are laid out at once: 16 KiB
constexpr int64_t kMostRows = 32;                             // that share inputs

// Connections four at a time: a word holds the weights of one row.
struct Quads {
  const uint8_t* x;      // input bytes from the first position of the spot on; kPositions may be read from every offset
  const int32_t* offset;  // [n, 4]
  const int32_t* word;    // [n, rows]
  const int32_t* first;   // [rows] what the sums begin with where bytes are 128 larger than what they stand for
  int64_t n, rows;
  int64_t step, held;  // elements from a position to the next; positions in use
};

typedef int32_t Sums[kMostRows][kPositions];

// Where the inputs of connection c begin; in `room` where they do not lie side by side.
GS_INLINE const uint8_t* bytes_at(const Quads& q, int64_t c, uint8_t (&room)[kPositions]) {
  const uint8_t* p = q.x + q.offset[c];
  if (q.step == 1) return p;
  for (int64_t i = 0; i < q.held; ++i) room[i] = p[i * q.step];
  return room;
}

GS_INLINE void add_plainly(const Quads& q, Sums& sums) {
  __builtin_memset(sums, 0, static_cast<size_t>(q.rows) * sizeof *sums);
  uint8_t room[kPositions] = {};
  for (int64_t c = 0; c < q.n * 4; ++c) {
    const int8_t* x = reinterpret_cast<const int8_t*>(bytes_at(q, c, room));
    const int8_t* word = reinterpret_cast<const int8_t*>(q.word + c / 4 * q.rows) + c % 4;
    for (int64_t r = 0; r < q.rows; ++r)
      for (int64_t i = 0; i < kPositions; ++i) sums[r][i] += x[i] * word[4 * r];
  }
}

#if defined(__AVX2__)
// Products without an instruction for them: |w| <= 128 times x with the sign of w, |x| <= 127. Two of them are at most
// 32,512, so that the sums of 16 bits never saturate.
struct Pairs {
  typedef __m256i vector;
  static constexpr int64_t positions = 32, rows = 2;
  static constexpr bool shifted = false;
  static GS_INLINE_MEMBER vector load(const void* p) { return _mm256_loadu_si256(static_cast<const vector*>(p)); }
  static GS_INLINE_MEMBER void store(void* p, vector v) { _mm256_storeu_si256(static_cast<vector*>(p), v); }
  static GS_INLINE_MEMBER vector all(int32_t n) { return _mm256_set1_epi32(n); }
  static GS_INLINE_MEMBER void add(vector& sum, vector x, vector w) {
    const vector pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  // Bytes of four inputs side by side for each position: four positions of each half of 16 a vector.
  static GS_INLINE_MEMBER void interleave(vector (&v)[4]) {
    const vector a = _mm256_unpacklo_epi8(v[0], v[1]), b = _mm256_unpackhi_epi8(v[0], v[1]);
    const vector c = _mm256_unpacklo_epi8(v[2], v[3]), d = _mm256_unpackhi_epi8(v[2], v[3]);
    v[0] = _mm256_unpacklo_epi16(a, c), v[1] = _mm256_unpackhi_epi16(a, c);
    v[2] = _mm256_unpacklo_epi16(b, d), v[3] = _mm256_unpackhi_epi16(b, d);
  }
  // Sums of such vectors in the order of positions.
  static GS_INLINE_MEMBER void order(vector (&v)[4]) {
    const vector a = v[0], b = v[2];
    v[0] = _mm256_permute2x128_si256(a, v[1], 0x20), v[2] = _mm256_permute2x128_si256(a, v[1], 0x31);
    const vector c = _mm256_permute2x128_si256(b, v[3], 0x20), d = _mm256_permute2x128_si256(b, v[3], 0x31);
    v[1] = c, v[3] = d;
  }
};
#endif

#if GS_MASKS
// Four products in one instruction of processors that have it (VNNI); it takes inputs without a sign, so these are 128 larger.
struct Fours {
  typedef __m512i vector;
  static constexpr int64_t positions = 64, rows = 4;
  static constexpr bool shifted = true;
  static GS_INLINE_MEMBER vector load(const void* p) { return _mm512_loadu_si512(p); }
  static GS_INLINE_MEMBER void store(void* p, vector v) { _mm512_storeu_si512(p, v); }
  static GS_INLINE_MEMBER vector all(int32_t n) { return _mm512_set1_epi32(n); }
  // Written out: through the intrinsic GCC copies every sum, and a quarter of them through memory.
  static GS_INLINE_MEMBER void add(vector& sum, vector x, vector w) { __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w)); }
  static GS_INLINE_MEMBER void interleave(vector (&v)[4]) {
    const vector a = _mm512_unpacklo_epi8(v[0], v[1]), b = _mm512_unpackhi_epi8(v[0], v[1]);
    const vector c = _mm512_unpacklo_epi8(v[2], v[3]), d = _mm512_unpackhi_epi8(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi16(a, c), v[1] = _mm512_unpackhi_epi16(a, c);
    v[2] = _mm512_unpacklo_epi16(b, d), v[3] = _mm512_unpackhi_epi16(b, d);
  }
  static GS_INLINE_MEMBER void order(vector (&v)[4]) {
    const vector a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    const vector c = _mm512_shuffle_i32x4(v[2], v[3], 0x44), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88), v[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    v[2] = _mm512_shuffle_i32x4(b, d, 0x88), v[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
};
#endif

#if defined(__AVX2__)
// The quads from `begin` to `end` of a list, which may be a part of it: sums are kept as the vectors have them in between.
struct Stretch {
  int64_t begin, end;
  bool first, last;
};

template <class S, int R, class Fetch>
GS_INLINE void add_rows(const Quads& q, const Stretch& part, int64_t row, int32_t (*sums)[kPositions], const Fetch& fetch) {
  typedef typename S::vector V;
  constexpr int64_t L = S::positions / 4;
  V acc[R][4];
  each<R>([&](auto r) GS_INLINE_LAMBDA {
    each<4>([&](auto v) GS_INLINE_LAMBDA {
      acc[r][v] = part.first ? S::all(S::shifted ? q.first[row + r] : 0) : S::load(sums[row + r] + v * L);
    });
  });
  const int32_t* word = q.word + part.begin * q.rows + row;
  for (int64_t j = part.begin; j < part.end; ++j, word += q.rows) {
    V x[4];
    fetch(j, x);
    each<R>([&](auto r) GS_INLINE_LAMBDA {
      const V w = S::all(word[r]);
      each<4>([&](auto v) GS_INLINE_LAMBDA { S::add(acc[r][v], x[v], w); });
    });
  }
  each<R>([&](auto r) GS_INLINE_LAMBDA {
    if (part.last) S::order(acc[r]);
    each<4>([&](auto v) GS_INLINE_LAMBDA { S::store(sums[row + r] + v * L, acc[r][v]); });
  });
}

// The positions from `skip` on, as many as four vectors hold. Many rows: their inputs are laid out once.
template <class S> void add_by(const Quads& q, int64_t skip, Sums& sums) {
  typedef typename S::vector V;
  int32_t(*out)[kPositions] = reinterpret_cast<int32_t(*)[kPositions]>(&sums[0][skip]);
  const auto fetch = [&](int64_t j, V(&v)[4]) GS_INLINE_LAMBDA {
    uint8_t room[4][kPositions];
    each<4>([&](auto c) GS_INLINE_LAMBDA { v[c] = S::load(bytes_at(q, 4 * j + c, room[c]) + skip); });
    S::interleave(v);
  };
  const Stretch whole = {0, q.n, true, true};
  if (q.rows == 1) return add_rows<S, 1>(q, whole, 0, out, fetch);
  if (q.rows == 2) return add_rows<S, 2>(q, whole, 0, out, fetch);
  if (q.rows <= S::rows) return add_rows<S, S::rows>(q, whole, 0, out, fetch);
  V held[kQuads][4];
  for (int64_t begin = 0; !begin || begin < q.n; begin += kQuads) {
    const Stretch part = {begin, least(begin + kQuads, q.n), !begin, begin + kQuads >= q.n};
    for (int64_t j = begin; j < part.end; ++j) fetch(j, held[j - begin]);
    const auto again = [&](int64_t j, V(&v)[4]) GS_INLINE_LAMBDA { each<4>([&](auto c) GS_INLINE_LAMBDA { v[c] = held[j - begin][c]; }); };
    for (int64_t row = 0; row < q.rows; row += S::rows) add_rows<S, S::rows>(q, part, row, out, again);
  }
}
#endif

// `shifted`: the bytes are 128 larger than what they stand for, of a processor with products of bytes.
GS_INLINE void add_bytes(const Quads& q, [[maybe_unused]] bool shifted, Sums& sums) {
#if GS_MASKS
  if (shifted) return add_by<Fours>(q, 0, sums);
#endif
#if defined(__AVX2__)
  for (int64_t skip = 0; skip < kPositions; skip += Pairs::positions) add_by<Pairs>(q, skip, sums);
#else
  add_plainly(q, sums);
#endif
}

}  // namespace GS_SET
}  // namespace gs

#endif
