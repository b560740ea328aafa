// A frozen network in one call: layer after layer, between two halves of the caller's workspace.
#include "check.h"

namespace {

int64_t element_size(const gs_matrix& w) { return w.dtype == GS_F64 ? 8 : 4; }

// Whether layer i hands its output to the next one as bfloat16, to which that one would round it.
bool handed(const gs_layer* layers, int64_t n, int64_t i) {
  return i >= 0 && i + 1 < n && (gs_handed >> layers[i].w.layout & 1) && (gs_handed >> layers[i + 1].w.layout & 1);
}

// Bytes of one half of the workspace: the widest output of any layer but the last.
gs_status half_bytes(const gs_layer* layers, int64_t n, int64_t batch, int64_t* bytes) {
  *bytes = 0;
  if (!layers || n < 1) return layers ? GS_SIZE : GS_NULL;
  if (batch < 0) return GS_SIZE;
  for (int64_t i = 0; i + 1 < n; ++i) {
    int64_t size;
    if (layers[i + 1].w.n_in != layers[i].w.n_out || layers[i + 1].w.dtype != layers[i].w.dtype) return GS_SIZE;
    if (__builtin_mul_overflow(layers[i].w.n_out, batch, &size) || size > INT64_MAX / 64) return GS_OVERFLOW;
    size *= element_size(layers[i].w);
    if (size > *bytes) *bytes = size;
  }
  return GS_OK;
}

}  // namespace

extern "C" {

gs_status gs_chain_workspace(const gs_layer* layers, int64_t n_layers, int64_t batch, size_t* bytes) {
  int64_t half, used;
  if (!bytes) return GS_NULL;
  gs_status status = half_bytes(layers, n_layers, batch, &half);
  for (int64_t i = 0; status == GS_OK && i < n_layers; ++i) status = gs_check_matrix(layers[i].w, true, &used);
  if (status == GS_OK) *bytes = static_cast<size_t>(n_layers > 2 ? 2 * half : half);
  return status;
}

// Each layer is checked by gs_linear; whatever it refuses, no more than the workspace has been written.
gs_status gs_chain_forward(const gs_chain* chain, const void* x, const void* residual, void* out) {
  if (!chain) return GS_NULL;
  const gs_chain& c = *chain;
  int64_t half;
  gs_status status = half_bytes(c.layers, c.n_layers, c.batch, &half);
  if (status != GS_OK) return status;
  const size_t need = static_cast<size_t>(c.n_layers > 2 ? 2 * half : half);
  if (need > c.workspace_bytes) return GS_SIZE;
  if (need && !c.workspace) return GS_NULL;
  const gs_panel none = {nullptr, 0, 0}, more = {residual, c.residual_stride, 1};
  gs_panel input = {x, c.feature_stride, c.batch_stride};
  for (int64_t i = 0; i < c.n_layers; ++i) {
    const bool last = i == c.n_layers - 1;
    const gs_layer& layer = c.layers[i];
    void* y = last ? out : static_cast<char*>(c.workspace) + (i % 2) * half;
    gs_call call = {layer.w, c.isa, c.batch, input, none, layer.bias, layer.activation, layer.slope,
                    last && residual ? more : none, y, last ? c.out_stride : c.batch, c.parallel,
                    handed(c.layers, c.n_layers, i - 1) ? GS_BF16 : 0, handed(c.layers, c.n_layers, i) ? GS_BF16 : 0};
    status = gs_linear(&call);
    if (status != GS_OK) return status;
    input = {y, c.batch, 1};
  }
  return GS_OK;
}

}
