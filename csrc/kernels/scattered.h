// Few connections a row over many inputs, small batches: no block of inputs is worth its packing, for hardly two connections
// meet in one. Inputs are read, and their gradients written, where they lie, each asked for well before its turn.
#ifndef GOSSAMER_SCATTERED_H
#define GOSSAMER_SCATTERED_H

#include "blocks.h"
#include "kernels.h"

namespace gs {
namespace GS_SET {

constexpr int64_t kWide = 8;  // batch columns at most: they fit into registers, and into a cache line

// Whether the three products of a call run so: csr and fanin alone, values as they are trained, and blocks that would
// leave the second cache level. The choice depends on the matrix and the batch alone.
template <class T> GS_INLINE bool is_scattered(const gs_matrix& w, int64_t batch) {
  const bool single = w.layout == GS_CSR || (w.layout == GS_FANIN && w.group == 1);
  if (!single || w.narrow || batch < 1 || batch > kWide) return false;
  const int64_t bytes = tile_bytes<T>(batch, tile_vectors(1));
  return block_choice(w, bytes).features * bytes > kSecondLevel;
}

// The same where inputs are read: those of a connection lie together, or there are but two.
template <class T> GS_INLINE bool reads_scattered(const gs_call& call) {
  return (call.x.batch_stride == 1 || call.batch <= 2) && is_scattered<T>(call.w, call.batch);
}

template <class T> gs_status scattered_linear(const gs_call& call);
template <class T> gs_status scattered_grad_input(const gs_call& call);
template <class T> gs_status scattered_grad_values(const gs_call& call);
extern template gs_status scattered_linear<float>(const gs_call& call);
extern template gs_status scattered_linear<double>(const gs_call& call);
extern template gs_status scattered_grad_input<float>(const gs_call& call);
extern template gs_status scattered_grad_input<double>(const gs_call& call);
extern template gs_status scattered_grad_values<float>(const gs_call& call);
extern template gs_status scattered_grad_values<double>(const gs_call& call);

}  // namespace GS_SET
}  // namespace gs

#endif
