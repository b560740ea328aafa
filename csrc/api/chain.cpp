// A frozen network in one call: layer after layer, between two halves of the caller's workspace.
#include "check.h"

namespace {

int64_t element_size(const gs_matrix& w) { return w.dtype == GS_F64 ? 8 : 4; }

// Bytes of one half of the workspace: the widest output of any layer but the last.
gs_status half_bytes(const gs_layer* layers, int64_t n, int64_t batch, int64_t* bytes) {
  *bytes = 0;
  if (!layers || n < 1) return layers ? GS_SIZE : GS_NULL;
  if (batch < 0) return GS_SIZE;
  for (int64_t i = 0; i < n; ++i) {
    int64_t used, size;
    gs_status status = gs_check_matrix(layers[i].w, true, &used);
    if (status != GS_OK) return status;
    if (i > 0 && (layers[i].w.n_in != layers[i - 1].w.n_out || layers[i].w.dtype != layers[0].w.dtype)) return GS_SIZE;
    if (i == n - 1) break;
    if (__builtin_mul_overflow(layers[i].w.n_out, batch, &size) || size > INT64_MAX / 64) return GS_OVERFLOW;
    size *= element_size(layers[i].w);
    if (size > *bytes) *bytes = size;
  }
  return GS_OK;
}

}  // namespace

extern "C" {

gs_status gs_chain_workspace(const gs_layer* layers, int64_t n_layers, int64_t batch, size_t* bytes) {
  int64_t half;
  if (!bytes) return GS_NULL;
  gs_status status = half_bytes(layers, n_layers, batch, &half);
  if (status == GS_OK) *bytes = static_cast<size_t>(n_layers > 2 ? 2 * half : half);
  return status;
}

gs_status gs_chain_forward(const gs_layer* layers, int64_t n_layers, int64_t isa, int64_t batch, const gs_panel* x,
                           const gs_panel* residual, void* out, int64_t out_stride, void* workspace,
                           size_t workspace_bytes, gs_parallel_for parallel) {
  int64_t half;
  gs_status status = half_bytes(layers, n_layers, batch, &half);
  if (status != GS_OK) return status;
  if (!x) return GS_NULL;
  const size_t need = static_cast<size_t>(n_layers > 2 ? 2 * half : half);
  if (need > workspace_bytes) return GS_SIZE;
  if (need && !workspace) return GS_NULL;
  gs_panel input = *x;
  for (int64_t i = 0; i < n_layers; ++i) {
    const bool last = i == n_layers - 1;
    void* y = last ? out : static_cast<char*>(workspace) + (i % 2) * half;
    const gs_panel none = {nullptr, 0, 0};
    gs_call call = {layers[i].w, isa, batch, input, none, layers[i].bias, layers[i].activation, layers[i].slope,
                    last && residual ? *residual : none, y, last ? out_stride : batch, parallel};
    status = gs_linear(&call);
    if (status != GS_OK) return status;
    input = {y, batch, 1};
  }
  return GS_OK;
}

}
