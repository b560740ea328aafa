// Leaky ReLU with dropout: checks, then the kernel of the instruction set.
#include "isa.h"

namespace {

gs_status check(const gs_dropout* call) {
  if (!call) return GS_NULL;
  if (call->dtype != GS_F32 && call->dtype != GS_F64) return GS_DTYPE;
  if (call->n < 0 || call->threshold < 0 || call->threshold > 65536) return GS_SIZE;
  if (call->n > INT64_MAX / 8) return GS_OVERFLOW;
  if (call->n && (!call->x || !call->kept || !call->out)) return GS_NULL;
  return gs_kernels_for(call->isa) ? GS_OK : GS_ISA;
}

}  // namespace

extern "C" {

gs_status gs_leaky_dropout(const gs_dropout* call) {
  const gs_status status = check(call);
  return status == GS_OK ? gs_kernels_for(call->isa)->dropout[call->dtype](call) : status;
}

gs_status gs_leaky_dropout_backward(const gs_dropout* call) {
  const gs_status status = check(call);
  return status == GS_OK ? gs_kernels_for(call->isa)->dropout_backward[call->dtype](call) : status;
}

}
