// out = activation(W x + bias) for csr, fanin and nm: rows in registers. For one batch tile and one block of packed
// features, the output tile of a row stays in registers over all its connections.
#include "gather.h"
#include "kernels.h"
#include "rows.h"
#include "tile.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kBlockBytes = 192 * 1024;  // packed inputs of a block: part of a 512 KiB second-level cache

// Vectors of a batch tile. Without groups 4 are faster than 8: the packed block is half as large, and two connections
// at a time keep 8 additions in flight all the same.
constexpr int tile_vectors(int64_t group) { return group == 1 ? 4 : static_cast<int>(8 / group); }

// acc[g][v] += sum over n connections of w[j * G + g] * tile[off[j] + v]. C connections run side by side to hide the
// latency of the additions; the order is fixed by n alone.
template <class T, int V, int G, int C>
GS_INLINE void accumulate(const T* tile, const int32_t* off, const T* w, int n, vec<T> (&acc)[G][V]) {
  constexpr int L = Vec<T>::lanes;
  vec<T> side[C][G][V] = {};
  int j = 0;
  for (; j + C <= n; j += C) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const T* p = tile + off[j + c];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        vec<T> x = load<T>(p + v * L);
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) {
          if (c == 0) acc[g][v] += x * splat<T>(w[(j + c) * G + g]);
          else side[c][g][v] += x * splat<T>(w[(j + c) * G + g]);
        }
      }
    }
  }
  for (; j < n; ++j) {
    const T* p = tile + off[j];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      vec<T> x = load<T>(p + v * L);
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) acc[g][v] += x * splat<T>(w[j * G + g]);
    }
  }
#pragma GCC unroll 8
  for (int c = 1; c < C; ++c)
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[g][v] += side[c][g][v];
}

// One block of features of one batch tile, for a range of rows.
struct Block {
  const gs_call* call;
  Tile tile;
  int64_t begin, end;  // features
  const void* packed;  // [end - begin][tile]
  int32_t* done;       // connections already used of each row of the range, or null when one block holds all features
};

template <class T, int V, int G>
GS_INLINE void one_row(const Block& b, const Row& row, int64_t r, int32_t* done) {
  const gs_call& call = *b.call;
  const T* bias = static_cast<const T*>(call.bias);
  T* out = static_cast<T*>(call.out) + r * G * call.out_stride + b.tile.begin;
  const bool first = b.begin == 0, last = b.end == call.w.n_in;
  vec<T> acc[G][V];
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) {
    if (first) {
      vec<T> start = bias ? splat<T>(bias[r * G + g]) : vec<T>{};
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[g][v] = start;
    } else {
      load_row<T, V>(out + g * call.out_stride, b.tile.size, acc[g]);
    }
  }
  int64_t j = done ? *done : 0;
  const int64_t stop = done ? count_below(call.w, row, j, b.end) : row.count;
  const T* w = static_cast<const T*>(call.w.values) + row.first * G;
  const int64_t chunk = chunk_of(call.w);
  int32_t off[kChunk];
  constexpr int C = G * V >= 8 ? 1 : (8 / (G * V) > 4 ? 4 : 8 / (G * V));
  while (j < stop) {
    const int n = static_cast<int>(least(chunk, stop - j));
    decode(call.w, row, j, n, static_cast<int32_t>(b.begin), V * Vec<T>::lanes, off);
    accumulate<T, V, G, C>(static_cast<const T*>(b.packed), off, w + j * G, n, acc);
    j += n;
  }
  if (done) *done = static_cast<int32_t>(stop);
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) {
    if (last && call.activation == GS_RELU)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[g][v] = relu<T>(acc[g][v]);
    store_row<T, V>(out + g * call.out_stride, b.tile.size, acc[g]);
  }
}

template <class T, int V, int G> void block_rows(const Block& b, int64_t r0, int64_t r1) {
  const gs_matrix& w = b.call->w;
  int64_t active = first_active(w, r0);
  for (int64_t r = r0; r < r1; ++r) one_row<T, V, G>(b, row_at(w, r, active), r, b.done ? b.done + (r - r0) : nullptr);
}

template <class T, int G> void block_rows(const Block& b, int64_t r0, int64_t r1) {
  constexpr int most = tile_vectors(G);
  switch (b.tile.vectors) {
    case 1: return block_rows<T, 1, G>(b, r0, r1);
    case 2: if constexpr (most >= 2) return block_rows<T, 2, G>(b, r0, r1); break;
    case 3: if constexpr (most >= 4) return block_rows<T, 3, G>(b, r0, r1); break;
    default: if constexpr (most >= 4) return block_rows<T, 4, G>(b, r0, r1); break;
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

struct Job {
  const gs_call* call;
  gs_status status;
};

// Rows r0 .. r1 of one batch tile, block by block.
template <class T> gs_status tile_rows(const gs_call& call, const Tile& tile, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t bytes = tile.vectors * Vec<T>::lanes * static_cast<int64_t>(sizeof(T));
  const int64_t features = block_features(w.n_in, bytes, kBlockBytes, w.layout == GS_NM ? w.tile : 1);
  const bool blocked = features < w.n_in;
  const int64_t packed = ceil_div(features * bytes, 64) * 64;
  char* scratch = static_cast<char*>(gs_scratch(packed + (blocked ? (r1 - r0) * 4 : 0)));
  if (!scratch) return GS_MEMORY;
  int32_t* done = blocked ? reinterpret_cast<int32_t*>(scratch + packed) : nullptr;
  for (int64_t r = 0; blocked && r < r1 - r0; ++r) done[r] = 0;
  int64_t begin = 0;
  do {
    const int64_t end = least(w.n_in, begin + features);
    pack_tile<T>(call.x, begin, end, tile, reinterpret_cast<T*>(scratch));
    block_rows<T>({&call, tile, begin, end, scratch, done}, r0, r1);
    begin = end;
  } while (begin < w.n_in);
  return GS_OK;
}

// Items are (batch tile, row group) pairs, tile outermost.
template <class T> void run_items(int64_t begin, int64_t end, void* ctx) {
  Job& job = *static_cast<Job*>(ctx);
  const int64_t rows = row_groups(job.call->w);
  while (begin < end) {
    const int64_t t = begin / rows, r0 = begin % rows, r1 = least(rows, r0 + (end - begin));
    gs_status status = tile_rows<T>(*job.call, tile_at<T>(t, job.call->batch, tile_vectors(job.call->w.group)), r0, r1);
    if (status != GS_OK) __atomic_store_n(&job.status, status, __ATOMIC_RELAXED);
    begin += r1 - r0;
  }
}

template <class T> gs_status linear(const gs_call* call) {
  const gs_matrix& w = call->w;
  if (call->batch == 1) return gather_linear<T>(*call);
  const int64_t width = tile_vectors(w.group) * Vec<T>::lanes, tiles = ceil_div(call->batch, width), rows = row_groups(w);
  Job job = {call, GS_OK};
  const int64_t cost = (connections(w) / most(1, rows) + 8) * w.group * least(call->batch, width);
  gs_status status = gs_run(call->parallel, tiles * rows, cost, run_items<T>, &job);
  return status != GS_OK ? status : job.status;
}

}  // namespace

gs_status linear_f32(const gs_call* call) { return linear<float>(call); }
gs_status linear_f64(const gs_call* call) { return linear<double>(call); }

}  // namespace GS_SET
}  // namespace gs
