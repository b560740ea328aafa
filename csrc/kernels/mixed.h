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

typedef float f32x16 __attribute__((vector_size(64)));

// Adds up 32 numbers, or vectors of them, in the one order of all memory orders: halves are added to each other.
template <class T> GS_INLINE T folded(T (&half)[kSide]) {
  for (int n = kSide / 2; n; n /= 2)
    for (int k = 0; k < n; ++k) half[k] += half[k + n];
  return half[0];
}

// As words of two neighbouring columns, [16 features][16 words], rounded; the sums of the 32 numbers of each feature are added to
// `sums` where that is not null.
inline void round_rows(const gs_panel& x, const Square& at, u32x16 (&w)[kSide], float* sums) {
  const float* from = static_cast<const float*>(x.data) + at.feature * x.feature_stride + at.column;
  for (int64_t i = 0; i < kSide; ++i) {
    float room[kSteps] = {};
    const float* p = room;
    if (i < at.features && at.columns == kSteps) p = from + i * x.feature_stride;
    else if (i < at.features) __builtin_memcpy(room, from + i * x.feature_stride, static_cast<size_t>(at.columns) * sizeof(float));
    w[i] = words_of_neighbours(p);
    if (!sums || i >= at.features) continue;
    float half[kSide];
    for (int k = 0; k < kSide; ++k) half[k] = p[k] + p[k + kSide];
    sums[i] += folded(half);
  }
}

// The same of batch-major memory.
inline void round_columns(const gs_panel& x, const Square& at, u32x16 (&w)[kSide], float* sums) {
  constexpr int64_t kAhead = 64;  // floats: the memory of a sample is read on from here
  const float* from = static_cast<const float*>(x.data) + at.feature + at.column * x.batch_stride;
  const bool whole = at.features == kSide && at.columns == kSteps;
  const auto sample = [&](int64_t s) GS_INLINE_LAMBDA {
    const float* p = from + s * x.batch_stride;
    if (whole) return load_words(p);
    u32x16 some = {};
    if (s < at.columns) __builtin_memcpy(&some, p, static_cast<size_t>(at.features) * sizeof(float));
    return some;
  };
#pragma GCC unroll 4
  for (int64_t pair = 0; pair < kSide; ++pair) {
    if (whole) __builtin_prefetch(from + 2 * pair * x.batch_stride + kAhead), __builtin_prefetch(from + (2 * pair + 1) * x.batch_stride + kAhead);
    w[pair] = words_of(sample(2 * pair), sample(2 * pair + 1));
  }
  transpose_words(w);
  if (!sums) return;
  f32x16 half[kSide];
  for (int k = 0; k < kSide; ++k) half[k] = (f32x16)sample(k) + (f32x16)sample(k + kSide);
  const f32x16 sum = folded(half);
  for (int64_t i = 0; i < at.features; ++i) sums[i] += sum[i];
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
