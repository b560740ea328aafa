// Growth: checks, then the kernel of the instruction set.
#include <stdlib.h>

#include "isa.h"

namespace {

// What a gradient is made of: there, and of a size that fits memory.
gs_status check_factors(const gs_scores& tile, int64_t members, int64_t units) {
  if (tile.batch < 0 || tile.outputs.feature_stride < 0 || tile.outputs.batch_stride < 0) return GS_SIZE;
  int64_t size;
  if (__builtin_mul_overflow(members * units, tile.batch, &size) || size > INT64_MAX / 64) return GS_OVERFLOW;
  return size && (!tile.outputs.data || !tile.inputs) ? GS_NULL : GS_OK;
}

// Sizes that fit each other and memory; *units receives the number of units of the tile.
gs_status check_tile(const gs_scores* tile, int64_t* units) {
  if (!tile) return GS_NULL;
  if (tile->dtype != GS_F32 && tile->dtype != GS_F64) return GS_DTYPE;
  if (tile->rows < 0 || tile->cols < 1 || tile->cols > INT32_MAX || tile->h < 1 || tile->w < 1) return GS_SIZE;
  if (tile->first < 0 || tile->n_taken < 0) return GS_SIZE;
  int64_t members, last;
  if (__builtin_mul_overflow(tile->rows, tile->cols, units) || __builtin_mul_overflow(tile->h, tile->w, &members) ||
      __builtin_mul_overflow(members, *units, &last) || last > INT64_MAX / 64 ||
      __builtin_add_overflow(tile->first, *units, &last))
    return GS_OVERFLOW;
  if (tile->n_taken > *units) return GS_SIZE;
  if (!tile->gradient) {
    const gs_status status = check_factors(*tile, members, *units);
    if (status != GS_OK) return status;
  }
  if (!tile->taken && tile->n_taken) return GS_NULL;
  return gs_kernels_for(tile->isa) ? GS_OK : GS_ISA;
}

// Every number between 0 and the bucket's size, and n_chosen in all.
gs_status check_want(const int64_t* want, int64_t buckets, int64_t bucket, int64_t n_chosen) {
  int64_t sum = 0, wrong = 0;
  for (int64_t b = 0; b < buckets; ++b) {
    wrong |= static_cast<uint64_t>(want[b]) > static_cast<uint64_t>(bucket);
    sum = static_cast<int64_t>(static_cast<uint64_t>(sum) + static_cast<uint64_t>(want[b]));
  }
  return wrong || sum != n_chosen ? GS_SIZE : GS_OK;
}

}  // namespace

extern "C" {

gs_status gs_grow_in_buckets(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen,
                             int64_t n_chosen) {
  int64_t units;
  gs_status status = check_tile(tile, &units);
  if (status != GS_OK) return status;
  if (bucket < 1 || tile->cols % bucket) return GS_SIZE;
  if ((!want && units) || (!chosen && n_chosen)) return GS_NULL;
  status = check_want(want, units / bucket, bucket, n_chosen);
  if (status != GS_OK) return status;
  return gs_kernels_for(tile->isa)->grow_in_buckets[tile->dtype](tile, bucket, want, chosen);
}

gs_status gs_grow_above(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t room,
                        int64_t* found) {
  int64_t units;
  gs_status status = check_tile(tile, &units);
  if (status != GS_OK) return status;
  if (room < units || !(floor >= -1)) return GS_SIZE;
  if (!found || (units && (!scores || !positions))) return GS_NULL;
  int64_t* counts = static_cast<int64_t*>(malloc(static_cast<size_t>(tile->rows) * sizeof(int64_t) + 1));
  if (!counts) return GS_MEMORY;
  status = gs_kernels_for(tile->isa)->grow_above[tile->dtype](tile, floor, scores, positions, counts, found);
  free(counts);
  return status;
}

gs_status gs_grow_best(int64_t dtype, int64_t isa, void* scores, int64_t* positions, int64_t n, int64_t k, double* least) {
  if (dtype != GS_F32 && dtype != GS_F64) return GS_DTYPE;
  if (n < 0 || k < 0 || k > n) return GS_SIZE;
  if (!least || (n && (!scores || !positions))) return GS_NULL;
  const gs_kernels* kernels = gs_kernels_for(isa);
  if (!kernels) return GS_ISA;
  return kernels->grow_best[dtype](scores, positions, n, k, least);
}

}
