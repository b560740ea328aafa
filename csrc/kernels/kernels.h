// What one instruction set offers to csrc/api. Every function runs a checked call (csrc/api/check.cpp) to the end.
#ifndef GOSSAMER_KERNELS_H
#define GOSSAMER_KERNELS_H

#include "gossamer.h"
#include "gossamer_mixed.h"
#include "gossamer_plan.h"
#include "gossamer_recurrent.h"

enum gs_operation { GS_OP_LINEAR, GS_OP_GRAD_INPUT, GS_OP_GRAD_VALUES };
constexpr int kOperations = 3, kLayouts = 19, kValueTypes = 5;

// Types of the functions that kernels.inc names.
typedef gs_status gs_product(const gs_call* call);
typedef gs_status gs_by_columns(const gs_call* call, const gs_transposed* t, void* room);
typedef void gs_transposing(const gs_matrix* w, const gs_transposed* t);  // of a checked index
typedef void gs_scattering(const gs_matrix* w, int64_t r0, int64_t r1, void* dense);  // row groups r0 .. r1
typedef void gs_gathering(const gs_matrix* w, int64_t r0, int64_t r1, const void* dense, void* values);
typedef gs_status gs_growth_buckets(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen);
typedef gs_status gs_growth_above(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t* counts,
                                  int64_t* found);  // counts: [rows], the caller's
typedef gs_status gs_growth_best(void* scores, int64_t* positions, int64_t n, int64_t k, double* least);
typedef gs_status gs_dropping(const gs_dropout* call);
typedef gs_status gs_activating(const gs_numbers* call);
typedef gs_status gs_normalising(const gs_lines* call);
typedef gs_status gs_conv_preparing(const gs_matrix* w, const gs_places* places, void* room, int64_t* bytes);  // null room: bytes alone
typedef gs_status gs_convolving(const gs_call* call, const gs_places* places, const void* room);
typedef gs_status gs_conv_training(const gs_images* call);
// One step of a recurrent cell, gs_cell: n numbers a gate, gate after gate.
struct gs_cell_step {
  int64_t cell, n;
  const void *x, *q;        // [gates, n]
  void *h, *c;              // [n] state, changed in place
  void* kept;               // [.., n] of the step, or null
  gs_parallel_for parallel;
};
// The same backward: h and c are gradients of the state after the step. c becomes that of the state before it; h, of gru alone,
// the part of it that does not come through q.
struct gs_cell_grad {
  int64_t cell, n;
  const void *kept, *before;  // before: [n] h before the step, gru alone
  void *h, *c;
  void *x, *q;                // [gates, n] gradients; q of gru alone
  gs_parallel_for parallel;
};
typedef gs_status gs_gating(const gs_cell_step* step);
typedef gs_status gs_gating_backward(const gs_cell_grad* step);
typedef gs_status gs_mixing(const gs_mixed* call);
typedef gs_status gs_stepping(const gs_step* step, float* const* memory, gs_parallel_for parallel);  // memory: as gs_view names it

struct gs_kernels {
  gs_product* products[kOperations][kLayouts][kValueTypes];  // null where there is none
#define GS_TYPED(name, type, small) type* name[2];  // float32, float64
#define GS_UNTYPED(name, type, small) type* name;
#include "kernels.inc"
};

// The products without their functions, in the order of kernels.inc: layouts and value types as a bit each.
struct gs_row {
  gs_operation operation;
  uint32_t layouts, types;
};
template <class... Enum> constexpr uint32_t gs_bits(Enum... value) { return ((1u << value) | ...); }
constexpr gs_row kRows[] = {
#define GS_PRODUCT(function, operation, layouts, types, small) {operation, gs_bits layouts, gs_bits types},
#include "kernels.inc"
};

// The layouts on which an operation is defined.
constexpr uint32_t gs_layouts_of(gs_operation operation) {
  uint32_t layouts = 0;
  for (const gs_row& row : kRows) layouts |= row.operation == operation ? row.layouts : 0;
  return layouts;
}

// The layouts whose inputs are rounded to bfloat16 anyway: between two of them numbers may pass as such.
constexpr uint32_t gs_handed = gs_bits(GS_TILES, GS_SHARED_TILES);

extern "C" {
extern const gs_kernels gs_kernels_scalar;
extern const gs_kernels gs_kernels_avx2;
extern const gs_kernels gs_kernels_avx512;
extern const gs_kernels gs_kernels_neon;

// Whether this processor, which runs the 512-bit set, multiplies bytes in it, permutes and spreads them (VNNI, VBMI, VBMI2).
// Asked once.
bool gs_has_byte_products(void);

// Whether this processor, which runs the 512-bit set, computes in float16 in it (AVX512-FP16). Asked once.
bool gs_has_half_products(void);

// Whether gathers fetch the inputs of one sample in the 256-bit set: as it was forced, else as it was measured once.
bool gs_gathers(void);

// Scratch of the calling thread, 64-byte aligned, at least `bytes` long, or null. Valid until the next call on this thread.
void* gs_scratch(size_t bytes);
// The same, apart from it: for a call that hands out tasks which use gs_scratch themselves.
void* gs_call_scratch(size_t bytes);

// Runs task over [0, count) through `parallel` when the whole work is worth more than one thread, else right here.
// `cost` is the work of one item in multiply-adds. The task reports through a status of its own.
gs_status gs_run(gs_parallel_for parallel, int64_t count, int64_t cost, void (*task)(int64_t, int64_t, void*), void* ctx);
}

#endif
