// out[connection] = sum over the batch of grad[row] * x[column]: a sampled product. The output-gradient tile of a row
// stays in registers; four dot products are reduced together. Batch tiles are added in ascending order.
#include "kernels.h"
#include "rows.h"
#include "tile.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kBlockBytes = 192 * 1024;
constexpr int64_t kRowChunk = 16;  // row groups whose gradients are packed at a time

// Lanes of the dot product of input `p` with one gradient row, not yet summed.
template <class T, int V> GS_INLINE vec<T> dot(const T* p, const vec<T> (&grad)[V]) {
  vec<T> s = load<T>(p) * grad[0];
#pragma GCC unroll 8
  for (int v = 1; v < V; ++v) s += load<T>(p + v * Vec<T>::lanes) * grad[v];
  return s;
}

// out[j * G + g] += dot(tile[off[j]], grad[g]), j < n. Four sums at a time, contiguous in `out`: of 4 / G connections,
// or of half a connection where G is 8. The G * V gradient vectors stay in registers.
template <class T, int V, int G>
GS_INLINE void sample(const T* tile, const int32_t* off, const vec<T> (&grad)[G][V], int n, T* out) {
  constexpr int J = G < 4 ? 4 / G : 1;
  int j = 0;
  for (; j + J <= n; j += J) {
#pragma GCC unroll 2
    for (int f = 0; f < J * G; f += 4) {
      vec<T> s[4];
#pragma GCC unroll 4
      for (int q = 0; q < 4; ++q) s[q] = dot<T, V>(tile + off[j + (f + q) / G], grad[(f + q) % G]);
      add_sums(s, out + j * G + f);
    }
  }
  if (j == n) return;
  vec<T> s[4] = {};
#pragma GCC unroll 3
  for (int q = 0; q < 3; ++q)
    if (j + q / G < n) s[q] = dot<T, V>(tile + off[j + q / G], grad[q % G]);
  T sums[4] = {};
  add_sums(s, sums);
  for (int q = 0; q < (n - j) * G; ++q) out[j * G + q] += sums[q];
}

struct Block {
  const gs_call* call;
  Tile tile;
  int64_t begin, end;  // inputs
  const void* packed;  // [end - begin][tile]
  void* grads;         // room for [kRowChunk * group][tile]
  int32_t* done;       // connections used of each row of the range, or null when one block holds all inputs
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
  T* out = static_cast<T*>(b.call->out) + row.first * G;
  const int64_t chunk = chunk_of(w);
  int32_t off[kChunk];
  while (j < stop) {
    const int n = static_cast<int>(least(chunk, stop - j));
    decode(w, row, j, n, static_cast<int32_t>(b.begin), V * Vec<T>::lanes, off);
    sample<T, V, G>(static_cast<const T*>(b.packed), off, grad, n, out + j * G);
    j += n;
  }
  if (done) *done = static_cast<int32_t>(stop);
}

template <class T, int V, int G> void block_rows(const Block& b, int64_t first, int64_t last) {
  const gs_matrix& w = b.call->w;
  int64_t active = first_active(w, first);
  for (int64_t r0 = first; r0 < last; r0 += kRowChunk) {
    const int64_t r1 = least(last, r0 + kRowChunk);
    T* grads = static_cast<T*>(b.grads);
    pack_tile<T>(b.call->grad, r0 * G, r1 * G, b.tile, grads);
    for (int64_t r = r0; r < r1; ++r)
      one_row<T, V, G>(b, row_at(w, r, active), grads + (r - r0) * G * V * Vec<T>::lanes,
                       b.done ? b.done + (r - first) : nullptr);
  }
}

template <class T, int G> void block_rows(const Block& b, int64_t r0, int64_t r1) {
  switch (b.tile.vectors) {
    case 1: return block_rows<T, 1, G>(b, r0, r1);
    case 2: if constexpr (G <= 4) return block_rows<T, 2, G>(b, r0, r1); break;
    case 3: if constexpr (G <= 2) return block_rows<T, 3, G>(b, r0, r1); break;
    case 4: if constexpr (G <= 2) return block_rows<T, 4, G>(b, r0, r1); break;
    case 5: if constexpr (G == 1) return block_rows<T, 5, G>(b, r0, r1); break;
    case 6: if constexpr (G == 1) return block_rows<T, 6, G>(b, r0, r1); break;
    case 7: if constexpr (G == 1) return block_rows<T, 7, G>(b, r0, r1); break;
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

// The used values of row groups r0 .. r1 start as zeros; they are contiguous.
template <class T> void clear_rows(const gs_matrix& w, int64_t r0, int64_t r1, T* out) {
  int64_t active = first_active(w, r0);
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(w, r, active);
    for (int64_t i = row.first * w.group; i < (row.first + row.count) * w.group; ++i) out[i] = 0;
  }
}

// All batch tiles for row groups r0 .. r1.
template <class T> gs_status rows(const gs_call& call, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t bytes = tile_bytes<T>(call.batch, 8 / w.group), width = 8 / w.group * Vec<T>::lanes;
  const int64_t features = block_features(w.n_in, bytes, kBlockBytes, w.layout == GS_NM ? w.tile : 1);
  const bool blocked = features < w.n_in;
  const int64_t packed = ceil_div(features * bytes, 64) * 64, grads = ceil_div(kRowChunk * w.group * bytes, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(packed + grads + (blocked ? (r1 - r0) * 4 : 0)));
  if (!scratch) return GS_MEMORY;
  int32_t* done = blocked ? reinterpret_cast<int32_t*>(scratch + packed + grads) : nullptr;
  clear_rows<T>(w, r0, r1, static_cast<T*>(call.out));
  for (int64_t t = 0; t < ceil_div(call.batch, width); ++t) {
    const Tile tile = tile_at<T>(t, call.batch, 8 / w.group);
    for (int64_t r = 0; blocked && r < r1 - r0; ++r) done[r] = 0;
    for (int64_t begin = 0; begin < w.n_in; begin += features) {
      const int64_t end = least(w.n_in, begin + features);
      pack_tile<T>(call.x, begin, end, tile, reinterpret_cast<T*>(scratch));
      block_rows<T>({&call, tile, begin, end, scratch, scratch + packed, done}, r0, r1);
    }
  }
  return GS_OK;
}

struct Job {
  const gs_call* call;
  gs_status status;
};

template <class T> void run_rows(int64_t begin, int64_t end, void* ctx) {
  Job& job = *static_cast<Job*>(ctx);
  gs_status status = rows<T>(*job.call, begin, end);
  if (status != GS_OK) __atomic_store_n(&job.status, status, __ATOMIC_RELAXED);
}

template <class T> gs_status grad_values(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t groups = row_groups(w), used = connections(w) * w.group;
  T* out = static_cast<T*>(call->out);
  for (int64_t i = call->batch ? used : 0; i < w.n_values; ++i) out[i] = 0;
  if (call->batch == 0) return GS_OK;
  Job job = {call, GS_OK};
  const int64_t cost = (used / most(1, groups) + 1) * call->batch;
  gs_status status = gs_run(call->parallel, groups, cost, run_rows<T>, &job);
  return status != GS_OK ? status : job.status;
}

}  // namespace

gs_status grad_values_f32(const gs_call* call) { return grad_values<float>(call); }
gs_status grad_values_f64(const gs_call* call) { return grad_values<double>(call); }

}  // namespace GS_SET
}  // namespace gs
