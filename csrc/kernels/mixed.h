// What the products of training in mixed precision share: how panels are rounded, and how gradients cut a batch.
#ifndef GOSSAMER_MIXED_KERNELS_H
#define GOSSAMER_MIXED_KERNELS_H

#include "tiles.h"

namespace gs {
namespace GS_SET {

// Elements of a row of rounded inputs.
GS_INLINE int64_t row_length(int64_t batch) { return ceil_div(batch, kSteps) * kSteps; }

// Numbers of a group's weights.
GS_INLINE int64_t tiles_of_group(const gs_matrix& w) { return ceil_div(w.per_row, kSteps) * (w.group / kSide); }

GS_INLINE int64_t pointer_at(const gs_matrix& w, int64_t i) {
  return w.row_bytes == 8 ? static_cast<const int64_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
}
GS_INLINE int64_t group_at(const gs_matrix& w, int64_t i) {
  return w.row_bytes == 2 ? static_cast<const uint16_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
}
GS_INLINE int64_t column_at(const gs_matrix& w, int64_t i) {
  return w.col_bytes == 2 ? static_cast<const uint16_t*>(w.cols)[i] : static_cast<const int32_t*>(w.cols)[i];
}

// 16 features of a panel in 32 batch columns, of which some may not be there: those count as zero.
struct Square {
  int64_t feature, features, column, columns;
};

// As words of two neighbouring columns, [16 features][16 words], rounded; the sums of the 32 numbers of each feature where `sums`
// is not null.
inline void round_rows(const gs_panel& x, const Square& at, u32x16 (&w)[kSide], float* sums) {
  const float* from = static_cast<const float*>(x.data) + at.feature * x.feature_stride + at.column;
  for (int64_t i = 0; i < kSide; ++i) {
    float room[kSteps] = {};
    const float* p = room;
    if (i < at.features && at.columns == kSteps) p = from + i * x.feature_stride;
    else if (i < at.features) __builtin_memcpy(room, from + i * x.feature_stride, static_cast<size_t>(at.columns) * sizeof(float));
    w[i] = words_of_neighbours(p);
    if (!sums) continue;
    float sum[kSide];
    for (int k = 0; k < kSide; ++k) sum[k] = p[k] + p[k + kSide];
    for (int n = kSide / 2; n; n /= 2)
      for (int k = 0; k < n; ++k) sum[k] += sum[k + n];
    sums[i] += sum[0];
  }
}

typedef float f32x16 __attribute__((vector_size(64)));

// The same of batch-major memory.
inline void round_columns(const gs_panel& x, const Square& at, u32x16 (&w)[kSide], float* sums) {
  constexpr int64_t kAhead = 64;  // floats: the memory of a sample is read on from here
  const float* from = static_cast<const float*>(x.data) + at.feature + at.column * x.batch_stride;
  f32x16 sum = {};
  const bool whole = at.features == kSide && at.columns == kSteps;
#pragma GCC unroll 4
  for (int64_t pair = 0; pair < kSide; ++pair) {
    u32x16 two[2] = {};
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t s = 2 * pair + i;
      const float* p = from + s * x.batch_stride;
      if (whole) __builtin_prefetch(p + kAhead);
      if (whole) two[i] = load_words(p);
      else if (s < at.columns) __builtin_memcpy(&two[i], p, static_cast<size_t>(at.features) * sizeof(float));
    }
    w[pair] = words_of(two[0], two[1]);
    if (sums) sum += (f32x16)two[0] + (f32x16)two[1];
  }
  transpose_words(w);
  for (int64_t i = 0; sums && i < at.features; ++i) sums[i] += sum[i];
}

GS_INLINE void round_square(const gs_panel& x, const Square& at, u32x16 (&w)[kSide], float* sums) {
  if (x.feature_stride == 1) round_columns(x, at, w, sums);
  else round_rows(x, at, w, sums);
}

// Batch columns begin .. begin + size, of which gradients hold the rounded output gradient at a time.
constexpr int64_t kMostColumns = 512;
struct Part {
  int64_t begin, size;
  int64_t steps;        // of 32 columns
  int64_t tiles;        // of 16 columns
  const uint32_t* low;  // right factors [ceil(n_out / 32)][tiles][16 pairs of outputs][16 columns]
  const uint32_t* wide; // right factors [ceil(n_out / 16)][steps][16 pairs of columns][16 outputs]
};

gs_product tiles_f32, shared_tiles_f32;  // of rounded operands

gs_status mixed_grad_input(const gs_mixed& call, const Part& part, const uint32_t* turned);
gs_status mixed_grad_values(const gs_mixed& call, const Part& part);
// Words in which mixed_turn turns the weights around for mixed_grad_input.
int64_t mixed_turned(const gs_matrix& w);
void mixed_turn(const gs_mixed& call, uint32_t* turned);

}  // namespace GS_SET
}  // namespace gs

#endif
