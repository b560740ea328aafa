// Activations and softmax: checks, then the kernel of the instruction set.
#include "isa.h"

namespace {

bool product(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

// Memory of so many numbers, in and out.
template <class Call> gs_status check(const Call& call, int64_t numbers) {
  if (call.dtype != GS_F32 && call.dtype != GS_F64) return GS_DTYPE;
  if (numbers > INT64_MAX / 8) return GS_OVERFLOW;
  if (numbers && (!call.x || !call.out)) return GS_NULL;
  return gs_kernels_for(call.isa) ? GS_OK : GS_ISA;
}

}  // namespace

extern "C" {

gs_status gs_activate(const gs_numbers* call) {
  if (!call) return GS_NULL;
  if (call->n < 0 || call->activation < GS_IDENTITY || call->activation > GS_GELU_TANH) return GS_SIZE;
  const gs_status status = check(*call, call->n);
  return status == GS_OK ? gs_kernels_for(call->isa)->activate[call->dtype](call) : status;
}

gs_status gs_softmax(const gs_lines* call) {
  int64_t numbers;
  if (!call) return GS_NULL;
  if (call->outer < 0 || call->n < 0 || call->inner < 0 || call->logarithm < 0 || call->logarithm > 1) return GS_SIZE;
  if (!product(call->outer, call->n, &numbers) || !product(numbers, call->inner, &numbers)) return GS_OVERFLOW;
  const gs_status status = check(*call, numbers);
  return status == GS_OK && numbers ? gs_kernels_for(call->isa)->softmax[call->dtype](call) : status;
}

}
