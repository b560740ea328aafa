// The matrix unit: eight tiles of 16 rows of 64 bytes, and products of two tiles that are added to a third. Kernels are written
// against this interface alone. Where the processor has such a unit (AMX; the set `amx`), a product is one instruction; elsewhere
// it is emulated, with the same rounding in the same order, so that results do not depend on the processor.
#ifndef GOSSAMER_UNIT_H
#define GOSSAMER_UNIT_H

#include "vec.h"

#if defined(__AMX_TILE__)
#include <immintrin.h>
#endif

namespace gs {
namespace GS_SET {

constexpr int kTileRows = 16, kTileBytes = 1024;

#if defined(__AMX_TILE__)
// Tiles 0 to 5 hold sums, 6 the left factor, 7 the right one. `steps` <= 16: words of four bytes in a row of the left factor,
// and rows of the right one.
class Unit {
 public:
  explicit GS_INLINE_MEMBER Unit(int steps = kTileRows) {
    alignas(64) Config config = {};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) config.bytes[i] = 64, config.rows[i] = kTileRows;
    config.bytes[6] = static_cast<uint16_t>(4 * steps);
    config.rows[7] = static_cast<uint8_t>(steps);
    _tile_loadconfig(&config);
  }
  GS_INLINE_MEMBER ~Unit() { _tile_release(); }
  Unit(const Unit&) = delete;

  // Instructions by hand: the compilers' own functions take no number of a template.
  template <int t> GS_INLINE_MEMBER void zero() { asm volatile("tilezero %%tmm%c0" ::"i"(t)); }
  template <int t> GS_INLINE_MEMBER void load(const void* p, int64_t stride) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(t), "r"(p), "r"(stride) : "memory");
  }
  template <int t> GS_INLINE_MEMBER void store(void* p, int64_t stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(t), "r"(p), "r"(stride) : "memory");
  }
  // Sums [16][16] of float += left [16][steps] times right [steps][16], words of two bfloat16 each.
  template <int t> GS_INLINE_MEMBER void bf16() { asm volatile("tdpbf16ps %%tmm7, %%tmm6, %%tmm%c0" ::"i"(t)); }
  // Sums [16][16] of int32 += the same with words of four int8 each.
  template <int t> GS_INLINE_MEMBER void int8() { asm volatile("tdpbssd %%tmm7, %%tmm6, %%tmm%c0" ::"i"(t)); }

 private:
  struct Config {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  };
};
#else
// Numbers below float's normal range count as zero, in factors and in sums: the unit does so, whatever the thread asks for.
class FlushToZero {
 public:
#if defined(__x86_64__)
  GS_INLINE_MEMBER FlushToZero() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | 0x8040); }
  GS_INLINE_MEMBER ~FlushToZero() { __builtin_ia32_ldmxcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  GS_INLINE_MEMBER FlushToZero() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(before_ | 1u << 24));
  }
  GS_INLINE_MEMBER ~FlushToZero() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_;
#endif
};

typedef uint32_t u32v __attribute__((vector_size(GS_VEC_BYTES)));
typedef uint32_t u32vu __attribute__((vector_size(GS_VEC_BYTES), aligned(4), may_alias));

class Unit {
 public:
  explicit GS_INLINE_MEMBER Unit(int steps = kTileRows) : steps_(steps) {}
  Unit(const Unit&) = delete;

  template <int t> GS_INLINE_MEMBER void zero() { __builtin_memset(sums_[t], 0, sizeof sums_[t]); }
  // Of a factor only where it lies is kept: it must stay there until it has been used.
  template <int t> GS_INLINE_MEMBER void load(const void* p, int64_t stride) {
    static_assert(t == 6 || t == 7, "factors are loaded");
    factors_[t - 6] = {static_cast<const char*>(p), stride};
  }
  template <int t> GS_INLINE_MEMBER void store(void* p, int64_t stride) {
    for (int r = 0; r < kTileRows; ++r) __builtin_memcpy(static_cast<char*>(p) + r * stride, sums_[t] + r * 16, 64);
  }
  template <int t> GS_INLINE_MEMBER void bf16() { multiply_bf16(sums_[t]); }
  template <int t> GS_INLINE_MEMBER void int8() { multiply_int8(reinterpret_cast<int32_t*>(sums_[t])); }

 private:
  struct Factor {
    const char* data;
    int64_t stride;
  };

  GS_INLINE_MEMBER uint32_t word(int row, int step) const {
    uint32_t word;
    __builtin_memcpy(&word, factors_[0].data + row * factors_[0].stride + 4 * step, sizeof word);
    return word;
  }

  // The first halves of all words are added up, and the second halves; then these two, and then the sum that was there.
  __attribute__((noinline)) void multiply_bf16(float* sums) {
    constexpr int kRows = 4, lanes = Vec<float>::lanes;
    const u32v high = u32v{} + 0xffff0000u;
    const FlushToZero flush;
    for (int row = 0; row < kTileRows; row += kRows)
      for (int column = 0; column < 16; column += lanes) {
        f32v first[kRows] = {}, second[kRows] = {};
        for (int k = 0; k < steps_; ++k) {
          const u32v right = *reinterpret_cast<const u32vu*>(factors_[1].data + k * factors_[1].stride + 4 * column);
          const f32v b0 = (f32v)(right << 16), b1 = (f32v)(right & high);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            const u32v left = u32v{} + word(row + r, k);
            first[r] = fused((f32v)(left << 16), b0, first[r]);
            second[r] = fused((f32v)(left & high), b1, second[r]);
          }
        }
        for (int r = 0; r < kRows; ++r) {
          float* at = sums + (row + r) * 16 + column;
          store_at(at, load_at(at) + (first[r] + second[r]));
        }
      }
  }

  __attribute__((noinline)) void multiply_int8(int32_t* sums) {
    for (int row = 0; row < kTileRows; ++row)
      for (int k = 0; k < steps_; ++k) {
        const int8_t* a = reinterpret_cast<const int8_t*>(factors_[0].data + row * factors_[0].stride + 4 * k);
        const int8_t* b = reinterpret_cast<const int8_t*>(factors_[1].data + k * factors_[1].stride);
        for (int column = 0; column < 16; ++column)
          for (int i = 0; i < 4; ++i) sums[row * 16 + column] += a[i] * b[4 * column + i];
      }
  }

  // a * b + c, rounded once: in one instruction, or in double, which holds a product of two bfloat16 exactly.
  static GS_INLINE_MEMBER f32v fused(f32v a, f32v b, f32v c) {
#if defined(__OPTIMIZE__) && (defined(__FMA__) || defined(__aarch64__))
    return a * b + c;
#else
    for (int i = 0; i < Vec<float>::lanes; ++i) c[i] = static_cast<float>(static_cast<double>(a[i]) * b[i] + c[i]);
    return c;
#endif
  }

  static GS_INLINE_MEMBER f32v load_at(const float* p) { return gs::GS_SET::load<float>(p); }
  static GS_INLINE_MEMBER void store_at(float* p, f32v v) { gs::GS_SET::store<float>(p, v); }

  alignas(64) float sums_[6][256];
  Factor factors_[2];
  int steps_;
};
#endif

}  // namespace GS_SET
}  // namespace gs

#endif
