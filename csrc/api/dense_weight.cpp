// Values to their places in a dense matrix, and back: check, split by rows, run.
#include "check.h"
#include "isa.h"

namespace {

constexpr int64_t kCost = 16;  // of moving a value, in multiply-adds

gs_status check(const gs_matrix* w, bool need_values, int64_t* used) {
  if (!w) return GS_NULL;
  const bool trained = w->layout == GS_CSR || w->layout == GS_FANIN || w->layout == GS_NM || w->layout == GS_BLOCK;
  if (!trained) return GS_LAYOUT;
  const gs_status status = gs_check_matrix(*w, need_values, used);
  if (status != GS_OK) return status;
  return w->narrow ? GS_DTYPE : GS_OK;
}

struct Job {
  const gs_matrix* w;
  const void* from;
  void* to;
};

void scatter(int64_t begin, int64_t end, void* ctx) {
  const Job& job = *static_cast<const Job*>(ctx);
  gs_kernels_for(GS_ISA_AUTO)->to_dense[job.w->dtype](job.w, begin, end, job.to);
}

void gather(int64_t begin, int64_t end, void* ctx) {
  const Job& job = *static_cast<const Job*>(ctx);
  gs_kernels_for(GS_ISA_AUTO)->from_dense[job.w->dtype](job.w, begin, end, job.from, job.to);
}

gs_status by_rows(Job job, int64_t used, gs_parallel_for parallel, void (*task)(int64_t, int64_t, void*)) {
  const int64_t groups = job.w->n_out / job.w->group;
  return gs_run(parallel, groups, (used / (groups + 1) + 1) * kCost, task, &job);
}

}  // namespace

extern "C" {

gs_status gs_to_dense(const gs_matrix* w, void* dense, gs_parallel_for parallel) {
  int64_t used;
  const gs_status status = check(w, true, &used);
  if (status != GS_OK) return status;
  if (!dense && used) return GS_NULL;
  return by_rows({w, nullptr, dense}, used, parallel, scatter);
}

gs_status gs_from_dense(const gs_matrix* w, const void* dense, void* values, gs_parallel_for parallel) {
  int64_t used;
  const gs_status status = check(w, false, &used);
  if (status != GS_OK) return status;
  if ((!dense && used) || (!values && w->n_values)) return GS_NULL;
  const int64_t bytes = w->dtype == GS_F64 ? 8 : 4;
  for (int64_t i = used * bytes; i < w->n_values * bytes; ++i) static_cast<char*>(values)[i] = 0;
  return by_rows({w, dense, values}, used, parallel, gather);
}

}
