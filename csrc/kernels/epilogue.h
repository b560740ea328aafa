// What becomes of a finished sum before it is stored: scale and bias, then the residual, then the activation.
#ifndef GOSSAMER_EPILOGUE_H
#define GOSSAMER_EPILOGUE_H

#include "activate.h"
#include "tile.h"
#include "values.h"

namespace gs {
namespace GS_SET {

// Stores output (row, column) of the whole sum.
template <class T> GS_INLINE void finish(const gs_call& call, int64_t row, int64_t column, T sum) {
  const T *scale = scales<T>(call.w), *bias = static_cast<const T*>(call.bias), *more = static_cast<const T*>(call.residual.data);
  if (scale) sum *= scale[row];
  if (bias) sum += bias[row];
  if (more) sum += more[row * call.residual.feature_stride + column * call.residual.batch_stride];
  activate_all<T>(call.activation, call.slope, &sum, 1);
  static_cast<T*>(call.out)[row * call.out_stride + column] = sum;
}

// Stores outputs row .. row + count of one column, of scaled sums that it overwrites.
template <class T> GS_INLINE void finish_scaled(const gs_call& call, int64_t row, int64_t count, int64_t column, T* sum) {
  const T* bias = static_cast<const T*>(call.bias);
  const gs_panel& more = call.residual;
  const T* residual = static_cast<const T*>(more.data);
  if (bias)
    for (int64_t i = 0; i < count; ++i) sum[i] += bias[row + i];
  if (residual)
    for (int64_t i = 0; i < count; ++i) sum[i] += residual[(row + i) * more.feature_stride + column * more.batch_stride];
  activate_all<T>(call.activation, call.slope, sum, count);
  T* out = static_cast<T*>(call.out) + row * call.out_stride + column;
  if (call.out_stride == 1)
    for (int64_t i = 0; i < count; ++i) out[i] = sum[i];
  else
    for (int64_t i = 0; i < count; ++i) out[i * call.out_stride] = sum[i];
}

// The same of whole sums.
template <class T> GS_INLINE void finish_column(const gs_call& call, int64_t row, int64_t count, int64_t column, T* sum) {
  const T* scale = scales<T>(call.w);
  if (scale)
    for (int64_t i = 0; i < count; ++i) sum[i] *= scale[row + i];
  finish_scaled<T>(call, row, count, column, sum);
}

// Whole sums of rows that lie one behind the other, of one column, finished some dozens at a time: for few rows finishing costs
// as much as their sums.
template <class T> struct Column {
  static constexpr int64_t kRoom = 64;
  const gs_call& call;
  int64_t row, column, held = 0;
  T sums[kRoom] = {};

  // Where the sums of the next n <= kRoom rows belong.
  GS_INLINE_MEMBER T* next(int64_t n) {
    if (held + n > kRoom) finish();
    held += n;
    return sums + held - n;
  }
  // Those that are held; to be called once more behind the last.
  __attribute__((noinline)) void finish() {
    finish_column<T>(call, row, held, column, sums);
    row += held;
    held = 0;
  }
};

// Residual and short activation of the V vectors of one output row in a batch tile.
template <class T, int V> GS_INLINE void finish_row(const gs_call& call, const Tile& tile, int64_t row, vec<T> (&y)[V]) {
  if (call.residual.data) {
    vec<T> more[V];
    load_row<T, V>(static_cast<const T*>(call.residual.data) + row * call.residual.feature_stride + tile.begin, tile.size, more);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) y[v] += more[v];
  }
  activate_short<T, V>(call.activation, call.slope, y);
}

// Behind the store: a call within it would take registers from the sums of other rows.
template <class T> __attribute__((noinline)) void activate_rows(const gs_call& call, const Tile& tile, int64_t row, int64_t count) {
  T* out = static_cast<T*>(call.out) + row * call.out_stride + tile.begin;
  for (int64_t r = 0; r < count; ++r, out += call.out_stride)
    activate_stored<T>(call.activation, static_cast<T>(call.slope), out, tile.size);
}

template <class T, int V>
GS_INLINE void add_row(const gs_call& call, const Tile& tile, int64_t row, bool first, bool last, vec<T> (&y)[V]) {
  const T *bias = static_cast<const T*>(call.bias), *scale = scales<T>(call.w);
  T* out = static_cast<T*>(call.out) + row * call.out_stride + tile.begin;
  vec<T> before[V] = {};
  if (scale)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) y[v] *= splat<T>(scale[row]);
  if (!first) load_row<T, V>(out, tile.size, before);
  else if (bias)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) before[v] = splat<T>(bias[row]);
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) y[v] += before[v];
  if (last) finish_row<T, V>(call, tile, row, y);
  store_row<T, V>(out, tile.size, y);
}

// Adds the sums of one block of features to output rows row .. row + count in a batch tile, count <= G: to their bias in the
// first block, to what is there in later ones. The last block finishes the rows.
template <class T, int V, int G>
GS_INLINE void add_block(const gs_call& call, const Tile& tile, int64_t row, int64_t count, bool first, bool last, vec<T> (&y)[G][V]) {
#pragma GCC unroll 24
  for (int g = 0; g < G; ++g)
    if (g < count) add_row<T, V>(call, tile, row + g, first, last, y[g]);
  if (last && called(call.activation)) activate_rows<T>(call, tile, row, count);
}

}  // namespace GS_SET
}  // namespace gs

#endif
