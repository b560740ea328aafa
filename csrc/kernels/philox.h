// Philox4x32-10 (Salmon et al. 2011), a generator without state: the same key and counter always give the same four words. So
// numbers can be drawn in any order, by any number of threads.
#ifndef GOSSAMER_PHILOX_H
#define GOSSAMER_PHILOX_H

#include "vec.h"

namespace gs {
namespace GS_SET {

constexpr int kDraws = 16;  // counters side by side

struct Words {
  uint32_t word[4][kDraws];  // of each counter
};

// The words of counters first .. first + kDraws under a key of two words.
GS_INLINE Words philox(uint64_t key, uint64_t first) {
  Words c;
  for (int i = 0; i < kDraws; ++i) {
    c.word[0][i] = static_cast<uint32_t>(first + static_cast<uint64_t>(i));
    c.word[1][i] = static_cast<uint32_t>((first + static_cast<uint64_t>(i)) >> 32);
    c.word[2][i] = c.word[3][i] = 0;
  }
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
    for (int i = 0; i < kDraws; ++i) {
      const uint64_t a = uint64_t{0xd2511f53u} * c.word[0][i], b = uint64_t{0xcd9e8d57u} * c.word[2][i];
      c.word[0][i] = static_cast<uint32_t>(b >> 32) ^ c.word[1][i] ^ k0;
      c.word[1][i] = static_cast<uint32_t>(b);
      c.word[2][i] = static_cast<uint32_t>(a >> 32) ^ c.word[3][i] ^ k1;
      c.word[3][i] = static_cast<uint32_t>(a);
    }
  }
  return c;
}

}  // namespace GS_SET
}  // namespace gs

#endif
