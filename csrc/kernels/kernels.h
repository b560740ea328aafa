// What one instruction set offers to csrc/api. Every function runs a checked call (csrc/api/check.cpp) to the end.
#ifndef GOSSAMER_KERNELS_H
#define GOSSAMER_KERNELS_H

#include "gossamer.h"

typedef gs_status (*gs_kernel)(const gs_call* call);
typedef gs_status (*gs_transposed_kernel)(const gs_call* call, const gs_transposed* t, void* room);

// Indexed by the gs_dtype of the values; a null entry is a kernel this instruction set does not have.
constexpr int kValueTypes = 4;
struct gs_kernels {
  gs_kernel linear[kValueTypes];
  gs_kernel grad_input[kValueTypes];
  gs_kernel grad_values[kValueTypes];
  gs_kernel lanes[kValueTypes];
  gs_kernel nm_bytes[kValueTypes];
  gs_kernel dense[kValueTypes];
  gs_kernel bands[kValueTypes];
  gs_kernel block_linear[kValueTypes];
  gs_kernel block_grad_input[kValueTypes];
  gs_kernel block_grad_values[kValueTypes];
  gs_transposed_kernel grad_input_transposed[2];  // float32, float64
  void (*transpose)(const gs_matrix* w, const gs_transposed* t);  // of a checked index
  void (*to_dense[2])(const gs_matrix* w, int64_t r0, int64_t r1, void* dense);  // row groups r0 .. r1
  void (*from_dense[2])(const gs_matrix* w, int64_t r0, int64_t r1, const void* dense, void* values);
  gs_status (*grow_in_buckets[2])(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen);
  gs_status (*grow_above[2])(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t* counts,
                             int64_t* found);  // counts: [rows], the caller's
  gs_status (*grow_best[2])(void* scores, int64_t* positions, int64_t n, int64_t k, double* least);
  gs_status (*dropout[2])(const gs_dropout* call);
  gs_status (*dropout_backward[2])(const gs_dropout* call);
};

extern "C" {
extern const gs_kernels gs_kernels_scalar;
extern const gs_kernels gs_kernels_avx2;
extern const gs_kernels gs_kernels_avx512;
extern const gs_kernels gs_kernels_neon;

// Whether this processor, which runs the 512-bit set, multiplies bytes in it and permutes them (VNNI, VBMI). Asked once.
bool gs_has_byte_products(void);

// Scratch of the calling thread, 64-byte aligned, at least `bytes` long, or null. Valid until the next call on this thread.
void* gs_scratch(size_t bytes);

// Runs task over [0, count) through `parallel` when the whole work is worth more than one thread, else right here.
// `cost` is the work of one item in multiply-adds. The task reports through a status of its own.
gs_status gs_run(gs_parallel_for parallel, int64_t count, int64_t cost, void (*task)(int64_t, int64_t, void*), void* ctx);
}

#endif
