// What becomes of a finished sum before it is stored: scale and bias, then the residual, then the activation.
#ifndef GOSSAMER_EPILOGUE_H
#define GOSSAMER_EPILOGUE_H

#include "tile.h"
#include "values.h"

namespace gs {
namespace GS_SET {

// Keeps NaN: a comparison with NaN is false.
template <class T> GS_INLINE T activated(const gs_call& call, T y) {
  if (call.activation == GS_RELU) return y < 0 ? 0 : y;
  if (call.activation == GS_LEAKY_RELU) return y < 0 ? y * static_cast<T>(call.slope) : y;
  return y;
}
template <class T, int V> GS_INLINE void activate(const gs_call& call, vec<T> (&y)[V]) {
  if (call.activation == GS_RELU) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) y[v] = relu<T>(y[v]);
  } else if (call.activation == GS_LEAKY_RELU) {
    const vec<T> slope = splat<T>(static_cast<T>(call.slope));
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) y[v] = y[v] < vec<T>{} ? y[v] * slope : y[v];
  }
}

// Stores output (row, column) of the whole sum.
template <class T> GS_INLINE void finish(const gs_call& call, int64_t row, int64_t column, T sum) {
  const T *scale = scales<T>(call.w), *bias = static_cast<const T*>(call.bias), *more = static_cast<const T*>(call.residual.data);
  if (scale) sum *= scale[row];
  if (bias) sum += bias[row];
  if (more) sum += more[row * call.residual.feature_stride + column * call.residual.batch_stride];
  static_cast<T*>(call.out)[row * call.out_stride + column] = activated<T>(call, sum);
}

// Stores outputs row .. row + count of one column, of whole sums that it overwrites.
GS_INLINE void finish_column(const gs_call& call, int64_t row, int64_t count, int64_t column, float* sum) {
  const float *scale = scales<float>(call.w), *bias = static_cast<const float*>(call.bias);
  const gs_panel& more = call.residual;
  const float* residual = static_cast<const float*>(more.data);
  if (scale)
    for (int64_t i = 0; i < count; ++i) sum[i] *= scale[row + i];
  if (bias)
    for (int64_t i = 0; i < count; ++i) sum[i] += bias[row + i];
  if (residual)
    for (int64_t i = 0; i < count; ++i) sum[i] += residual[(row + i) * more.feature_stride + column * more.batch_stride];
  for (int64_t i = 0; i < count; ++i) sum[i] = activated<float>(call, sum[i]);
  float* out = static_cast<float*>(call.out) + row * call.out_stride + column;
  if (call.out_stride == 1)
    for (int64_t i = 0; i < count; ++i) out[i] = sum[i];
  else
    for (int64_t i = 0; i < count; ++i) out[i * call.out_stride] = sum[i];
}

// Residual and activation of the V vectors of one output row in a batch tile.
template <class T, int V> GS_INLINE void finish_row(const gs_call& call, const Tile& tile, int64_t row, vec<T> (&y)[V]) {
  if (call.residual.data) {
    vec<T> more[V];
    load_row<T, V>(static_cast<const T*>(call.residual.data) + row * call.residual.feature_stride + tile.begin, tile.size, more);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) y[v] += more[v];
  }
  activate<T, V>(call, y);
}

// Adds the sums of one block of features to an output row in a batch tile: to its bias in the first block, to what is there
// in later ones. The last block finishes the row.
template <class T, int V>
GS_INLINE void add_block(const gs_call& call, const Tile& tile, int64_t row, bool first, bool last, vec<T> (&y)[V]) {
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

}  // namespace GS_SET
}  // namespace gs

#endif
