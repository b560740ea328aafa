// out[n_in, batch] = W^T grad: every connection adds w * grad[row] to the tile of its input. The tile of a block of
// inputs stays in cache while all rows scatter into it; no transposed index is needed.
#include "kernels.h"
#include "rows.h"
#include "tile.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kBlockBytes = 128 * 1024;  // inputs of a block, read and written
constexpr int64_t kRowChunk = 16;            // row groups whose gradients are packed at a time

// tile[off[j] + v] += sum over g of w[j * G + g] * grad[g][v], j < n.
template <class T, int V, int G>
GS_INLINE void scatter(T* tile, const int32_t* off, const T* w, int n, const vec<T> (&grad)[G][V]) {
  constexpr int L = Vec<T>::lanes;
  for (int j = 0; j < n; ++j) {
    T* p = tile + off[j];
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
  int64_t begin, end;  // inputs
  void* sums;          // [end - begin][tile], zeroed
  void* grads;         // room for [kRowChunk * group][tile]
  int32_t* done;       // connections of each row group before `begin`, or null when one block holds all inputs
};

template <class T, int V, int G> GS_INLINE void one_row(const Block& b, const Row& row, const T* packed, int32_t* done) {
  const gs_matrix& w = b.call->w;
  vec<T> grad[G][V];
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) grad[g][v] = load<T>(packed + (g * V + v) * Vec<T>::lanes);
  int64_t j = done ? *done : 0;
  const int64_t stop = done ? count_below(w, row, j, b.end) : row.count;
  const T* values = static_cast<const T*>(w.values) + row.first * G;
  const int64_t chunk = chunk_of(w);
  int32_t off[kChunk];
  while (j < stop) {
    const int n = static_cast<int>(least(chunk, stop - j));
    decode(w, row, j, n, static_cast<int32_t>(b.begin), V * Vec<T>::lanes, off);
    scatter<T, V, G>(static_cast<T*>(b.sums), off, values + j * G, n, grad);
    j += n;
  }
  if (done) *done = static_cast<int32_t>(stop);
}

template <class T, int V, int G> void block_rows(const Block& b) {
  const gs_matrix& w = b.call->w;
  const int64_t rows = row_groups(w);
  int64_t active = 0;
  for (int64_t r0 = 0; r0 < rows; r0 += kRowChunk) {
    const int64_t r1 = least(rows, r0 + kRowChunk);
    T* packed = static_cast<T*>(b.grads);
    pack_tile<T>(b.call->grad, r0 * G, r1 * G, b.tile, packed);
    for (int64_t r = r0; r < r1; ++r)
      one_row<T, V, G>(b, row_at(w, r, active), packed + (r - r0) * G * V * Vec<T>::lanes, b.done ? b.done + r : nullptr);
  }
}

template <class T, int G> void block_rows(const Block& b) {
  switch (b.tile.vectors) {
    case 1: return block_rows<T, 1, G>(b);
    case 2: if constexpr (G <= 4) return block_rows<T, 2, G>(b); break;
    case 3: if constexpr (G <= 2) return block_rows<T, 3, G>(b); break;
    case 4: if constexpr (G <= 2) return block_rows<T, 4, G>(b); break;
    case 5: if constexpr (G == 1) return block_rows<T, 5, G>(b); break;
    case 6: if constexpr (G == 1) return block_rows<T, 6, G>(b); break;
    case 7: if constexpr (G == 1) return block_rows<T, 7, G>(b); break;
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

struct Job {
  const gs_call* call;
  int64_t features, blocks;  // inputs per block, blocks per tile
  gs_status status;
};

// Where each row stands at the start of a block: carried on from the block before, or found by bisection.
void place(const gs_matrix& w, int64_t begin, bool carried, int32_t* done) {
  if (carried) return;
  int64_t active = 0;
  for (int64_t r = 0; r < row_groups(w); ++r)
    done[r] = static_cast<int32_t>(find_below(w, row_at(w, r, active), begin));
}

// Items are (batch tile, block of inputs) pairs, tile outermost.
template <class T> gs_status blocks(const Job& job, int64_t begin, int64_t end) {
  const gs_matrix& w = job.call->w;
  const int64_t widest = tile_bytes<T>(job.call->batch, 8 / w.group);
  const int64_t sums = ceil_div(job.features * widest, 64) * 64, grads = kRowChunk * w.group * widest;
  char* scratch = static_cast<char*>(gs_scratch(sums + grads + (job.blocks > 1 ? row_groups(w) * 4 : 0)));
  if (!scratch) return GS_MEMORY;
  int32_t* done = job.blocks > 1 ? reinterpret_cast<int32_t*>(scratch + sums + grads) : nullptr;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t block = item % job.blocks;
    Block b = {job.call, tile_at<T>(item / job.blocks, job.call->batch, 8 / w.group), block * job.features,
               least(w.n_in, (block + 1) * job.features), scratch, scratch + sums, done};
    if (done) place(w, b.begin, item > begin && block > 0, done);
    const int64_t used = (b.end - b.begin) * b.tile.vectors * Vec<T>::lanes;
    for (int64_t i = 0; i < used; i += Vec<T>::lanes) store<T>(static_cast<T*>(b.sums) + i, vec<T>{});
    block_rows<T>(b);
    write_block<T>(b);
  }
  return GS_OK;
}

template <class T> void run_items(int64_t begin, int64_t end, void* ctx) {
  Job& job = *static_cast<Job*>(ctx);
  gs_status status = blocks<T>(job, begin, end);
  if (status != GS_OK) __atomic_store_n(&job.status, status, __ATOMIC_RELAXED);
}

template <class T> gs_status grad_input(const gs_call* call) {
  const gs_matrix& w = call->w;
  if (w.n_in == 0) return GS_OK;
  const int64_t bytes = tile_bytes<T>(call->batch, 8 / w.group), width = bytes / static_cast<int64_t>(sizeof(T));
  const int64_t features = block_features(w.n_in, bytes, kBlockBytes, w.layout == GS_NM ? w.tile : 1);
  Job job = {call, features, ceil_div(w.n_in, features), GS_OK};
  const int64_t tiles = ceil_div(call->batch, width);
  const int64_t cost = (connections(w) * w.group / job.blocks + features) * width;
  gs_status status = gs_run(call->parallel, tiles * job.blocks, cost, run_items<T>, &job);
  return status != GS_OK ? status : job.status;
}

}  // namespace

gs_status grad_input_f32(const gs_call* call) { return grad_input<float>(call); }
gs_status grad_input_f64(const gs_call* call) { return grad_input<double>(call); }

}  // namespace GS_SET
}  // namespace gs
