#include "block_column.h"

#include "block.h"
#include "epilogue.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kTallest = 32;  // rows of a block

// The blocks of one block row.
template <class T, class I> struct Run {
  const T* x;  // contiguous features
  const I* col;
  const T* w;
  int64_t n, height, width;
};

// Wide blocks: acc[s] += lanes of w[s * width ..] . x[..] for S rows of one block; rest[s] gets what fills no vector.
template <class T, int S> GS_INLINE void one_block(const T* x, const T* w, int64_t width, vec<T> (&acc)[S], T (&rest)[S]) {
  constexpr int64_t L = Vec<T>::lanes;
  int64_t c = 0;
  for (; c + L <= width; c += L) {
    const vec<T> y = load<T>(x + c);
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) acc[s] += y * load<T>(w + s * width + c);
  }
  for (; c < width; ++c)
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) rest[s] += x[c] * w[s * width + c];
}

// sums[s] of S rows from row `top`. C blocks run side by side where one has too few additions to hide their latency.
template <class T, int S, class I> GS_INLINE void wide_strip(const Run<T, I>& run, int64_t top, T* sums) {
  constexpr int C = 4 / S;
  const int64_t block = run.height * run.width;
  const T* w = run.w + top * run.width;
  vec<T> acc[C][S] = {};
  T rest[S] = {};
  int64_t j = 0;
  for (; j + C <= run.n; j += C, w += C * block)
#pragma GCC unroll 4
    for (int k = 0; k < C; ++k) one_block<T, S>(run.x + run.col[j + k] * run.width, w + k * block, run.width, acc[k], rest);
  for (; C > 1 && j < run.n; ++j, w += block) one_block<T, S>(run.x + run.col[j] * run.width, w, run.width, acc[0], rest);
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) {
    vec<T> all = acc[0][s];
#pragma GCC unroll 4
    for (int k = 1; k < C; ++k) all += acc[k][s];
    sums[s] = sum<T>(all) + rest[s];
  }
}

template <class T, class I> void wide(const Run<T, I>& run, T* sums) {
  int64_t s = 0;
  for (; s + 4 <= run.height; s += 4) wide_strip<T, 4>(run, s, sums + s);
  for (; s + 2 <= run.height; s += 2) wide_strip<T, 2>(run, s, sums + s);
  for (; s < run.height; ++s) wide_strip<T, 1>(run, s, sums + s);
}

// W inputs over and over.
template <class T, int W> GS_INLINE vec<T> repeated(const T* p) {
  if constexpr (W == 1) return splat<T>(p[0]);
  vec<T> v{};
#pragma GCC unroll 16
  for (int i = 0; i < Vec<T>::lanes; ++i) v[i] = p[i % W];
  return v;
}

// The inputs of the blocks whose M members each fill a vector together: of one block where M is a vector.
template <class T, int W, int M, class I> GS_INLINE vec<T> inputs(const T* x, const I* col) {
  vec<T> v = repeated<T, W>(x + int64_t(col[0]) * W);
#pragma GCC unroll 8
  for (int b = 1; b < Vec<T>::lanes / M; ++b) {
    decltype(v < v) mine{};
#pragma GCC unroll 16
    for (int i = 0; i < Vec<T>::lanes; ++i) mine[i] = i / M == b ? -1 : 0;
    v = mine ? repeated<T, W>(x + int64_t(col[b]) * W) : v;
  }
  return v;
}

// Blocks narrower than a vector, which holds whole rows of them: P vectors of every block, from vector `first` on.
template <class T, int W, int P, class I> GS_INLINE void tall_strip(const Run<T, I>& run, int64_t first, T* sums) {
  constexpr int L = Vec<T>::lanes, C = 4 / P;
  const int64_t block = run.height * W;
  const T* w = run.w + first * L;
  vec<T> acc[C][P] = {};
  int64_t j = 0;
  for (; j + C <= run.n; j += C, w += C * block)
#pragma GCC unroll 4
    for (int k = 0; k < C; ++k) {
      const vec<T> y = inputs<T, W, L>(run.x, run.col + j + k);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) acc[k][p] += y * load<T>(w + k * block + p * L);
    }
  for (; C > 1 && j < run.n; ++j, w += block) {
    const vec<T> y = inputs<T, W, L>(run.x, run.col + j);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) acc[0][p] += y * load<T>(w + p * L);
  }
  for (int p = 0; p < P; ++p) {
    vec<T> all = acc[0][p];
    for (int k = 1; k < C; ++k) all += acc[k][p];
    for (int i = 0; i < L; ++i) sums[(first + p) * (L / W) + i / W] += all[i];
  }
}

// Any blocks, one product after the other.
template <class T, class I> GS_INLINE void plain(const Run<T, I>& run, int64_t from, T* sums) {
  const T* w = run.w + from * run.height * run.width;
  for (int64_t j = from; j < run.n; ++j)
    for (int64_t s = 0; s < run.height; ++s)
      for (int64_t c = 0; c < run.width; ++c) sums[s] += *w++ * run.x[run.col[j] * run.width + c];
}

// Blocks of M members, several in a vector.
template <class T, int W, int M, class I> GS_INLINE void small(const Run<T, I>& run, T* sums) {
  constexpr int L = Vec<T>::lanes, B = L / M;
  vec<T> a{}, b{};
  int64_t j = 0;
  for (; j + 2 * B <= run.n; j += 2 * B) {
    a += inputs<T, W, M>(run.x, run.col + j) * load<T>(run.w + j * M);
    b += inputs<T, W, M>(run.x, run.col + j + B) * load<T>(run.w + (j + B) * M);
  }
  a += b;
  for (int i = 0; i < L; ++i) sums[i % M / W] += a[i];
  plain(run, j, sums);
}

// Blocks of width W, which divides a vector.
template <class T, int W, class I> void narrow(const Run<T, I>& run, T* sums) {
  constexpr int L = Vec<T>::lanes;
  const int64_t members = run.height * W;
  if (members % L == 0) {
    int64_t p = 0;
    for (; p + 4 <= members / L; p += 4) tall_strip<T, W, 4>(run, p, sums);
    for (; p + 2 <= members / L; p += 2) tall_strip<T, W, 2>(run, p, sums);
    for (; p < members / L; ++p) tall_strip<T, W, 1>(run, p, sums);
    return;
  }
  if constexpr (L / 2 >= W)
    if (members == L / 2) return small<T, W, L / 2>(run, sums);
  if constexpr (L / 4 >= W)
    if (members == L / 4) return small<T, W, L / 4>(run, sums);
  plain(run, 0, sums);
}

// sums[s] = of row s of the block row, s < height; they come as zeros.
template <class T, class I> GS_INLINE void row_sums(const Run<T, I>& run, T* sums) {
  constexpr int L = Vec<T>::lanes;
  if (run.width >= L) return wide(run, sums);
  if (run.width == 1) return narrow<T, 1>(run, sums);
  if constexpr (L > 4)
    if (run.width == 4) return narrow<T, 4>(run, sums);
  plain(run, 0, sums);
}

struct Job {
  const gs_call* call;
  const void* x;  // contiguous features
};

template <class T, class I> void rows(const Job& job, int64_t r0, int64_t r1) {
  const gs_call& call = *job.call;
  const gs_matrix& w = call.w;
  int64_t active = 0;
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(w, r, active);
    T sums[kTallest] = {};
    row_sums<T, I>({static_cast<const T*>(job.x), static_cast<const I*>(w.cols) + row.first,
                    static_cast<const T*>(w.values) + row.first * w.group * w.tile, row.count, w.group, w.tile}, sums);
    for (int64_t s = 0; s < w.group; ++s) finish<T>(call, r * w.group + s, 0, sums[s]);
  }
}

template <class T> void run_rows(int64_t begin, int64_t end, void* ctx) {
  const Job& job = *static_cast<const Job*>(ctx);
  if (job.call->w.col_bytes == 2) rows<T, uint16_t>(job, begin, end);
  else rows<T, int32_t>(job, begin, end);
}

}  // namespace

template <class T> gs_status block_column(const gs_call& call) {
  const gs_matrix& w = call.w;
  const bool copied = call.x.feature_stride != 1;
  T* room = copied ? static_cast<T*>(gs_scratch(w.n_in * sizeof(T))) : nullptr;
  if (copied && !room) return GS_MEMORY;
  Job job = {&call, column_at<T>(call.x, 0, w.n_in, room)};
  const int64_t items = row_groups(w);
  return gs_run(call.parallel, items, connections(w) * w.group * w.tile / most(1, items) + 8, run_rows<T>, &job);
}

template gs_status block_column<float>(const gs_call& call);
template gs_status block_column<double>(const gs_call& call);

}  // namespace GS_SET
}  // namespace gs
