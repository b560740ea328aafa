// Values to their places in a dense matrix, and back: check, split by rows, run. And whether values are the same as before.
#include <cstring>

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

// One step of a hash: for a fixed word a bijection of the hash, for a fixed hash one of the word.
uint64_t mixed(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
  return hash << 32 | hash >> 32;
}

}  // namespace

extern "C" {

gs_status gs_fingerprint(const void* data, int64_t bytes, uint64_t* hash) {
  if (!hash || (!data && bytes > 0)) return GS_NULL;
  if (bytes < 0) return GS_SIZE;
  constexpr int kLanes = 8;  // chains of multiplications side by side
  uint64_t lanes[kLanes] = {1, 2, 3, 4, 5, 6, 7, 8};
  const char* p = static_cast<const char*>(data);
  uint64_t words[kLanes];
  for (; bytes >= static_cast<int64_t>(sizeof words); bytes -= sizeof words, p += sizeof words) {
    std::memcpy(words, p, sizeof words);
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; ++i) lanes[i] = mixed(lanes[i], words[i]);
  }
  std::memset(words, 0, sizeof words);
  if (bytes) std::memcpy(words, p, static_cast<size_t>(bytes));
  *hash = static_cast<uint64_t>(bytes);
  for (int i = 0; i < kLanes; ++i) *hash = mixed(*hash, mixed(lanes[i], words[i]));
  return GS_OK;
}

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
