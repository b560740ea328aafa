#include "kernels.h"

namespace {

// Multiply-adds worth handing to another thread: some ten microseconds.
#if !defined(GS_GRAIN)
#define GS_GRAIN (128 * 1024)
#endif
constexpr int64_t kGrain = GS_GRAIN;

}  // namespace

extern "C" gs_status gs_run(gs_parallel_for parallel, int64_t count, int64_t cost, void (*task)(int64_t, int64_t, void*),
                            void* ctx) {
  if (count <= 0) return GS_OK;
  if (cost < 1) cost = 1;
  const int64_t grain = cost >= kGrain ? 1 : kGrain / cost;
  if (!parallel || count <= grain) {
    task(0, count, ctx);
    return GS_OK;
  }
  return parallel(0, count, grain, task, ctx) == 0 ? GS_OK : GS_THREADS;
}
