// The public products: check, pick the kernel, run.
#include "check.h"
#include "isa.h"

namespace {

gs_status run(const gs_call* given, gs_operation op) {
  if (!given) return GS_NULL;
  gs_call call = *given;
  gs_status status = gs_check_call(call, op);
  if (status != GS_OK) return status;
  const gs_kernels* kernels = gs_kernels_for(call.isa);
  if (!kernels) return GS_ISA;
  gs_product* kernel = kernels->products[op][call.w.layout][call.w.narrow ? call.w.narrow : call.w.dtype];
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
