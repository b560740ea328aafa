// The public products: check, pick the kernel, run.
#include "check.h"
#include "isa.h"

namespace {

gs_kernel pick(const gs_kernels& kernels, const gs_matrix& w, gs_operation op) {
  if (w.layout == GS_BLOCK) {
    if (op == GS_OP_GRAD_INPUT) return kernels.block_grad_input[w.dtype];
    if (op == GS_OP_GRAD_VALUES) return kernels.block_grad_values[w.dtype];
    return kernels.block_linear[w.dtype];
  }
  if (op == GS_OP_GRAD_INPUT) return kernels.grad_input[w.dtype];
  if (op == GS_OP_GRAD_VALUES) return kernels.grad_values[w.dtype];
  if (w.layout == GS_NM_LANES) return kernels.lanes[w.dtype];
  if (w.layout == GS_DENSE) return kernels.dense[w.dtype];
  return kernels.linear[w.dtype];
}

gs_status run(const gs_call* given, gs_operation op) {
  if (!given) return GS_NULL;
  gs_call call = *given;
  gs_status status = gs_check_call(call, op);
  if (status != GS_OK) return status;
  const gs_kernels* kernels = gs_kernels_for(call.isa);
  if (!kernels) return GS_ISA;
  gs_kernel kernel = pick(*kernels, call.w, op);
  if (!kernel) return GS_DTYPE;
  if (op != GS_OP_GRAD_VALUES && (call.batch == 0 || (op == GS_OP_LINEAR ? call.w.n_out : call.w.n_in) == 0)) return GS_OK;
  return kernel(&call);
}

}  // namespace

extern "C" {

gs_status gs_linear(const gs_call* call) { return run(call, GS_OP_LINEAR); }
gs_status gs_linear_grad_input(const gs_call* call) { return run(call, GS_OP_GRAD_INPUT); }
gs_status gs_linear_grad_values(const gs_call* call) { return run(call, GS_OP_GRAD_VALUES); }

}
