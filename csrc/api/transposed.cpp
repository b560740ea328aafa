// Transposed indices: their sizes, their making, and the input gradient by them.
#include "check.h"
#include "isa.h"

namespace {

// Rows of a block. A visit of a column to a block is worth its cost from some twelve connections on; blocks of fewer than
// 128 rows gain nothing, for the tile of that many is of first-level size. Measured: docs/decisions/0009.
constexpr int64_t kVisit = 12, kLeastRows = 128, kMostRows = 65536;

int64_t block_rows(const gs_matrix& w, int64_t connections) {
  const double wanted = kVisit * static_cast<double>(w.n_out) * static_cast<double>(w.n_in) / static_cast<double>(connections + 1);
  const int64_t rows = wanted < kLeastRows ? kLeastRows : wanted > kMostRows ? kMostRows : static_cast<int64_t>(wanted);
  const int64_t blocks = w.n_out ? (w.n_out + rows - 1) / rows : 1;
  return w.n_out ? (w.n_out + blocks - 1) / blocks : 1;  // of about one size
}

// Lengths for any block that is allowed; *n_starts and *n_order receive them.
gs_status lengths(const gs_matrix& w, int64_t block, int64_t connections, int64_t* n_starts, int64_t* n_order) {
  if (block < 1 || block > kMostRows) return GS_SIZE;
  *n_order = connections;
  const int64_t blocks = w.n_out ? (w.n_out + block - 1) / block : 1;
  if (__builtin_mul_overflow(blocks, w.n_in, n_starts)) return GS_OVERFLOW;
  ++*n_starts;
  return connections > INT32_MAX ? GS_OVERFLOW : GS_OK;
}

gs_status check_layout(const gs_matrix& w) {
  const bool rows_alone = w.layout == GS_CSR || w.layout == GS_NM || (w.layout == GS_FANIN && w.group == 1);
  return rows_alone ? GS_OK : GS_LAYOUT;
}

gs_status check_transposed(const gs_matrix& w, const gs_transposed& t, int64_t connections) {
  int64_t n_starts, n_order;
  gs_status status = lengths(w, t.block, connections, &n_starts, &n_order);
  if (status != GS_OK) return status;
  if (t.n_starts != n_starts || t.n_order != n_order) return GS_SIZE;
  return t.starts && ((t.rows && t.order) || !n_order) ? GS_OK : GS_NULL;
}

}  // namespace

extern "C" {

gs_status gs_transposed_size(const gs_matrix* w, gs_transposed* t) {
  if (!w || !t) return GS_NULL;
  int64_t connections;
  gs_status status = check_layout(*w);
  if (status == GS_OK) status = gs_check_matrix(*w, false, &connections);
  if (status != GS_OK) return status;
  t->block = block_rows(*w, connections);
  return lengths(*w, t->block, connections, &t->n_starts, &t->n_order);
}

gs_status gs_transpose(const gs_matrix* w, const gs_transposed* t) {
  if (!w || !t) return GS_NULL;
  int64_t connections;
  gs_status status = check_layout(*w);
  if (status == GS_OK) status = gs_check_matrix(*w, false, &connections);
  if (status == GS_OK) status = check_transposed(*w, *t, connections);
  if (status == GS_OK) status = gs_check_index(w);
  if (status != GS_OK) return status;
  gs_kernels_for(GS_ISA_AUTO)->transpose(w, t);
  return GS_OK;
}

gs_status gs_linear_grad_input_transposed(const gs_call* given, const gs_transposed* t, void* room) {
  if (!given || !t) return GS_NULL;
  gs_call call = *given;
  int64_t connections;
  gs_status status = check_layout(call.w);
  if (status == GS_OK) status = gs_check_call(call, GS_OP_GRAD_INPUT);
  if (status == GS_OK) status = gs_check_matrix(call.w, true, &connections);
  if (status == GS_OK) status = check_transposed(call.w, *t, connections);
  if (status != GS_OK) return status;
  if (call.w.narrow) return GS_DTYPE;
  if (!room && connections) return GS_NULL;
  if (t->starts[0] != 0 || t->starts[t->n_starts - 1] != connections) return GS_INDEX;
  const gs_kernels* kernels = gs_kernels_for(call.isa);
  if (!kernels) return GS_ISA;
  if (call.batch == 0 || call.w.n_in == 0) return GS_OK;
  return kernels->grad_input_transposed[call.w.dtype](&call, t, room);
}

}
