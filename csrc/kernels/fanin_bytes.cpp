// A linear layer of fanin with int8 values, for inputs that are rounded to int8 (rounded.h). Convolutions of the layout have
// kernels of their own (conv_bytes.cpp), with the same sums.
#include "rounded.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kMostShared = 32;

template <class I, int C> GS_INLINE void sums_of(const gs_matrix& w, const Steps& steps, int64_t row, int32_t (*out)[kMostShared]) {
  const int64_t k = w.per_row, group = w.group;
  const I* columns = static_cast<const I*>(w.cols) + row * k;
  const int8_t* values = static_cast<const int8_t*>(w.values) + row * k * group;
  for (int64_t j = 0; j < k; ++j, values += group)
    for (int c = 0; c < C; ++c) {
      const int32_t x = steps.q[c * steps.stride + columns[j]];
      for (int64_t g = 0; g < group; ++g) out[c][g] += x * values[g];
    }
}

int64_t group_of(const gs_matrix& w, int64_t row) {
  return w.row_bytes == 2 ? static_cast<const uint16_t*>(w.rows)[row] : static_cast<const int32_t*>(w.rows)[row];
}

// The first active group that is not before `group`.
int64_t first_from(const gs_matrix& w, int64_t group) {
  int64_t low = 0, high = w.n_rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (group_of(w, middle) < group) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Groups g0 .. g1 for C batch columns from `column` on.
template <int C> void groups(const gs_call& call, const Steps& steps, int64_t column, int64_t g0, int64_t g1) {
  const gs_matrix& w = call.w;
  int64_t row = first_from(w, g0);
  for (int64_t g = g0; g < g1; ++g) {
    int32_t out[C][kMostShared] = {};
    if (row < w.n_rows && group_of(w, row) == g) {
      if (w.col_bytes == 2) sums_of<uint16_t, C>(w, steps, row, out);
      else sums_of<int32_t, C>(w, steps, row, out);
      ++row;
    }
    for (int c = 0; c < C; ++c) {
      float y[kMostShared];
      for (int64_t i = 0; i < w.group; ++i) y[i] = static_cast<float>(out[c][i]) * steps.size[c];
      finish_column<float>(call, g * w.group, w.group, column + c, y);
    }
  }
}

}  // namespace

gs_status fanin_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = (w.per_row + 8) * w.group * least(kColumns, call->batch);
  return rounded(*call, w.n_out / w.group, cost, false, [&](auto columns, const Steps& steps, int64_t column, int64_t g0, int64_t g1) {
    groups<columns>(*call, steps, column, g0, g1);
  });
}

}  // namespace GS_SET
}  // namespace gs
