/* Training in mixed precision: products of factors that are rounded to bfloat16, of float32 values, with float32 sums in the order of a
 * matrix unit (csrc/kernels/unit.h) on every processor. The rules of gossamer.h hold here, too. */
#ifndef GOSSAMER_MIXED_H
#define GOSSAMER_MIXED_H

#include "gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a layer's product and its gradients share. Layouts: fanin with groups of 16 or 32, block of 16 x 32. Every field is 8 bytes. */
typedef struct gs_mixed {
  gs_matrix w;              /* of GS_F32; gs_mixed_gradients reads no values of it, which may be null */
  int64_t isa;              /* gs_isa_id */
  int64_t batch;            /* >= 0 */
  gs_panel x;               /* [n_in, batch]; gs_mixed_linear alone */
  const float* bias;        /* [n_out] or null; gs_mixed_linear alone */
  float* out;               /* [n_out, batch], contiguous; gs_mixed_linear alone */
  uint16_t* inputs;         /* bfloat16 [n_in, ceil(batch / 32) * 32]: x, rounded, zeros behind the batch */
  uint16_t* weights;        /* bfloat16 [gs_mixed_weights]: values, rounded, as tiles or shared_tiles hold them */
  gs_panel grad;            /* [n_out, batch]; gs_mixed_gradients alone, as the rest */
  float* grad_input;        /* [n_in, batch], contiguous, or null: not wanted */
  float* grad_values;       /* [w.n_values], 0 past the used part, or null */
  float* grad_bias;         /* [n_out], sums of grad, which is not rounded for them, or null */
  gs_parallel_for parallel; /* or null; results do not depend on it */
} gs_mixed;

/* Numbers in `weights`. */
GS_API gs_status gs_mixed_weights(const gs_matrix* w, int64_t* numbers);

/* out = W x + bias. Writes inputs and weights, which gs_mixed_gradients reads. */
GS_API gs_status gs_mixed_linear(const gs_mixed* call);

/* The gradients that are wanted, from grad, inputs and weights. */
GS_API gs_status gs_mixed_gradients(const gs_mixed* call);

#ifdef __cplusplus
}
#endif

#endif
