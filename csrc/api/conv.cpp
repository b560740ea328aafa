// Products over planes: what is checked of the places and the call, and which kernel runs.
#include "check.h"
#include "isa.h"

namespace {

constexpr int64_t kFar = int64_t{1} << 40;  // no element is farther away, so that sums of a few distances do not overflow
constexpr uint32_t kLayoutsOfPlanes = gs_bits(GS_CSR, GS_FANIN, GS_NM, GS_BLOCK, GS_DENSE, GS_FANIN_BYTES);

bool near(int64_t distance) { return distance > -kFar && distance < kFar; }

// Every offset fits 32 bits.
gs_status check_columns(const gs_matrix& w, const gs_places& p) {
  const int64_t share = w.layout == GS_FANIN || w.layout == GS_FANIN_BYTES || w.layout == GS_BLOCK ? w.group : 1;
  if (p.n_columns != w.n_in || p.rows_of_group < 1 || w.n_out % p.rows_of_group || p.rows_of_group % share) return GS_SIZE;
  if (!p.columns && p.n_columns) return GS_NULL;
  if (p.group_step < 0 || !near(p.group_step)) return GS_SIZE;
  int64_t last;
  if (__builtin_mul_overflow(w.n_out / p.rows_of_group, p.group_step, &last)) return GS_OVERFLOW;
  for (int64_t i = 0; i < p.n_columns; ++i)
    if (p.columns[i] + last > INT32_MAX) return GS_OVERFLOW;
  return GS_OK;
}

gs_status check_spans(const gs_places& p) {
  if (p.n_spans < 0 || p.step < 1 || p.step > INT32_MAX || p.split < 0 || !near(p.split)) return GS_SIZE;
  if (p.in_begin > 0 || p.in_end < 0 || p.out_end < 0 || !near(p.in_begin) || !near(p.in_end) || !near(p.out_end)) return GS_SIZE;
  if (!p.spans && p.n_spans) return GS_NULL;
  int64_t bytes = 8;
  for (int64_t i = 0; i < p.n_spans; ++i) {
    const gs_span& s = p.spans[i];
    if (!near(s.in) || s.out < 0 || s.length < 0 || !near(s.out) || !near(s.length)) return GS_SIZE;
    const int64_t end = p.split ? s.out + (s.length > 1 ? p.split : 0) + (s.length + 1) / 2 : s.out + s.length;
    if (end > p.out_end) return GS_SIZE;
    bytes += (s.length + 7) / 8;
  }
  return p.inside && bytes > p.n_inside ? GS_SIZE : GS_OK;
}

// What may differ between calls with one room.
gs_status check_call(const gs_call& call, const gs_places& p) {
  const gs_matrix& w = call.w;
  if (call.activation < GS_IDENTITY || call.activation > GS_GELU_TANH) return GS_SIZE;
  if (!p.n_spans || !w.n_out) return GS_OK;
  if (!call.out || (!call.x.data && w.n_in)) return GS_NULL;
  if (call.out_stride < 0 || call.residual.feature_stride < 0 || !near(call.residual.feature_stride)) return GS_SIZE;
  int64_t last;
  if (__builtin_mul_overflow(w.n_out - 1, call.out_stride, &last) || !near(last)) return GS_OVERFLOW;
  return GS_OK;
}

gs_conv_preparing* preparing(const gs_kernels& kernels, const gs_matrix& w) {
  return w.layout == GS_FANIN_BYTES ? kernels.conv_bytes_prepare : kernels.conv_prepare[w.dtype];
}

gs_convolving* convolving(const gs_kernels& kernels, const gs_matrix& w) {
  return w.layout == GS_FANIN_BYTES ? kernels.conv_bytes : kernels.conv[w.dtype];
}

gs_status prepare(const gs_call* call, const gs_places* places, void* room, int64_t* bytes) {
  if (!call || !places) return GS_NULL;
  const gs_status status = gs_check_places(call->w, *places, room != nullptr);
  if (status != GS_OK) return status;
  const gs_kernels* kernels = gs_kernels_for(call->isa);
  if (!kernels) return GS_ISA;
  return preparing(*kernels, call->w)(&call->w, places, room, bytes);
}

}  // namespace

gs_status gs_check_places(const gs_matrix& w, const gs_places& p, bool need_values) {
  int64_t used;
  gs_status status = gs_check_matrix(w, need_values, &used);
  if (status != GS_OK) return status;
  if (!(kLayoutsOfPlanes >> w.layout & 1)) return GS_LAYOUT;
  status = check_columns(w, p);
  return status == GS_OK ? check_spans(p) : status;
}

extern "C" {

gs_status gs_conv_room(const gs_call* call, const gs_places* places, size_t* bytes) {
  if (!bytes) return GS_NULL;
  int64_t size = 0;
  const gs_status status = prepare(call, places, nullptr, &size);
  *bytes = static_cast<size_t>(size);
  return status;
}

gs_status gs_conv_prepare(const gs_call* call, const gs_places* places, void* room) {
  int64_t bytes;
  return room ? prepare(call, places, room, &bytes) : GS_NULL;
}

gs_status gs_conv(const gs_call* call, const gs_places* places, const void* room) {
  if (!call || !places) return GS_NULL;
  gs_status status = check_call(*call, *places);
  if (status != GS_OK) return status;
  const gs_kernels* kernels = gs_kernels_for(call->isa);
  if (!kernels) return GS_ISA;
  if (!room) {
    int64_t bytes;
    status = gs_check_places(call->w, *places, true);
    if (status == GS_OK) status = prepare(call, places, nullptr, &bytes);
    if (status != GS_OK) return status;
    void* made = gs_scratch(static_cast<size_t>(bytes));
    if (!made) return GS_MEMORY;
    status = preparing(*kernels, call->w)(&call->w, places, made, &bytes);
    if (status != GS_OK) return status;
    room = made;
  }
  return call->w.dtype == GS_F32 || call->w.dtype == GS_F64 ? convolving(*kernels, call->w)(call, places, room) : GS_DTYPE;
}

}
