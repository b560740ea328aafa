// Convolutions of whole batches: what is checked, and which kernel runs.
#include "check.h"
#include "isa.h"

namespace {

constexpr int64_t kMost = INT32_MAX;  // elements of the planes of one image
constexpr uint32_t kTrained = gs_layouts_of(GS_OP_GRAD_VALUES);

struct Size {
  int64_t pitch, rows, guard, end;  // end: of the planes, from position 0
};

gs_status size_of(const gs_planes& p, Size* size) {
  const int64_t counts[] = {p.channels, p.height, p.width, p.phase_rows, p.phase_columns};
  for (int64_t number : counts)
    if (number < 1 || number > kMost) return GS_SIZE;
  if (p.border_rows < 0 || p.border_columns < 0 || p.border_rows > kMost || p.border_columns > kMost) return GS_SIZE;
  size->pitch = (p.width + p.phase_columns - 1) / p.phase_columns + p.border_columns;
  size->rows = (p.height + p.phase_rows - 1) / p.phase_rows + p.border_rows;
  int64_t phases, count, plane, border;
  if (__builtin_mul_overflow(p.phase_rows, p.phase_columns, &phases) || __builtin_mul_overflow(phases, p.channels, &count) ||
      __builtin_mul_overflow(size->rows, size->pitch, &plane) || __builtin_mul_overflow(count, plane, &size->end) ||
      __builtin_mul_overflow(p.border_rows, size->pitch, &border))
    return GS_OVERFLOW;
  size->guard = (border + p.border_columns + 15 + 15) / 16 * 16;
  return size->guard > kMost || size->end > kMost - 2 * size->guard ? GS_OVERFLOW : GS_OK;
}

// The planes that columns read, of every group.
gs_status check_planes(const gs_images& call) {
  const int64_t groups = call.w.n_out / call.places.rows_of_group, inner = call.input.channels / groups;
  if (call.input.channels % groups || call.w.n_in % inner) return GS_SIZE;
  int64_t taps_of_rows;
  if (__builtin_mul_overflow(call.w.n_in / inner, call.w.n_out, &taps_of_rows) || taps_of_rows > kMost) return GS_OVERFLOW;
  if (!call.plane_of) return GS_NULL;
  const int64_t count = call.input.channels * call.input.phase_rows * call.input.phase_columns;
  for (int64_t i = 0; i < call.w.n_in; ++i)
    if (call.plane_of[i] < 0 || call.plane_of[i] >= count - (groups - 1) * inner) return GS_INDEX;
  return GS_OK;
}

// Brings the ends of the places to those of the planes.
gs_status check(gs_images& call, bool need_values) {
  if (call.batch < 0 || call.batch > kMost || call.threads < 1 || call.w.n_out < 1 || call.w.n_in < 1) return GS_SIZE;
  Size in, out;
  gs_status status = size_of(call.input, &in);
  if (status == GS_OK) status = size_of(call.output, &out);
  if (status != GS_OK) return status;
  if (in.pitch != out.pitch || call.output.phase_rows != 1 || call.output.phase_columns != 1) return GS_SIZE;
  if (call.output.channels != call.w.n_out) return GS_SIZE;
  gs_places& p = call.places;
  p.in_begin = -in.guard, p.in_end = in.end + in.guard, p.out_end = out.end;
  status = gs_check_places(call.w, p, need_values);
  if (status != GS_OK) return status;
  if (!(kTrained >> call.w.layout & 1)) return GS_LAYOUT;
  if (call.w.narrow) return GS_DTYPE;
  if (p.n_spans != 1 || p.spans[0].in || p.spans[0].out || p.spans[0].length > out.rows * out.pitch || p.step != 1 || p.split) return GS_SIZE;
  return check_planes(call);
}

gs_status run(const gs_images* given, bool need_values, const void* gs_images::*first, const void* gs_images::*second,
              gs_conv_training* (gs_kernels::*kernel)[2]) {
  if (!given) return GS_NULL;
  gs_images call = *given;
  const gs_status status = check(call, need_values);
  if (status != GS_OK) return status;
  if (call.batch && (!(call.*first) || !(call.*second))) return GS_NULL;
  if (!call.out && (call.batch || !need_values)) return GS_NULL;
  const gs_kernels* kernels = gs_kernels_for(call.isa);
  return kernels ? (kernels->*kernel)[call.w.dtype](&call) : GS_ISA;
}

}  // namespace

extern "C" {

gs_status gs_conv_images(const gs_images* call) { return run(call, true, &gs_images::x, &gs_images::x, &gs_kernels::conv_images); }
gs_status gs_conv_grad_input(const gs_images* call) { return run(call, true, &gs_images::grad, &gs_images::grad, &gs_kernels::conv_grad_input); }
gs_status gs_conv_grad_values(const gs_images* call) { return run(call, false, &gs_images::x, &gs_images::grad, &gs_kernels::conv_grad_values); }

}
