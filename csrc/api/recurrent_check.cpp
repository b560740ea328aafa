// What must hold of a sequence before the first step.
#include "recurrent.h"

namespace {

constexpr int64_t kCells = 4;

bool product(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

// The sequences that have each time: never growing, from `width` on, `columns` in all.
gs_status check_active(const gs_sequence& s) {
  int64_t sum = 0, last = s.width;
  if (!s.active) {
    if (!product(s.times, s.width, &sum)) return GS_OVERFLOW;
    return sum == s.columns ? GS_OK : GS_SIZE;
  }
  for (int64_t t = 0; t < s.times; ++t) {
    const int64_t here = s.active[t];
    if (here < 0 || here > last || (t == 0 && here != s.width)) return GS_SIZE;
    if (__builtin_add_overflow(sum, here, &sum)) return GS_OVERFLOW;
    last = here;
  }
  return sum == s.columns ? GS_OK : GS_SIZE;
}

}  // namespace

gs_status gs_check_sequence(const gs_sequence& s) {
  if (s.cell < 0 || s.cell >= kCells || s.times < 0 || s.width < 0 || s.columns < 0) return GS_SIZE;
  if (s.reverse != 0 && s.reverse != 1) return GS_SIZE;
  if (s.columns > INT64_MAX / 64 || s.width > INT64_MAX / 64) return GS_SIZE;
  int64_t rows, room;
  if (!product(s.w.n_in, gs_gates(s.cell), &rows)) return GS_OVERFLOW;
  if (rows != s.w.n_out) return GS_SIZE;
  if (s.times == 0 && s.width) return GS_SIZE;  // a state after no step is none
  gs_status status = check_active(s);
  if (status != GS_OK) return status;
  if (!product(s.columns, 8 * rows, &room)) return GS_OVERFLOW;
  return !s.room && s.w.n_in && s.width ? GS_NULL : GS_OK;
}

gs_status gs_check_columns(const void* data, int64_t feature_stride, int64_t column_stride, int64_t features, int64_t columns) {
  if (!features || !columns) return GS_OK;
  if (!data) return GS_NULL;
  if (feature_stride < 1 || column_stride < 1 || (feature_stride != 1 && column_stride != 1)) return GS_SIZE;
  int64_t last, extent;
  if (!product(feature_stride, features, &last) || !product(column_stride, columns, &extent)) return GS_OVERFLOW;
  return __builtin_add_overflow(last, extent, &extent) || extent > INT64_MAX / 8 ? GS_OVERFLOW : GS_OK;
}
