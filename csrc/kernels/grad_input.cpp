// out[n_in, batch] = W^T grad: every connection adds w * grad[row] to the tile of its input. The tile of a block of
// inputs stays in cache while all rows scatter into it; no transposed index is needed (grad_input_transposed.cpp has one).
#include "block.h"
#include "gradients.h"
#include "items.h"
#include "scattered.h"

namespace gs {
namespace GS_SET {
namespace {

// tile[col[j]][v] += sum over g of w[j * G + g] * grad[g][v], j < n.
template <class T, int V, int G, class I>
GS_INLINE void scatter(T* tile, const I* col, const T* w, int64_t n, const vec<T> (&grad)[G][V]) {
  constexpr int64_t L = Vec<T>::lanes;
  for (int64_t j = 0; j < n; ++j) {
    T* p = tile + col[j] * (V * L);
    vec<T> s[G];
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) s[g] = splat<T>(w[j * G + g]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      vec<T> a = load<T>(p + v * L);
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) a += s[g] * grad[g][v];
      store<T>(p + v * L, a);
    }
  }
}

struct Block {
  const gs_call* call;
  Tile tile;
  int64_t begin, end;        // inputs
  bool blocked;              // there is more than this block
  void* sums;                // [end - begin][tile], zeroed
  void* grads;               // room for [kRowChunk * group][tile]
  const int32_t *from, *to;  // of each row group: its connections in this block
};

template <class T, int V, int G>
GS_INLINE void one_row(const Block& b, const Row& row, const vec<T> (&grad)[G][V], int64_t from, int64_t to) {
  const gs_matrix& w = b.call->w;
  const T* values = static_cast<const T*>(w.values) + row.first * G;
  T* sums = rebased(static_cast<T*>(b.sums), b.begin, V * Vec<T>::lanes);
  with_columns(w, row, from, to, [&](const auto* col, int64_t j, int64_t n) {
    scatter<T, V, G>(sums, col, values + j * G, n, grad);
  });
}

template <class T, int V, int G> void block_rows(const Block& b) {
  const gs_matrix& w = b.call->w;
  const int64_t rows = row_groups(w);
  int64_t active = 0;
  Gradients<T, V, G> grads(b.call->grad, b.tile, static_cast<T*>(b.grads));
  for (int64_t r = 0; r < rows; ++r) {
    const Row row = row_at(w, r, active);
    if (b.from[r] == b.to[r]) continue;
    if (b.blocked) fetch_ahead(w, row, b.from[r], w.values, sizeof(T));
    vec<T> grad[G][V];
    grads.row(r, rows, grad);
    one_row<T, V, G>(b, row, grad, b.from[r], b.to[r]);
  }
}

template <class T, int G> void block_rows(const Block& b) {
  switch (b.tile.vectors) {
    case 1: return block_rows<T, 1, G>(b);
    case 2: if constexpr (G <= 4) return block_rows<T, 2, G>(b); break;
    case 4: if constexpr (G <= 2) return block_rows<T, 4, G>(b); break;
    default: if constexpr (G == 1) return block_rows<T, 8, G>(b); break;
  }
}

template <class T> void block_rows(const Block& b) {
  switch (b.call->w.group) {
    case 1: return block_rows<T, 1>(b);
    case 2: return block_rows<T, 2>(b);
    case 4: return block_rows<T, 4>(b);
    default: return block_rows<T, 8>(b);
  }
}

// Copies the finished block to the output.
template <class T> void write_block(const Block& b) {
  const int64_t width = b.tile.vectors * Vec<T>::lanes;
  const T* sums = static_cast<const T*>(b.sums);
  for (int64_t i = b.begin; i < b.end; ++i, sums += width) {
    T* out = static_cast<T*>(b.call->out) + i * b.call->out_stride + b.tile.begin;
    int64_t v = 0;
    for (; v + Vec<T>::lanes <= b.tile.size; v += Vec<T>::lanes) store<T>(out + v, load<T>(sums + v));
    store_part<T>(out + v, load<T>(sums + (v < width ? v : 0)), b.tile.size - v);
  }
}

// Items are (batch tile, block of inputs) pairs, tile outermost.
template <class T> gs_status items(const gs_call& call, const Blocks& blocks, int64_t begin, int64_t end) {
  const gs_matrix& w = call.w;
  const int64_t rows = row_groups(w), vectors = tile_vectors(w.group), widest = tile_bytes<T>(call.batch, vectors);
  const int64_t sums = ceil_div(blocks.features * widest, 64) * 64, grads = kRowChunk * w.group * widest;
  char* scratch = static_cast<char*>(gs_scratch(sums + grads + starts_bytes(blocks, rows)));
  if (!scratch) return GS_MEMORY;
  int32_t* starts = reinterpret_cast<int32_t*>(scratch + sums + grads);
  find_starts(w, blocks, 0, rows, starts);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block = item % blocks.count;
    const int32_t* from = starts + block * rows;
    Block b = {&call, tile_at<T>(item / blocks.count, call.batch, vectors), block * blocks.features,
               least(w.n_in, (block + 1) * blocks.features), blocks.count > 1, scratch, scratch + sums, from, from + rows};
    const int64_t used = (b.end - b.begin) * b.tile.vectors * Vec<T>::lanes;
    for (int64_t i = 0; i < used; i += Vec<T>::lanes) store<T>(static_cast<T*>(b.sums) + i, vec<T>{});
    block_rows<T>(b);
    write_block<T>(b);
  }
  return GS_OK;
}

template <class T> gs_status grad_input(const gs_call* call) {
  const gs_matrix& w = call->w;
  if (w.n_in == 0) return GS_OK;
  if (is_scattered<T>(w, call->batch)) return scattered_grad_input<T>(*call);
  const int64_t vectors = tile_vectors(w.group), bytes = tile_bytes<T>(call->batch, vectors);
  const Blocks blocks = block_choice(w, bytes);
  const int64_t cost = (connections(w) * w.group / blocks.count + blocks.features) * (bytes / sizeof(T));
  return for_items(*call, tile_count<T>(call->batch, vectors) * blocks.count, cost,
                   [&](int64_t begin, int64_t end) { return items<T>(*call, blocks, begin, end); });
}

}  // namespace

gs_status grad_input_f32(const gs_call* call) {
  return call->w.group > kGroupRows ? in_blocks(block_grad_input_f32, *call) : grad_input<float>(call);
}
gs_status grad_input_f64(const gs_call* call) {
  return call->w.group > kGroupRows ? in_blocks(block_grad_input_f64, *call) : grad_input<double>(call);
}

}  // namespace GS_SET
}  // namespace gs
