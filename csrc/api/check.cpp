#include "check.h"

namespace {

constexpr int64_t kMaxDim = INT32_MAX;
constexpr uint32_t kDefined[kOperations] = {gs_layouts_of(GS_OP_LINEAR), gs_layouts_of(GS_OP_GRAD_INPUT), gs_layouts_of(GS_OP_GRAD_VALUES)};
constexpr int64_t kMostBytes = 1 << 17;  // products of two bytes whose sum always fits 32 bits

bool product(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

int64_t read_row_pointer(const gs_matrix& w, int64_t i) {
  return w.row_bytes == 8 ? static_cast<const int64_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
}

// Row pointers of `rows` rows, of which the last one is the number of columns stored.
gs_status check_pointers(const gs_matrix& w, int64_t rows, int64_t* cols) {
  if ((w.row_bytes != 4 && w.row_bytes != 8) || (w.col_bytes != 2 && w.col_bytes != 4)) return GS_DTYPE;
  if (!w.rows) return GS_NULL;
  if (read_row_pointer(w, 0) != 0) return GS_INDEX;
  *cols = read_row_pointer(w, rows);
  return *cols < 0 ? GS_INDEX : GS_OK;
}

gs_status check_csr(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1) return GS_SIZE;
  gs_status status = check_pointers(w, w.n_out, cols);
  *used = *cols;
  return status;
}

gs_status check_block(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group < 1 || w.group > 32 || w.tile < 1 || w.tile > 64 || w.n_out % w.group || w.n_in % w.tile) return GS_SIZE;
  gs_status status = check_pointers(w, w.n_out / w.group, cols);
  if (status != GS_OK) return status;
  return product(*cols, w.group * w.tile, used) ? GS_OK : GS_OVERFLOW;
}

gs_status check_tiles(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1) return GS_SIZE;
  if (w.dtype != GS_F32 || w.narrow != GS_BF16) return GS_DTYPE;
  gs_status status = check_pointers(w, (w.n_out + 15) / 16, cols);
  if (status != GS_OK) return status;
  return product(*cols, 16 * 32, used) ? GS_OK : GS_OVERFLOW;
}

gs_status check_tile_bytes(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1 || (w.tile != 32 && w.tile != 64) || w.n_in > kMostBytes) return GS_SIZE;
  if (w.dtype != GS_F32 || w.narrow != GS_I8) return GS_DTYPE;
  gs_status status = check_pointers(w, (w.n_out + 15) / 16, cols);
  if (status != GS_OK) return status;
  return product(*cols, 16 * w.tile, used) ? GS_OK : GS_OVERFLOW;
}

// Groups of rows that share their columns.
gs_status check_groups(const gs_matrix& w, int64_t* cols) {
  if (w.n_out % w.group || w.n_rows < 0 || w.n_rows > w.n_out / w.group) return GS_SIZE;
  if (w.per_row < 0 || w.per_row > w.n_in) return GS_SIZE;
  if ((w.row_bytes != 2 && w.row_bytes != 4) || (w.col_bytes != 2 && w.col_bytes != 4)) return GS_DTYPE;
  if (!w.rows && w.n_rows) return GS_NULL;
  return product(w.n_rows, w.per_row, cols) ? GS_OK : GS_OVERFLOW;
}

gs_status check_fanin(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group < 1 || w.group > 32 || (w.group & (w.group - 1))) return GS_SIZE;
  const gs_status status = check_groups(w, cols);
  if (status != GS_OK) return status;
  return product(*cols, w.group, used) ? GS_OK : GS_OVERFLOW;
}

gs_status check_fanin_bytes(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.per_row > kMostBytes) return GS_SIZE;
  if (w.dtype != GS_F32 || w.narrow != GS_I8) return GS_DTYPE;
  return check_fanin(w, used, cols);
}

// In tiles of as many inputs as 64 bytes hold.
gs_status check_shared_tiles(const gs_matrix& w, int64_t* used, int64_t* cols) {
  const bool bytes = w.layout == GS_SHARED_TILE_BYTES;
  const int64_t width = bytes ? 64 : 32;
  if ((w.group != 16 && w.group != 32) || (bytes && w.per_row > kMostBytes)) return GS_SIZE;
  if (w.dtype != GS_F32 || w.narrow != (bytes ? GS_I8 : GS_BF16)) return GS_DTYPE;
  const gs_status status = check_groups(w, cols);
  if (status != GS_OK) return status;
  return product((w.per_row + width - 1) / width * width * w.group, w.n_rows, used) ? GS_OK : GS_OVERFLOW;
}

gs_status check_nm(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1 || w.tile < 1 || w.tile > 256 || w.per_row < 1 || w.per_row > w.tile) return GS_SIZE;
  if (w.n_in % w.tile) return GS_SIZE;
  if (w.col_bytes != 1) return GS_DTYPE;
  const int64_t rows = w.layout == GS_NM ? w.n_out : (w.n_out + 7) / 8 * 8;
  if (!product(w.n_in / w.tile, w.per_row, cols) || !product(*cols, rows, cols)) return GS_OVERFLOW;
  *used = *cols;
  return GS_OK;
}

gs_status check_nm_bytes(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1 || w.tile < 1 || w.tile > 16 || w.per_row < 1 || w.per_row > w.tile || w.n_in % w.tile) return GS_SIZE;
  if (w.n_in / w.tile * w.per_row > kMostBytes) return GS_SIZE;
  if (w.col_bytes != 1 || w.dtype != GS_F32 || w.narrow != GS_I8) return GS_DTYPE;
  const int64_t pairs = (w.n_in / w.tile + 1) / 2;
  if (!product(pairs * w.per_row * 2, (w.n_out + 15) / 16 * 16, cols)) return GS_OVERFLOW;
  *used = *cols;
  return GS_OK;
}

// Places of a nibble each: 16 neurons, and in bytes four tiles, side by side.
gs_status check_nibbles(const gs_matrix& w, int64_t* used, int64_t* cols) {
  const bool bytes = w.layout == GS_NM_NIBBLE_BYTES;
  if (w.group != 1 || w.tile < 1 || w.tile > 16 || w.per_row < 1 || w.per_row > w.tile || w.n_in % w.tile) return GS_SIZE;
  if (bytes && w.n_in / w.tile * w.per_row > kMostBytes) return GS_SIZE;
  if (w.col_bytes != 1 || w.dtype != GS_F32 || (bytes && w.narrow != GS_I8)) return GS_DTYPE;
  const int64_t side = bytes ? 4 : 1, together = 8 / side, steps = (w.n_in / w.tile + side - 1) / side * w.per_row;
  const int64_t neurons = (w.n_out + 15) / 16 * 16;
  if (!product(steps * side, neurons, used) || !product((steps + together - 1) / together * 4, neurons, cols)) return GS_OVERFLOW;
  return GS_OK;
}

gs_status check_bitmask(const gs_matrix& w, int64_t* used, int64_t* cols) {
  const bool bytes = w.layout == GS_BITMASK_BYTES;
  if (w.group != 1 || (bytes && w.n_in > kMostBytes)) return GS_SIZE;
  if ((w.row_bytes != 4 && w.row_bytes != 8) || w.col_bytes != 1 || w.dtype != GS_F32 || (bytes && w.narrow != GS_I8)) return GS_DTYPE;
  if (!w.rows) return GS_NULL;
  if (read_row_pointer(w, 0) != 0) return GS_INDEX;
  *used = read_row_pointer(w, w.n_out);
  *cols = w.n_out * ((w.n_in + 63) / 64 * 8);
  return *used < 0 ? GS_INDEX : GS_OK;
}

gs_status check_windows(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1 || w.n_in > kMostBytes) return GS_SIZE;
  if (w.row_bytes != 4 || w.col_bytes != 1 || w.dtype != GS_F32 || w.narrow != GS_I8) return GS_DTYPE;
  if (!w.rows) return GS_NULL;
  const int32_t* starts = static_cast<const int32_t*>(w.rows);
  const int64_t steps = starts[(w.n_out + 15) / 16 * ((w.n_in + 63) / 64)];
  *used = *cols = steps * 64;
  return starts[0] != 0 || steps < 0 ? GS_INDEX : GS_OK;
}

gs_status check_bands(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1 || w.tile < 1 || w.tile > 65536 || (w.col_bytes == 1 && w.tile > 256)) return GS_SIZE;
  if (w.row_bytes != 4 || (w.col_bytes != 1 && w.col_bytes != 2)) return GS_DTYPE;
  if (!w.rows) return GS_NULL;
  int64_t starts;
  if (!product((w.n_in + w.tile - 1) / w.tile, w.n_out, &starts)) return GS_OVERFLOW;
  const int32_t* at = static_cast<const int32_t*>(w.rows);
  if (at[0] != 0) return GS_INDEX;
  *used = *cols = at[starts];
  return *used < 0 ? GS_INDEX : GS_OK;
}

gs_status check_dense(const gs_matrix& w, int64_t* used, int64_t* cols) {
  if (w.group != 1) return GS_SIZE;
  *cols = 0;
  return product(w.n_out, w.n_in, used) ? GS_OK : GS_OVERFLOW;
}

// What is added to the output: none, or rows that are contiguous as those of the output are.
gs_status check_residual(gs_call& call) {
  if (!call.residual.data) return GS_OK;
  gs_status status = gs_check_panel(call.residual, call.w.n_out, call.batch);
  return status == GS_OK && call.residual.batch_stride != 1 ? GS_SIZE : status;
}

// bfloat16 inputs and outputs: what layers of tiles hand each other.
gs_status check_handed(const gs_call& call) {
  if (!call.x_narrow && !call.out_narrow) return GS_OK;
  if ((call.x_narrow && call.x_narrow != GS_BF16) || (call.out_narrow && call.out_narrow != GS_BF16)) return GS_DTYPE;
  if (!(gs_handed >> call.w.layout & 1)) return GS_DTYPE;
  return call.x_narrow && call.x.batch_stride != 1 ? GS_SIZE : GS_OK;
}

gs_status check_rows_out(const gs_call& call, int64_t rows) {
  int64_t extent;
  if (!call.out && rows && call.batch) return GS_NULL;
  if (call.out_stride < call.batch) return GS_SIZE;
  return product(call.out_stride, rows, &extent) && extent <= INT64_MAX / 8 ? GS_OK : GS_OVERFLOW;
}

}  // namespace

gs_status gs_check_panel(gs_panel& p, int64_t features, int64_t batch) {
  if (!p.data && features && batch) return GS_NULL;
  if (p.feature_stride < 0 || p.batch_stride < 0) return GS_SIZE;
  if (features <= 1) p.feature_stride = 1;
  else if (batch <= 1) p.batch_stride = 1;
  if (p.feature_stride != 1 && p.batch_stride != 1) return GS_SIZE;
  int64_t last, extent;
  if (!product(p.feature_stride, features, &last) || !product(p.batch_stride, batch, &extent)) return GS_OVERFLOW;
  return __builtin_add_overflow(last, extent, &extent) || extent > INT64_MAX / 8 ? GS_OVERFLOW : GS_OK;
}

gs_status gs_check_matrix(const gs_matrix& w, bool need_values, int64_t* used) {
  int64_t cols = 0;
  *used = 0;
  if (w.dtype != GS_F32 && w.dtype != GS_F64) return GS_DTYPE;
  if (w.narrow && (w.dtype != GS_F32 || (w.narrow != GS_BF16 && w.narrow != GS_I8 && w.narrow != GS_F16))) return GS_DTYPE;
  if ((w.narrow == GS_F16) != (w.layout == GS_CSR_HALVES)) return GS_DTYPE;
  if (w.n_out < 0 || w.n_in < 0 || w.n_out > kMaxDim || w.n_in > kMaxDim) return GS_SIZE;
  gs_status status = GS_LAYOUT;
  if (w.layout == GS_CSR || w.layout == GS_CSR_HALVES) status = check_csr(w, used, &cols);
  if (w.layout == GS_FANIN) status = check_fanin(w, used, &cols);
  if (w.layout == GS_FANIN_BYTES) status = check_fanin_bytes(w, used, &cols);
  if (w.layout == GS_NM || w.layout == GS_NM_LANES) status = check_nm(w, used, &cols);
  if (w.layout == GS_NM_BYTES) status = check_nm_bytes(w, used, &cols);
  if (w.layout == GS_NM_NIBBLES || w.layout == GS_NM_NIBBLE_BYTES) status = check_nibbles(w, used, &cols);
  if (w.layout == GS_BITMASK || w.layout == GS_BITMASK_BYTES) status = check_bitmask(w, used, &cols);
  if (w.layout == GS_WINDOW_BYTES) status = check_windows(w, used, &cols);
  if (w.layout == GS_DENSE) status = check_dense(w, used, &cols);
  if (w.layout == GS_CSR_BANDS) status = check_bands(w, used, &cols);
  if (w.layout == GS_BLOCK) status = check_block(w, used, &cols);
  if (w.layout == GS_TILE_BYTES) status = check_tile_bytes(w, used, &cols);
  if (w.layout == GS_SHARED_TILES || w.layout == GS_SHARED_TILE_BYTES) status = check_shared_tiles(w, used, &cols);
  if (w.layout == GS_TILES) status = check_tiles(w, used, &cols);
  if (status != GS_OK) return status;
  if (w.layout == GS_NM_LANES && w.dtype != GS_F32) return GS_DTYPE;
  if (*used > w.n_values || cols > w.n_cols) return GS_SIZE;
  if (*used > INT64_MAX / 8) return GS_OVERFLOW;
  if ((need_values && !w.values && *used) || (!w.cols && cols)) return GS_NULL;
  if (need_values && w.narrow == GS_I8 && !w.scales && w.n_out) return GS_NULL;
  return GS_OK;
}

gs_status gs_check_call(gs_call& call, gs_operation op) {
  int64_t used;
  gs_status status = gs_check_matrix(call.w, op != GS_OP_GRAD_VALUES, &used);
  if (status != GS_OK) return status;
  if (call.batch < 0 || call.batch > INT64_MAX / 64) return GS_SIZE;
  if (!(kDefined[op] >> call.w.layout & 1)) return GS_LAYOUT;
  if (op == GS_OP_LINEAR && (call.activation < GS_IDENTITY || call.activation > GS_GELU_TANH)) return GS_SIZE;
  if (op != GS_OP_GRAD_INPUT && (status = gs_check_panel(call.x, call.w.n_in, call.batch)) != GS_OK) return status;
  if (op != GS_OP_LINEAR && (status = gs_check_panel(call.grad, call.w.n_out, call.batch)) != GS_OK) return status;
  if (op == GS_OP_LINEAR && (status = check_residual(call)) != GS_OK) return status;
  if (op == GS_OP_LINEAR && (status = check_handed(call)) != GS_OK) return status;
  if (op == GS_OP_LINEAR) return check_rows_out(call, call.w.n_out);
  if (op == GS_OP_GRAD_INPUT) return check_rows_out(call, call.w.n_in);
  return !call.out && call.w.n_values ? GS_NULL : GS_OK;
}
