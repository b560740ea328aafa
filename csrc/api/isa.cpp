#include "isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(GS_HAS_amx)
#include <sys/syscall.h>
#include <unistd.h>
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

[[maybe_unused]] bool has_avx2() {
  uint32_t a, b, c, d;
  if ((saved_state() & 0x6) != 0x6) return false;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 12))) return false;  // FMA
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 5));
}

[[maybe_unused]] bool has_avx512() {
#if defined(GS_EMULATE_AVX512)
  return has_avx2();
#else
  uint32_t a, b, c, d;
  const uint32_t f_dq_bw_vl = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);
  if (!has_avx2() || (saved_state() & 0xe6) != 0xe6) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & f_dq_bw_vl) == f_dq_bw_vl;
#endif
}
#endif

// Of a processor that runs the 512-bit set.
bool has_byte_products() {
#if defined(__x86_64__)
  uint32_t a, b, c, d;
  const uint32_t vbmi_vbmi2_vnni = (1u << 1) | (1u << 6) | (1u << 11);
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & vbmi_vbmi2_vnni) == vbmi_vbmi2_vnni;
#else
  return false;
#endif
}

// Processor and system: the unit, with bfloat16 and int8, and conversion to bfloat16; then the system, which gives a process the
// room for its state on request, for threads that start later as well.
gs_matrix_state find_matrix_unit() {
#if defined(GS_HAS_amx)
  constexpr uint32_t kUnit = (1u << 22) | (1u << 24) | (1u << 25), kConversion = 1u << 5, kState = 3u << 17;
  constexpr long kAsk = 0x1023, kTileData = 18;
  uint32_t a, b, c, d;
  if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kUnit) != kUnit) return GS_MATRIX_ABSENT;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & kConversion)) return GS_MATRIX_ABSENT;
  if ((saved_state() & kState) != kState || syscall(SYS_arch_prctl, kAsk, kTileData) != 0) return GS_MATRIX_REFUSED;
  return GS_MATRIX_GRANTED;
#else
  return GS_MATRIX_NOT_BUILT;
#endif
}

bool has_half_products() {
#if defined(__x86_64__)
  uint32_t a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & (1u << 23));
#else
  return false;
#endif
}

const char* const kNames[] = {"scalar", "avx2", "avx512", "neon"};

// What was compiled in, best last, and whether it runs here. Every build has at least one entry that always runs.
struct Set {
  int32_t isa;
  const gs_kernels* kernels;
  bool (*runs)();
};

[[maybe_unused]] bool always() { return true; }

const Set kSets[] = {
#if defined(GS_HAS_scalar)
    {GS_ISA_SCALAR, &gs_kernels_scalar, always},
#endif
#if defined(GS_HAS_neon)
    {GS_ISA_NEON, &gs_kernels_neon, always},
#endif
#if defined(GS_HAS_avx2)
    {GS_ISA_AVX2, &gs_kernels_avx2, has_avx2},
#endif
#if defined(GS_HAS_avx512)
    {GS_ISA_AVX512, &gs_kernels_avx512, has_avx512},
#endif
};

// Asked once: the answer cannot change while the process runs, and racing threads write the same value.
// Bit i: kSets[i] runs here. The top bits: byte products, float16.
constexpr unsigned kByteProducts = 1u << 31, kHalfProducts = 1u << 30;
unsigned running() {
  static unsigned cached = 0;
  unsigned bits = __atomic_load_n(&cached, __ATOMIC_RELAXED);
  if (bits) return bits;
  unsigned i = 0;
  for (const Set& set : kSets) bits |= static_cast<unsigned>(set.runs()) << i++;
  if (has_byte_products()) bits |= kByteProducts;
  if (has_half_products()) bits |= kHalfProducts;
  __atomic_store_n(&cached, bits, __ATOMIC_RELAXED);
  return bits;
}

// The entry of an instruction set that runs here, or the best one for GS_ISA_AUTO, or null.
const Set* find(int64_t isa) {
  const unsigned bits = running();
  const Set* found = nullptr;
  unsigned i = 0;
  for (const Set& set : kSets)
    if ((bits >> i++ & 1) && (isa == GS_ISA_AUTO || isa == set.isa)) found = &set;
  return found;
}

}  // namespace

const gs_kernels* gs_kernels_for(int64_t isa) {
  const Set* set = find(isa);
  return set ? set->kernels : nullptr;
}

extern "C" {

bool gs_has_byte_products(void) { return running() & kByteProducts; }
bool gs_has_half_products(void) { return running() & kHalfProducts; }

// Racing threads ask the same and get the same answer.
gs_matrix_state gs_matrix_unit(void) {
  static gs_matrix_state cached = {};
  gs_matrix_state unit = __atomic_load_n(&cached, __ATOMIC_RELAXED);
  if (!unit) __atomic_store_n(&cached, unit = find_matrix_unit(), __ATOMIC_RELAXED);
  return unit;
}

int32_t gs_isa(void) {
  const Set* best = find(GS_ISA_AUTO);
  return best ? best->isa : GS_ISA_AUTO;
}

gs_status gs_unit_available(int32_t unit) {
  const bool there = unit == GS_UNIT_BYTES ? gs_has_byte_products() : unit == GS_UNIT_HALVES && gs_has_half_products();
  return there && gs_kernels_for(GS_ISA_AVX512) ? GS_OK : GS_ISA;
}

gs_status gs_isa_available(int32_t isa) { return gs_kernels_for(isa) ? GS_OK : GS_ISA; }

const char* gs_isa_name(int32_t isa) { return isa < 0 || isa > GS_ISA_NEON ? nullptr : kNames[isa]; }

}
