#include "isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)
// Extended state the operating system saves: bits 1-2 are the 256-bit registers, 5-7 the 512-bit ones.
uint32_t saved_state() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return 0;
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return lo;
}

bool has_avx2() {
  uint32_t a, b, c, d;
  if ((saved_state() & 0x6) != 0x6) return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 12))) return false;  // FMA
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 5));
}

bool has_avx512() {
  uint32_t a, b, c, d;
  const uint32_t f_dq_bw_vl = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
  if (!has_avx2() || (saved_state() & 0xe6) != 0xe6) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & f_dq_bw_vl) == f_dq_bw_vl;
}
#endif

const char* const kNames[] = {"scalar", "avx2", "avx512", "neon"};

// Asked once: the answer cannot change while the process runs, and racing threads write the same value.
int best() {
  static int cached = -1;
  int isa = __atomic_load_n(&cached, __ATOMIC_RELAXED);
  if (isa >= 0) return isa;
#if defined(__x86_64__)
  isa = has_avx512() ? GS_ISA_AVX512 : has_avx2() ? GS_ISA_AVX2 : GS_ISA_SCALAR;
#elif defined(__aarch64__)
  isa = GS_ISA_NEON;
#else
  isa = GS_ISA_SCALAR;
#endif
  __atomic_store_n(&cached, isa, __ATOMIC_RELAXED);
  return isa;
}

}  // namespace

const gs_kernels* gs_kernels_for(int64_t isa) {
  if (isa == GS_ISA_AUTO) isa = best();
  switch (isa) {
#if defined(__aarch64__)
    case GS_ISA_NEON: return &gs_kernels_neon;
#else
    case GS_ISA_SCALAR: return &gs_kernels_scalar;
#endif
#if defined(__x86_64__)
    case GS_ISA_AVX2: return best() >= GS_ISA_AVX2 ? &gs_kernels_avx2 : nullptr;
    case GS_ISA_AVX512: return best() >= GS_ISA_AVX512 ? &gs_kernels_avx512 : nullptr;
#endif
    default: return nullptr;
  }
}

extern "C" {

int32_t gs_isa(void) { return best(); }

gs_status gs_isa_available(int32_t isa) { return gs_kernels_for(isa) ? GS_OK : GS_ISA; }

const char* gs_isa_name(int32_t isa) { return isa < 0 || isa > GS_ISA_NEON ? nullptr : kNames[isa]; }

}
