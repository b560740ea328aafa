// How inputs of one sample are fetched: measured once, for it depends on the processor alone.
#include <time.h>

#include "isa.h"

#if defined(GS_HAS_avx2)
namespace gs {
namespace avx2 {
void gather_once(const gs_call& call, bool gathers);
}
}  // namespace gs
#endif

namespace {

int32_t forced = GS_FETCH_AUTO, measured = GS_FETCH_AUTO;

#if defined(GS_HAS_avx2)
// Rows of 90 % zeros and of uneven length, in the first cache level.
struct Case {
  static constexpr int kRows = 24, kInputs = 768, kMost = 96, kTurns = 7;
  float x[kInputs], values[kRows * kMost], out[kRows];
  uint16_t cols[kRows * kMost];
  int32_t rows[kRows + 1];
  gs_call call;

  Case() : x(), values(), out(), cols(), rows(), call() {
    for (int r = 0; r < kRows; ++r) {
      const int count = 60 + r * 7 % 36;
      rows[r + 1] = rows[r] + count;
      for (int j = 0; j < count; ++j) cols[rows[r] + j] = static_cast<uint16_t>((j * kInputs + r * 131 % kInputs) / count % kInputs);
    }
    const int64_t used = rows[kRows];
    call.w = {GS_CSR, GS_F32, kRows, kInputs, 1, 0, 0, 0, used, used, 4, 2, values, rows, cols, 0, nullptr};
    call.batch = 1, call.x = {x, 1, 1}, call.out = out, call.out_stride = 1;
  }
  int64_t nanoseconds(bool gathers) const {
    timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    gs::avx2::gather_once(call, gathers);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (to.tv_sec - from.tv_sec) * 1000000000ll + to.tv_nsec - from.tv_nsec;
  }
};

bool has_gathers() { return gs_kernels_for(GS_ISA_AVX2) != nullptr; }

// The shortest of some turns of each: what disturbs a turn only makes it longer. The first turns warm up.
int32_t measure() {
  const Case turns;
  int64_t least[2] = {INT64_MAX, INT64_MAX};
  for (int i = 0; i < 2 * Case::kTurns; ++i) {
    const int64_t taken = turns.nanoseconds(i % 2);
    if (i >= 2 && taken < least[i % 2]) least[i % 2] = taken;
  }
  return least[1] < least[0] ? GS_FETCH_GATHERS : GS_FETCH_LOADS;
}
#else
bool has_gathers() { return false; }
int32_t measure() { return GS_FETCH_LOADS; }
#endif

// Threads that come at the same time may all measure; what the first one found stays.
int32_t found() {
  int32_t now = __atomic_load_n(&measured, __ATOMIC_RELAXED);
  if (now != GS_FETCH_AUTO) return now;
  const int32_t mine = has_gathers() ? measure() : GS_FETCH_LOADS;
  return __atomic_compare_exchange_n(&measured, &now, mine, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED) ? mine : now;
}

}  // namespace

extern "C" {

bool gs_gathers(void) { return gs_fetched_by() == GS_FETCH_GATHERS; }

gs_status gs_fetch_by(int32_t fetch) {
  if (fetch < GS_FETCH_AUTO || fetch > GS_FETCH_GATHERS) return GS_SIZE;
  if (fetch == GS_FETCH_GATHERS && !has_gathers()) return GS_ISA;
  __atomic_store_n(&forced, fetch, __ATOMIC_RELAXED);
  return GS_OK;
}

int32_t gs_fetched_by(void) {
  const int32_t now = __atomic_load_n(&forced, __ATOMIC_RELAXED);
  return now == GS_FETCH_AUTO ? found() : now;
}

}
