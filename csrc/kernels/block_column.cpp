#include "block_column.h"

#include "block.h"
#include "epilogue.h"

namespace gs {
namespace GS_SET {
namespace {

// The blocks of one block row; W is what values are stored as.
template <class T, class W, class I> struct Run {
  const T* x;  // contiguous features
  const I* col;
  const W* w;
  int64_t n, height, width;
};

// Adds the lanes of each of S vectors.
template <class T, int S> GS_INLINE void add_lanes(const vec<T> (&v)[S], T* sums) {
  if constexpr (S == 4) return add_sums(v, sums);
  vec<T> four[4] = {};
  T totals[4] = {};
#pragma GCC unroll 4
  for (int s = 0; s < S; ++s) four[s] = v[s];
  add_sums(four, totals);
  for (int s = 0; s < S; ++s) sums[s] += totals[s];
}

// Wide blocks: acc[s] += lanes of w[s * width ..] . x[..] for S rows of one block; rest[s] gets what fills no vector.
template <class T, int S, class W>
GS_INLINE void one_block(const T* x, const W* w, int64_t width, vec<T> (&acc)[S], T (&rest)[S]) {
  constexpr int64_t L = Vec<T>::lanes;
  int64_t c = 0;
#pragma GCC unroll 4
  for (; c + L <= width; c += L) {
    const vec<T> y = load<T>(x + c);
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) acc[s] += y * load_values(w + s * width + c);
  }
  for (; c < width; ++c)
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) rest[s] += x[c] * widen(w[s * width + c]);
}

// sums[s] of S rows from row `top`. C blocks run side by side where one has too few additions to hide their latency. `Width`
// is that of the blocks, or 0 for any.
template <class T, int Width, int S, class W, class I> GS_INLINE void wide_strip(const Run<T, W, I>& run, int64_t top, T* sums) {
  constexpr int C = 8 / S;
  const int64_t width = Width ? Width : run.width, block = run.height * width;
  const W* w = run.w + top * width;
  vec<T> acc[C][S] = {};
  T rest[S] = {};
  int64_t j = 0;
  for (; j + C <= run.n; j += C, w += C * block)
#pragma GCC unroll 8
    for (int k = 0; k < C; ++k) one_block<T, S>(run.x + run.col[j + k] * width, w + k * block, width, acc[k], rest);
  for (; j < run.n; ++j, w += block) one_block<T, S>(run.x + run.col[j] * width, w, width, acc[0], rest);
#pragma GCC unroll 8
  for (int k = 1; k < C; ++k)
#pragma GCC unroll 4
    for (int s = 0; s < S; ++s) acc[0][s] += acc[k][s];
  add_lanes<T, S>(acc[0], sums);
  for (int s = 0; s < S; ++s) sums[s] += rest[s];
}

template <class T, int Width, class W, class I> void wide(const Run<T, W, I>& run, T* sums) {
  int64_t s = 0;
  for (; s + 4 <= run.height; s += 4) wide_strip<T, Width, 4>(run, s, sums + s);
  for (; s + 2 <= run.height; s += 2) wide_strip<T, Width, 2>(run, s, sums + s);
  for (; s < run.height; ++s) wide_strip<T, Width, 1>(run, s, sums + s);
}

// Four numbers over and over.
template <class T> GS_INLINE vec<T> four_times(const T* p) {
  typedef T quad __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  const quad q = *reinterpret_cast<const quad*>(p);
  return __builtin_shufflevector(q, q, 0, 1, 2, 3, 0, 1, 2, 3);
}

// N inputs, 1 or 4, over and over.
template <class T, int N> GS_INLINE vec<T> repeated(const T* p) {
  if constexpr (N == 1) return splat<T>(p[0]);
  else return four_times<T>(p);
}

// The inputs of the blocks whose M members each fill a vector together: of one block where M is a vector.
template <class T, int N, int M, class I> GS_INLINE vec<T> inputs(const T* x, const I* col) {
  vec<T> v = repeated<T, N>(x + int64_t(col[0]) * N);
#pragma GCC unroll 8
  for (int b = 1; b < Vec<T>::lanes / M; ++b) {
    decltype(v < v) mine{};
#pragma GCC unroll 16
    for (int i = 0; i < Vec<T>::lanes; ++i) mine[i] = i / M == b ? -1 : 0;
    v = mine ? repeated<T, N>(x + int64_t(col[b]) * N) : v;
  }
  return v;
}

// Blocks narrower than a vector, which holds whole rows of them: P vectors of every block, from vector `first` on.
template <class T, int N, int P, class W, class I> GS_INLINE void tall_strip(const Run<T, W, I>& run, int64_t first, T* sums) {
  constexpr int L = Vec<T>::lanes, C = 4 / P;
  const int64_t block = run.height * N;
  const W* w = run.w + first * L;
  vec<T> acc[C][P] = {};
  int64_t j = 0;
  for (; j + C <= run.n; j += C, w += C * block)
#pragma GCC unroll 4
    for (int k = 0; k < C; ++k) {
      const vec<T> y = inputs<T, N, L>(run.x, run.col + j + k);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) acc[k][p] += y * load_values(w + k * block + p * L);
    }
  for (; C > 1 && j < run.n; ++j, w += block) {
    const vec<T> y = inputs<T, N, L>(run.x, run.col + j);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) acc[0][p] += y * load_values(w + p * L);
  }
  for (int p = 0; p < P; ++p) {
    vec<T> all = acc[0][p];
    for (int k = 1; k < C; ++k) all += acc[k][p];
    for (int i = 0; i < L; ++i) sums[(first + p) * (L / N) + i / N] += all[i];
  }
}

// Any blocks, one product after the other.
template <class T, class W, class I> GS_INLINE void plain(const Run<T, W, I>& run, int64_t from, T* sums) {
  const W* w = run.w + from * run.height * run.width;
  for (int64_t j = from; j < run.n; ++j)
    for (int64_t s = 0; s < run.height; ++s)
      for (int64_t c = 0; c < run.width; ++c) sums[s] += widen(*w++) * run.x[run.col[j] * run.width + c];
}

// Blocks of M members, several in a vector.
template <class T, int N, int M, class W, class I> GS_INLINE void small(const Run<T, W, I>& run, T* sums) {
  constexpr int L = Vec<T>::lanes, B = L / M;
  vec<T> a{}, b{};
  int64_t j = 0;
  for (; j + 2 * B <= run.n; j += 2 * B) {
    a += inputs<T, N, M>(run.x, run.col + j) * load_values(run.w + j * M);
    b += inputs<T, N, M>(run.x, run.col + j + B) * load_values(run.w + (j + B) * M);
  }
  a += b;
  for (int i = 0; i < L; ++i) sums[i % M / N] += a[i];
  plain(run, j, sums);
}

// Blocks of width N, 1 or 4, which divides a vector.
template <class T, int N, class W, class I> void narrow(const Run<T, W, I>& run, T* sums) {
  constexpr int L = Vec<T>::lanes;
  const int64_t members = run.height * N;
  if (members % L == 0) {
    int64_t p = 0;
    for (; p + 4 <= members / L; p += 4) tall_strip<T, N, 4>(run, p, sums);
    for (; p + 2 <= members / L; p += 2) tall_strip<T, N, 2>(run, p, sums);
    for (; p < members / L; ++p) tall_strip<T, N, 1>(run, p, sums);
    return;
  }
  if constexpr (L / 2 >= N)
    if (members == L / 2) return small<T, N, L / 2>(run, sums);
  if constexpr (L / 4 >= N)
    if (members == L / 4) return small<T, N, L / 4>(run, sums);
  plain(run, 0, sums);
}

// sums[s] = of row s of the block row, s < height; they come as zeros.
template <class T, class W, class I> GS_INLINE void row_sums(const Run<T, W, I>& run, T* sums) {
  constexpr int L = Vec<T>::lanes;
  if (run.width == 8 && L <= 8) return wide<T, 8>(run, sums);
  if (run.width == 16) return wide<T, 16>(run, sums);
  if (run.width == 32) return wide<T, 32>(run, sums);
  if (run.width >= L) return wide<T, 0>(run, sums);
  if (run.width == 1) return narrow<T, 1>(run, sums);
  if constexpr (L > 4)
    if (run.width == 4) return narrow<T, 4>(run, sums);
  plain(run, 0, sums);
}

struct Job {
  const gs_call* call;
  const void* x;  // contiguous features
};

template <class T, class W, class I> void rows(const Job& job, int64_t r0, int64_t r1) {
  const gs_call& call = *job.call;
  const gs_matrix& w = call.w;
  int64_t active = first_active(w, r0);
  Column<T> out = {call, r0 * w.group, 0};
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(w, r, active);
    T* sums = out.next(w.group);
    for (int64_t s = 0; s < w.group; ++s) sums[s] = 0;
    row_sums<T, W, I>({static_cast<const T*>(job.x), static_cast<const I*>(w.cols) + row.first,
                    static_cast<const W*>(w.values) + row.first * w.group * w.tile, row.count, w.group, w.tile}, sums);
  }
  out.finish();
}

template <class T, class W> void rows(const Job& job, int64_t r0, int64_t r1) {
  if (job.call->w.col_bytes == 2) rows<T, W, uint16_t>(job, r0, r1);
  else rows<T, W, int32_t>(job, r0, r1);
}

template <class T> void run_rows(int64_t begin, int64_t end, void* ctx) {
  const Job& job = *static_cast<const Job*>(ctx);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (job.call->w.narrow == GS_I8) return rows<T, int8_t>(job, begin, end);
    if (job.call->w.narrow == GS_BF16) return rows<T, bf16>(job, begin, end);
  }
  rows<T, T>(job, begin, end);
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
