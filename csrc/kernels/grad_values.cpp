// out[connection] = sum over the batch of grad[row] * x[column]: a sampled product. The output-gradient tile of a row
// stays in registers; four dot products are reduced together. Batch tiles are added in ascending order.
#include "block.h"
#include "gradients.h"
#include "items.h"
#include "scattered.h"

namespace gs {
namespace GS_SET {
namespace {

// Lanes of the dot product of input `p` with one gradient row, not yet summed.
template <class T, int V> GS_INLINE vec<T> dot(const T* p, const vec<T> (&grad)[V]) {
  vec<T> s = load<T>(p) * grad[0];
#pragma GCC unroll 8
  for (int v = 1; v < V; ++v) s += load<T>(p + v * Vec<T>::lanes) * grad[v];
  return s;
}

// out[j * G + g] += dot(tile[col[j]], grad[g]), j < n. Four sums at a time, contiguous in `out`: of 4 / G connections,
// or of half a connection where G is 8. The G * V gradient vectors stay in registers.
template <class T, int V, int G, class I>
GS_INLINE void sample(const T* tile, const I* col, const vec<T> (&grad)[G][V], int64_t n, T* out) {
  constexpr int J = G < 4 ? 4 / G : 1;
  constexpr int64_t W = V * Vec<T>::lanes;
  int64_t j = 0;
  for (; j + J <= n; j += J) {
#pragma GCC unroll 2
    for (int f = 0; f < J * G; f += 4) {
      vec<T> s[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) s[q] = dot<T, V>(tile + col[j + (f + q) / G] * W, grad[(f + q) % G]);
      add_sums(s, out + j * G + f);
    }
  }
  if (j == n) return;
  vec<T> s[4];  // the last connection stands in for those past the end, whose sums are dropped
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) s[q] = dot<T, V>(tile + col[least(j + q / G, n - 1)] * W, grad[q % G]);
  T sums[4] = {};
  add_sums(s, sums);
  for (int q = 0; q < (n - j) * G; ++q) out[j * G + q] += sums[q];
}

struct Block {
  const gs_call* call;
  Tile tile;
  bool blocked;              // there is more than this block
  const void* packed;        // the tile, addressed by feature number
  void* grads;               // room for [kRowChunk * group][tile]
  const int32_t *from, *to;  // of each row of the range: its connections in this block
};

template <class T, int V, int G> void block_rows(const Block& b, int64_t r0, int64_t r1) {
  const gs_matrix& w = b.call->w;
  int64_t active = first_active(w, r0);
  Gradients<T, V, G> grads(b.call->grad, b.tile, static_cast<T*>(b.grads));
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(w, r, active);
    const int64_t from = b.from[r - r0], to = b.to[r - r0];
    if (from == to) continue;
    if (b.blocked) fetch_ahead(w, row, from, b.call->out, sizeof(T));
    vec<T> grad[G][V];
    grads.row(r, r1, grad);
    T* out = static_cast<T*>(b.call->out) + row.first * G;
    with_columns(w, row, from, to, [&](const auto* col, int64_t j, int64_t n) {
      sample<T, V, G>(static_cast<const T*>(b.packed), col, grad, n, out + j * G);
    });
  }
}

template <class T, int G> void block_rows(const Block& b, int64_t r0, int64_t r1) {
  switch (b.tile.vectors) {
    case 1: return block_rows<T, 1, G>(b, r0, r1);
    case 2: if constexpr (G <= 4) return block_rows<T, 2, G>(b, r0, r1); break;
    case 4: if constexpr (G <= 2) return block_rows<T, 4, G>(b, r0, r1); break;
    default: if constexpr (G == 1) return block_rows<T, 8, G>(b, r0, r1); break;
  }
}

template <class T> void block_rows(const Block& b, int64_t r0, int64_t r1) {
  switch (b.call->w.group) {
    case 1: return block_rows<T, 1>(b, r0, r1);
    case 2: return block_rows<T, 2>(b, r0, r1);
    case 4: return block_rows<T, 4>(b, r0, r1);
    default: return block_rows<T, 8>(b, r0, r1);
  }
}

// All batch tiles for row groups r0 .. r1.
template <class T> gs_status rows(const gs_call& call, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t vectors = tile_vectors(w.group), bytes = tile_bytes<T>(call.batch, vectors);
  const Blocks blocks = block_choice(w, bytes);
  const int64_t packed = ceil_div(blocks.features * bytes, 64) * 64, grads = ceil_div(kRowChunk * w.group * bytes, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(packed + grads + starts_bytes(blocks, r1 - r0)));
  if (!scratch) return GS_MEMORY;
  int32_t* starts = reinterpret_cast<int32_t*>(scratch + packed + grads);
  find_starts(w, blocks, r0, r1, starts);
  clear_rows<T>(w, r0, r1, w.group, static_cast<T*>(call.out));
  for (int64_t t = 0; t < tile_count<T>(call.batch, vectors); ++t) {
    const Tile tile = tile_at<T>(t, call.batch, vectors);
    for (int64_t n = 0; n < blocks.count; ++n) {
      const int64_t begin = n * blocks.features, end = least(w.n_in, begin + blocks.features);
      pack_tile<T>(call.x, begin, end, tile, reinterpret_cast<T*>(scratch));
      const T* block = rebased(reinterpret_cast<T*>(scratch), begin, tile.vectors * Vec<T>::lanes);
      const int32_t* from = starts + n * (r1 - r0);
      block_rows<T>({&call, tile, blocks.count > 1, block, scratch + packed, from, from + (r1 - r0)}, r0, r1);
    }
  }
  return GS_OK;
}

// A tile of groups is a vector or two wide, one of blocks is eight: where a batch leaves the former, its sums would be
// reduced the more often.
template <class T> bool as_blocks(const gs_call& call) {
  return call.w.group >= 4 && call.batch > tile_vectors(call.w.group) * Vec<T>::lanes;
}

template <class T> gs_status grad_values(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t groups = row_groups(w), used = connections(w) * w.group;
  T* out = static_cast<T*>(call->out);
  for (int64_t i = call->batch ? used : 0; i < w.n_values; ++i) out[i] = 0;
  if (call->batch == 0) return GS_OK;
  if (reads_scattered<T>(*call)) return scattered_grad_values<T>(*call);
  const int64_t cost = (used / most(1, groups) + 1) * call->batch;
  return for_items(*call, groups, cost, [&](int64_t begin, int64_t end) { return rows<T>(*call, begin, end); });
}

}  // namespace

gs_status grad_values_f32(const gs_call* call) {
  return as_blocks<float>(*call) ? in_blocks(block_grad_values_f32, *call) : grad_values<float>(call);
}
gs_status grad_values_f64(const gs_call* call) {
  return as_blocks<double>(*call) ? in_blocks(block_grad_values_f64, *call) : grad_values<double>(call);
}

}  // namespace GS_SET
}  // namespace gs
