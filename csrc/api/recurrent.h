// Checks of recurrent calls.
#ifndef GOSSAMER_RECURRENT_API_H
#define GOSSAMER_RECURRENT_API_H

#include "kernels.h"

// Gates of a cell, and numbers of a state that a step keeps for the pass backward.
constexpr int64_t gs_gates(int64_t cell) { return cell == GS_CELL_LSTM ? 4 : cell == GS_CELL_GRU ? 3 : 1; }
constexpr int64_t gs_kept(int64_t cell) { return cell == GS_CELL_LSTM ? 5 : cell == GS_CELL_GRU ? 4 : 1; }

// Sizes that fit each other, and room; the matrix itself is checked by its products.
gs_status gs_check_sequence(const gs_sequence& s);

// [features, columns] with a stride of 1.
gs_status gs_check_columns(const void* data, int64_t feature_stride, int64_t column_stride, int64_t features, int64_t columns);

#endif
