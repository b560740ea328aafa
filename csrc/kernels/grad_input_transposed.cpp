// out[n_in, batch] = W^T grad by a transposed index: rows of W^T in registers, as in linear.cpp. The values are brought
// into its order first, so that a block of gradient rows of first-level size meets its connections as one stream.
#include "accumulate.h"
#include "items.h"
#include "tile.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kTile = GS_VEC_BYTES == 64 ? 4 : 8;  // vectors of a batch tile
constexpr int64_t kGatherCost = 16;  // of a value, in multiply-adds

struct Job {
  const gs_call* call;
  const gs_transposed* t;
  void* values;  // [n_order]
};

template <class T> gs_status gather(const Job& job, int64_t begin, int64_t end) {
  const T* values = static_cast<const T*>(job.call->w.values);
  T* out = static_cast<T*>(job.values);
  for (int64_t i = begin; i < end; ++i) out[i] = values[job.t->order[i]];
  return GS_OK;
}

// Columns c0 .. c1 of one block of rows, whose gradients for the tile are packed.
template <class T, int V> void block_columns(const Job& job, const Tile& tile, int64_t block, const T* packed, int64_t c0, int64_t c1) {
  const gs_call& call = *job.call;
  const int32_t* starts = job.t->starts + block * call.w.n_in;
  const T* values = static_cast<const T*>(job.values);
  for (int64_t c = c0; c < c1; ++c) {
    const int64_t from = starts[c], count = starts[c + 1] - from;
    if (count == 0 && block > 0) continue;
    T* out = static_cast<T*>(call.out) + c * call.out_stride + tile.begin;
    vec<T> sums[1][V] = {};  // of this block alone: short chains of additions round less than one long one
    if (block > 0) fetch_rows_ahead<T, V, 1>(out, call.out_stride);
    accumulate<T, V, 1>(packed, job.t->rows + from, values + from, count, sums);
    vec<T> before[V] = {};
    if (block > 0) load_row<T, V>(out, tile.size, before);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[0][v] += before[v];
    store_row<T, V>(out, tile.size, sums[0]);
  }
}

template <class T> void block_columns(const Job& job, const Tile& tile, int64_t block, const T* packed, int64_t c0, int64_t c1) {
  switch (tile.vectors) {
    case 1: return block_columns<T, 1>(job, tile, block, packed, c0, c1);
    case 2: return block_columns<T, 2>(job, tile, block, packed, c0, c1);
    case 4: return block_columns<T, 4>(job, tile, block, packed, c0, c1);
    default: return block_columns<T, 8>(job, tile, block, packed, c0, c1);
  }
}

// Items are (batch tile, column) pairs, tile outermost.
template <class T> gs_status items(const Job& job, int64_t begin, int64_t end) {
  const gs_call& call = *job.call;
  const int64_t columns = call.w.n_in, block = job.t->block;
  T* packed = static_cast<T*>(gs_scratch(least(block, call.w.n_out) * tile_bytes<T>(call.batch, kTile)));
  if (!packed) return GS_MEMORY;
  while (begin < end) {
    const int64_t c0 = begin % columns, c1 = least(columns, c0 + (end - begin));
    const Tile tile = tile_at<T>(begin / columns, call.batch, kTile);
    for (int64_t b = 0; b == 0 || b * block < call.w.n_out; ++b) {  // without rows too: the output is written
      pack_tile<T>(call.grad, b * block, least(call.w.n_out, (b + 1) * block), tile, packed);
      block_columns<T>(job, tile, b, packed, c0, c1);
    }
    begin += c1 - c0;
  }
  return GS_OK;
}

template <class T> gs_status run(const gs_call* call, const gs_transposed* t, void* room) {
  const int64_t columns = call->w.n_in, width = tile_bytes<T>(call->batch, kTile) / static_cast<int64_t>(sizeof(T));
  const Job job = {call, t, room};
  gs_status status = for_items(*call, t->n_order, kGatherCost, [&](int64_t begin, int64_t end) { return gather<T>(job, begin, end); });
  if (status != GS_OK) return status;
  const int64_t cost = (t->n_order / columns + 8) * least(call->batch, width);
  return for_items(*call, tile_count<T>(call->batch, kTile) * columns, cost,
                   [&](int64_t begin, int64_t end) { return items<T>(job, begin, end); });
}

}  // namespace

gs_status grad_input_transposed_f32(const gs_call* call, const gs_transposed* t, void* room) { return run<float>(call, t, room); }
gs_status grad_input_transposed_f64(const gs_call* call, const gs_transposed* t, void* room) { return run<double>(call, t, room); }

}  // namespace GS_SET
}  // namespace gs
