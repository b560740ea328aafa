// out = activation(W x + bias + residual) for csr, fanin and nm: rows in registers. For one batch tile and one block of packed
// features, the output tile of a row stays in registers over all its connections.
#include "accumulate.h"
#include "block.h"
#include "epilogue.h"
#include "gather.h"
#include "items.h"
#include "scattered.h"
#include "sweep.h"

namespace gs {
namespace GS_SET {
namespace {

template <class T, int V, int G> GS_INLINE void one_row(const Visit& b, const Row& row, int64_t r, int64_t from, int64_t to) {
  const gs_call& call = *b.call;
  if (from == to && !b.first && !b.last) return;
  T* out = static_cast<T*>(call.out) + r * G * call.out_stride + b.tile.begin;
  vec<T> acc[G][V] = {};  // of this block alone: short chains of additions round less than one long one
  if (b.blocked) {
    fetch_ahead(call.w, row, from, call.w.values, value_bytes(call.w));
    fetch_rows_ahead<T, V, G>(out, call.out_stride);
  }
  with_columns(call.w, row, from, to, [&](const auto* col, int64_t j, int64_t n) {
    with_values<T, G>(call.w, (row.first + j) * G, n, [&](const T* w, int64_t i, int64_t part) {
      accumulate<T, V, G>(rebased(static_cast<const T*>(b.packed), b.begin, V * Vec<T>::lanes), col + i, w, part, acc);
    });
  });
  add_block<T, V, G>(call, b.tile, r * G, G, b.first, b.last, acc);
}

template <class T, int V, int G> void block_rows(const Visit& b, int64_t r0, int64_t r1) {
  const gs_matrix& w = b.call->w;
  int64_t active = first_active(w, r0);
  for (int64_t r = r0; r < r1; ++r) one_row<T, V, G>(b, row_at(w, r, active), r, b.from[r - r0], b.to[r - r0]);
}

template <class T, int G> void block_rows(const Visit& b, int64_t r0, int64_t r1) {
  switch (b.tile.vectors) {
    case 1: return block_rows<T, 1, G>(b, r0, r1);
    case 2: if constexpr (G <= 4) return block_rows<T, 2, G>(b, r0, r1); break;
    case 4: if constexpr (G <= 2) return block_rows<T, 4, G>(b, r0, r1); break;
    default: if constexpr (G == 1) return block_rows<T, 8, G>(b, r0, r1); break;
  }
}

template <class T> void block_rows(const Visit& b, int64_t r0, int64_t r1) {
  switch (b.call->w.group) {
    case 1: return block_rows<T, 1>(b, r0, r1);
    case 2: return block_rows<T, 2>(b, r0, r1);
    case 4: return block_rows<T, 4>(b, r0, r1);
    default: return block_rows<T, 8>(b, r0, r1);
  }
}

template <class T> gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const int64_t vectors = tile_vectors(call.w.group);
  const Sweep how = {call.w, 1, block_choice(call.w, tile_bytes<T>(call.batch, vectors)), vectors, 0};
  const auto pack = [](const Visit& b) { pack_tile<T>(b.call->x, b.begin, b.end, b.tile, static_cast<T*>(b.packed)); };
  return sweep<T>(call, how, begin, end, pack, [](const Visit& b, int64_t r0, int64_t r1) { block_rows<T>(b, r0, r1); });
}

template <class T> gs_status linear(const gs_call* call) {
  const gs_matrix& w = call->w;
  if (reads_scattered<T>(*call)) return scattered_linear<T>(*call);
#if GS_VEC_BYTES < 64  // which small batches do not reach (table.cpp)
  if (call->batch == 1) return gather_linear<T>(*call);
#endif
  const int64_t vectors = tile_vectors(w.group), rows = row_groups(w), tiles = tile_count<T>(call->batch, vectors);
  const int64_t width = vectors * Vec<T>::lanes;
  const int64_t cost = (connections(w) / most(1, rows) + 8) * w.group * least(call->batch, width);
  return for_items(*call, tiles * rows, cost, [&](int64_t begin, int64_t end) { return items<T>(*call, begin, end); });
}

}  // namespace

gs_status linear_f32(const gs_call* call) {
  return call->w.group > kGroupRows ? in_blocks(block_linear_f32, *call) : linear<float>(call);
}
gs_status linear_f64(const gs_call* call) {
  return call->w.group > kGroupRows ? in_blocks(block_linear_f64, *call) : linear<double>(call);
}

}  // namespace GS_SET
}  // namespace gs
