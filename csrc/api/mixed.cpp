// Products of training in mixed precision: checks, then the kernels of the instruction set.
#include "check.h"
#include "isa.h"

namespace {

constexpr int64_t kSize = 16 * 32;  // of a tile

gs_status check_layer(const gs_matrix& w, bool need_values, int64_t* numbers) {
  int64_t used;
  const gs_status status = gs_check_matrix(w, need_values, &used);
  if (status != GS_OK) return status;
  if (w.dtype != GS_F32 || w.narrow) return GS_DTYPE;
  if (w.layout == GS_BLOCK) {
    *numbers = used;
    return w.group == 16 && w.tile == 32 ? GS_OK : GS_SIZE;
  }
  if (w.layout != GS_FANIN) return GS_LAYOUT;
  if (w.group != 16 && w.group != 32) return GS_SIZE;
  *numbers = w.n_rows * ((w.per_row + 31) / 32) * (w.group / 16) * kSize;  // at most 32 times what was checked
  return *numbers > INT64_MAX / 8 ? GS_OVERFLOW : GS_OK;
}

gs_status check(const gs_mixed& call, const gs_panel& panel, int64_t features, bool need_values) {
  int64_t numbers, extent;
  const gs_status status = check_layer(call.w, need_values, &numbers);
  if (status != GS_OK) return status;
  if (call.batch < 0 || call.batch > INT64_MAX / 64) return GS_SIZE;
  const int64_t most = call.w.n_in > call.w.n_out ? call.w.n_in : call.w.n_out;
  if (__builtin_mul_overflow(most, call.batch + 32, &extent) || extent > INT64_MAX / 8) return GS_OVERFLOW;
  if (numbers && !call.weights) return GS_NULL;
  if (!call.inputs && call.w.n_in && call.batch) return GS_NULL;
  gs_panel copy = panel;
  return gs_check_panel(copy, features, call.batch);
}

}  // namespace

extern "C" {

gs_status gs_mixed_weights(const gs_matrix* w, int64_t* numbers) { return w && numbers ? check_layer(*w, false, numbers) : GS_NULL; }

gs_status gs_mixed_linear(const gs_mixed* given) {
  if (!given) return GS_NULL;
  gs_mixed call = *given;
  gs_status status = check(call, call.x, call.w.n_in, true);
  if (status == GS_OK && !call.out && call.w.n_out && call.batch) status = GS_NULL;
  if (status != GS_OK) return status;
  gs_check_panel(call.x, call.w.n_in, call.batch);  // strides that do not matter
  const gs_kernels* kernels = gs_kernels_for(call.isa);
  return kernels ? kernels->mixed_linear(&call) : GS_ISA;
}

gs_status gs_mixed_gradients(const gs_mixed* given) {
  if (!given) return GS_NULL;
  gs_mixed call = *given;
  const gs_status status = check(call, call.grad, call.w.n_out, false);
  if (status != GS_OK) return status;
  gs_check_panel(call.grad, call.w.n_out, call.batch);
  const gs_kernels* kernels = gs_kernels_for(call.isa);
  return kernels ? kernels->mixed_gradients(&call) : GS_ISA;
}

}
