#include "gather.h"

#include "epilogue.h"
#include "rows.h"

namespace gs {
namespace GS_SET {
namespace {

// One vector of inputs by the processor's gather: it reads what as many scalar loads read, and nothing else.
#if defined(__AVX2__) && GS_VEC_BYTES == 32
constexpr bool kGathers = true;
typedef int32_t mask_of_all __attribute__((vector_size(32)));  // less one: every lane is there
GS_INLINE __m256i eight(const uint16_t* col) { return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(col))); }
GS_INLINE __m256i eight(const int32_t* col) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(col)); }
GS_INLINE __m128i four(const uint16_t* col) { return _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(col))); }
GS_INLINE __m128i four(const int32_t* col) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(col)); }
template <class I> GS_INLINE f32v gathered(const float* x, const I* col) {
  return _mm256_mask_i32gather_ps(f32v{}, x, eight(col), (__m256)(mask_of_all{} - 1), 4);
}
template <class I> GS_INLINE f64v gathered(const double* x, const I* col) {
  return _mm256_mask_i32gather_pd(f64v{}, x, four(col), (__m256d)(mask_of_all{} - 1), 8);
}
#else
constexpr bool kGathers = false;
template <class T, class I> GS_INLINE vec<T> gathered(const T*, const I*) { return {}; }
#endif

// The inputs of L / G connections, each repeated for the G outputs that share it. L lanes are 4 or 8 (2 for f64). H: by a gather.
template <class T, int G, bool H, class I> GS_INLINE vec<T> fetch(const T* x, const I* col) {
  constexpr int L = Vec<T>::lanes;
  if constexpr (H) {
    return gathered(x, col);
  } else if constexpr (G >= L) {
    return splat<T>(x[col[0]]);
  } else if constexpr (G == 1 && L == 8) {
    return vec<T>{x[col[0]], x[col[1]], x[col[2]], x[col[3]], x[col[4]], x[col[5]], x[col[6]], x[col[7]]};
  } else if constexpr (G == 1 && L == 4) {
    return vec<T>{x[col[0]], x[col[1]], x[col[2]], x[col[3]]};
  } else {
    vec<T> v{};
#pragma GCC unroll 8
    for (int i = 0; i < L; ++i) v[i] = x[col[i / G]];
    return v;
  }
}

// The whole vectors of a row: S connections each, P vectors a connection where G is wider than a vector. Returns how many
// connections they hold; sums gets their products, lane by lane, starting from zero.
template <class T, int G> struct Shape {
  static constexpr int L = Vec<T>::lanes;
  static constexpr int S = G >= L ? 1 : L / G;
  static constexpr int P = G > L ? G / L : 1;
};
template <class T, int G, bool H, class W, class I>
GS_INLINE int64_t whole_vectors(const T* x, const I* col, const W* w, int64_t n, vec<T> (&a)[Shape<T, G>::P]) {
  constexpr int L = Shape<T, G>::L, S = Shape<T, G>::S, P = Shape<T, G>::P;
  vec<T> b[P] = {};
  int64_t j = 0;
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) a[p] = vec<T>{};
  for (; j + 2 * S <= n; j += 2 * S) {
    const vec<T> xa = fetch<T, G, H>(x, col + j), xb = fetch<T, G, H>(x, col + j + S);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      a[p] += xa * load_values(w + j * G + p * L);
      b[p] += xb * load_values(w + (j + S) * G + p * L);
    }
  }
  if (j + S <= n) {
    const vec<T> xa = fetch<T, G, H>(x, col + j);
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) a[p] += xa * load_values(w + j * G + p * L);
    j += S;
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) a[p] += b[p];
  return j;
}

// out[g] = sum over the row's connections of w[j * G + g] * x[col[j]], g < G.
template <class T, int G, bool H, class W, class I> GS_INLINE void row_sums(const T* x, const I* col, const W* w, int64_t n, T* out) {
  constexpr int L = Shape<T, G>::L, P = Shape<T, G>::P;
  vec<T> a[P];
  int64_t j = whole_vectors<T, G, H, W, I>(x, col, w, n, a);
  if constexpr (G >= L) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) store<T>(out + p * L, a[p]);
  } else {
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) {
      T total = a[0][g];
#pragma GCC unroll 8
      for (int i = g + G; i < L; i += G) total += a[0][i];
      out[g] = total;
    }
  }
  for (; j < n; ++j)
    for (int g = 0; g < G; ++g) out[g] += widen(w[j * G + g]) * x[col[j]];
}

// row_sums of four rows, their lanes added up together.
template <class T, bool H, class W, class I>
GS_INLINE void four_row_sums(const T* x, const I* cols, const W* values, const Row (&row)[4], T* out) {
  vec<T> s[4];
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    const I* col = cols + row[q].first;
    const W* w = values + row[q].first;
    vec<T> a[1];
    int64_t j = whole_vectors<T, 1, H, W, I>(x, col, w, row[q].count, a);
    T rest = 0;
    for (; j < row[q].count; ++j) rest += widen(w[j]) * x[col[j]];
    s[q] = a[0];
    out[q] = rest;
  }
  add_sums(s, out);
}

// The same where columns have to be decoded first (nm): chunk by chunk.
template <class T, bool H, class W> GS_INLINE void decoded_row(const gs_matrix& w, const T* x, const Row& row, T* out) {
  const W* values = static_cast<const W*>(w.values) + row.first;
  out[0] = 0;
  with_columns(w, row, 0, row.count, [&](const auto* col, int64_t from, int64_t n) {
    T part;
    row_sums<T, 1, H, W>(x, col, values + from, n, &part);
    out[0] += part;
  });
}

struct Job {
  const gs_call* call;
  const void* x;  // contiguous features
  bool gathers;
};

template <class T, class W, int G, bool H> void rows(const gs_call& call, const T* x, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const W* values = static_cast<const W*>(w.values);
  const uint16_t* narrow = static_cast<const uint16_t*>(w.cols);
  int64_t active = first_active(w, r0), r = r0;
  Column<T> out = {call, r0 * G, 0};
  if (G == 1 && w.col_bytes == 2)
    for (; r + 4 <= r1; r += 4) {
      const Row row[4] = {row_at(w, r, active), row_at(w, r + 1, active), row_at(w, r + 2, active),
                          row_at(w, r + 3, active)};
      four_row_sums<T, H, W, uint16_t>(x, narrow, values, row, out.next(4));
    }
  for (; r < r1; ++r) {
    const Row row = row_at(w, r, active);
    T* sums = out.next(G);
    if (w.col_bytes == 2) row_sums<T, G, H, W>(x, narrow + row.first, values + row.first * G, row.count, sums);
    else if (w.col_bytes == 4)
      row_sums<T, G, H, W>(x, static_cast<const int32_t*>(w.cols) + row.first, values + row.first * G, row.count, sums);
    else decoded_row<T, H, W>(w, x, row, sums);
  }
  out.finish();
}

// Items are kQuad row groups each, so that which rows are added up together does not depend on the number of threads.
constexpr int64_t kQuad = 4;

template <class T, class W> void rows(const Job& job, int64_t begin, int64_t end) {
  const T* x = static_cast<const T*>(job.x);
  switch (job.call->w.group) {
    case 1:
      if (kGathers && job.gathers) return rows<T, W, 1, kGathers>(*job.call, x, begin, end);
      return rows<T, W, 1, false>(*job.call, x, begin, end);
    case 2: return rows<T, W, 2, false>(*job.call, x, begin, end);
    case 4: return rows<T, W, 4, false>(*job.call, x, begin, end);
    default: return rows<T, W, 8, false>(*job.call, x, begin, end);
  }
}

template <class T> void run_rows(int64_t first, int64_t last, void* ctx) {
  const Job& job = *static_cast<const Job*>(ctx);
  const int64_t begin = first * kQuad, end = least(row_groups(job.call->w), last * kQuad);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (job.call->w.narrow == GS_I8) return rows<T, int8_t>(job, begin, end);
    if (job.call->w.narrow == GS_BF16) return rows<T, bf16>(job, begin, end);
  }
  rows<T, T>(job, begin, end);
}

}  // namespace

template <class T> gs_status gather_linear(const gs_call& call) {
  const gs_matrix& w = call.w;
  const bool copied = call.x.feature_stride != 1;
  T* room = copied ? static_cast<T*>(gs_scratch(w.n_in * sizeof(T))) : nullptr;
  if (copied && !room) return GS_MEMORY;
  Job job = {&call, column_at<T>(call.x, 0, w.n_in, room), kGathers && w.group == 1 && gs_gathers()};
  const int64_t items = ceil_div(row_groups(w), kQuad);
  return gs_run(call.parallel, items, connections(w) * w.group / most(1, items) + 8, run_rows<T>, &job);
}

void gather_once(const gs_call& call, bool gathers) {
  Job job = {&call, call.x.data, gathers};
  run_rows<float>(0, ceil_div(row_groups(call.w), kQuad), &job);
}

template gs_status gather_linear<float>(const gs_call& call);
template gs_status gather_linear<double>(const gs_call& call);

}  // namespace GS_SET
}  // namespace gs
