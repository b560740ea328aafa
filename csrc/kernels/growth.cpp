// Growth: the best free units of a tile of gradient rows. Every row is scored and searched while it is in cache; rows are
// split among threads, and what is chosen does not depend on the split.
#include "kernels.h"
#include "outer.h"
#include "small_buckets.h"
#include "topk.h"

namespace gs {
namespace GS_SET {
namespace {

// One worker's room: candidates of a bucket of n.
template <class T> struct Room {
  T* scores;       // [n]
  T* some;         // [n / 4]
  int32_t* index;  // [n]
};

GS_INLINE float largest_lane(f32x4 v) {
  f32x4 w = __builtin_shufflevector(v, v, 2, 3, 0, 1);
  v = v > w ? v : w;
  w = __builtin_shufflevector(v, v, 1, 0, 3, 2);
  v = v > w ? v : w;
  return v[0];
}
#if GS_VEC_BYTES >= 32
GS_INLINE float largest_lane(f32x8 v) {
  const f32x4 a = __builtin_shufflevector(v, v, 0, 1, 2, 3), b = __builtin_shufflevector(v, v, 4, 5, 6, 7);
  return largest_lane(a > b ? a : b);
}
#endif
#if GS_VEC_BYTES >= 64
GS_INLINE float largest_lane(f32v v) {
  const f32x8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const f32x8 b = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return largest_lane(a > b ? a : b);
}
#endif
GS_INLINE double largest_lane(f64v v) {
  double largest = v[0];
  for (int i = 1; i < Vec<double>::lanes; ++i) largest = v[i] > largest ? v[i] : largest;
  return largest;
}

// The first place of the largest of n scores, at least a vector of them.
template <class T> GS_INLINE int64_t first_largest(const T* s, int64_t n) {
  constexpr int64_t lanes = Vec<T>::lanes;
  int64_t best = 0;
  vec<T> top = load<T>(s);
  for (int64_t i = lanes; i < n; i += lanes) {  // the last vector may overlap the one before
    const vec<T> v = load<T>(s + least(i, n - lanes));
    top = v > top ? v : top;
  }
  const T largest = largest_lane(top);
  for (;; best = least(best + lanes, n - lanes))
    if (const unsigned set = set_of<T>(load<T>(s + best) == splat<T>(largest))) return best + __builtin_ctz(set);
}

constexpr double kBelowAll = -0.5;  // below every score, above the mark of what is taken

// A floor that about k scores exceed, a few more rather than fewer, from every sixteenth vector; below all in a short row.
template <class T> T likely_floor(const T* s, int64_t n, int64_t k, T* room) {
  constexpr int64_t lanes = Vec<T>::lanes;
  int64_t m = 0;
  for (int64_t i = 0; i + lanes <= n; i += 16 * lanes, m += lanes) store<T>(room + m, relu<T>(load<T>(s + i)));
  const double expected = static_cast<double>(k) * static_cast<double>(m) / static_cast<double>(n);
  const int64_t rank = static_cast<int64_t>(expected + 2.5 * __builtin_sqrt(expected) + 2);
  const T likely = m < 64 || rank > m / 2 ? 0 : about_kth_largest<T>(room, m, rank);
  return likely > 0 ? likely * static_cast<T>(1 - 1.0 / 64) : static_cast<T>(kBelowAll);  // its equals are wanted too
}

// The k best of a bucket of n scores, ascending, as base + index; false where fewer than k are free.
template <class T> bool best_of(T* s, int64_t n, int64_t k, int64_t base, const Room<T>& room, int64_t* chosen) {
  T floor = likely_floor<T>(s, n, k, room.scores);
  int64_t found = collect<T, int32_t>(s, n, floor, 0, room.scores, room.index);
  if (found < k) found = collect<T, int32_t>(s, n, static_cast<T>(kBelowAll), 0, room.scores, room.index);
  if (found < k) return false;
  keep_best<T, int32_t>(room.scores, room.index, found, k, kth_largest<T>(room.scores, found, k, room.some));
  for (int64_t i = 0; i < k; ++i) chosen[i] = base + room.index[i];
  return true;
}

// The same where few are chosen, one at a time; ascending order by insertion.
template <class T> bool best_of_few(T* s, int64_t n, int64_t k, int64_t base, int64_t* chosen) {
  for (int64_t j = 0; j < k; ++j) {
    const int64_t best = first_largest<T>(s, n);
    if (s[best] < 0) return false;
    s[best] = -1;
    int64_t at = j;
    for (; at > 0 && chosen[at - 1] > base + best; --at) chosen[at] = chosen[at - 1];
    chosen[at] = base + best;
  }
  return true;
}

struct Buckets {
  const gs_scores* tile;
  int64_t bucket;
  const int64_t* want;
  int64_t* chosen;
  gs_status status;
};

template <class T> GS_INLINE bool best(T* s, int64_t n, int64_t k, int64_t base, const Room<T>& room, int64_t* chosen) {
  // One at a time where that costs less than candidates and counters do.
  return k <= 3 ? best_of_few<T>(s, n, k, base, chosen) : best_of<T>(s, n, k, base, room, chosen);
}

// The choice in all buckets of a row, and where the next row's goes; false where fewer are free than wanted.
template <class T>
bool best_of_row(T* s, int64_t buckets, int64_t n, const int64_t* want, int64_t base, const Room<T>& room, int64_t** chosen) {
  if (n <= kSmall) return best_of_small<T>(s, buckets, n, want, base, room.scores, chosen);
  for (int64_t b = 0; b < buckets; ++b) {
    if (want[b] && !best<T>(s + b * n, n, want[b], base + b * n, room, *chosen)) return false;
    *chosen += want[b];
  }
  return true;
}

template <class T> gs_status rows_of_buckets(const Buckets& job, int64_t r0, int64_t r1) {
  const gs_scores& tile = *job.tile;
  const int64_t n = job.bucket, in_row = tile.cols / n, size = sizeof(T);
  Rows<T> rows(tile);
  const int64_t room_for = n <= kSmall ? n * Vec<T>::lanes : n;
  char* scratch = static_cast<char*>(gs_scratch(static_cast<size_t>(rows.bytes() + room_for * (size + 4) + n / 4 * size)));
  if (!scratch) return GS_MEMORY;
  rows.use(scratch);
  scratch += rows.bytes();
  T* scores = reinterpret_cast<T*>(scratch);
  const Room<T> room = {scores, scores + n, reinterpret_cast<int32_t*>(scores + n + n / 4)};
  int64_t* chosen = job.chosen;
  for (int64_t b = 0; b < r0 * in_row; ++b) chosen += job.want[b];
  const int64_t* want = job.want + r0 * in_row;
  int64_t taken = taken_below(tile, tile.first + r0 * tile.cols);
  for (int64_t r = r0; r < r1; ++r, want += in_row) {
    T* s = rows.at(r, r1);
    const gs_status status = rows.finite ? make_scores<T>(tile, r, s, rows.stride, &taken) : GS_NOT_FINITE;
    if (status != GS_OK) return status;
    if (!best_of_row<T>(s, in_row, n, want, tile.first + r * tile.cols, room, &chosen)) return GS_SIZE;
  }
  return GS_OK;
}

struct Above {
  const gs_scores* tile;
  double floor;
  void* scores;
  int64_t* positions;
  int64_t* found;  // [rows]: what a worker found, at its first row
  gs_status status;
};

// What rows r0 .. r1 find goes where the first of their own units would: workers do not wait for each other.
template <class T> gs_status rows_above(const Above& job, int64_t r0, int64_t r1) {
  const gs_scores& tile = *job.tile;
  T* scores = static_cast<T*>(job.scores) + r0 * tile.cols;
  int64_t* positions = job.positions + r0 * tile.cols;
  Rows<T> rows(tile);
  if (rows.bytes()) {
    char* room = static_cast<char*>(gs_scratch(static_cast<size_t>(rows.bytes())));
    if (!room) return GS_MEMORY;
    rows.use(room);
  }
  int64_t n = 0, taken = taken_below(tile, tile.first + r0 * tile.cols);
  for (int64_t r = r0; r < r1; ++r) {
    T* s = rows.at(r, r1);
    const gs_status status = rows.finite ? make_scores<T>(tile, r, s, rows.stride, &taken) : GS_NOT_FINITE;
    if (status != GS_OK) return status;
    const int64_t first = tile.first + r * tile.cols;
    n += collect<T, int64_t>(s, tile.cols, static_cast<T>(job.floor), first, scores + n, positions + n);
    job.found[r] = 0;
  }
  job.found[r0] = n;
  return GS_OK;
}

template <class Job, gs_status (*rows)(const Job&, int64_t, int64_t)> void run_rows(int64_t begin, int64_t end, void* ctx) {
  Job& job = *static_cast<Job*>(ctx);
  const gs_status status = rows(job, begin, end);
  if (status != GS_OK) __atomic_store_n(&job.status, status, __ATOMIC_RELAXED);
}

template <class Job, gs_status (*rows)(const Job&, int64_t, int64_t)> gs_status run(Job& job) {
  const gs_scores& tile = *job.tile;
  // A score costs a few multiply-adds, and those it is made of.
  const int64_t cost = (4 + (tile.gradient ? 0 : tile.batch)) * tile.cols * tile.h * tile.w;
  const gs_status status = gs_run(tile.parallel, tile.rows, cost, run_rows<Job, rows>, &job);
  return status != GS_OK ? status : job.status;
}

template <class T> gs_status grow_in_buckets(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen) {
  Buckets job = {tile, bucket, want, chosen, GS_OK};
  return run<Buckets, rows_of_buckets<T>>(job);
}

template <class T>
gs_status grow_above(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t* counts, int64_t* found) {
  Above job = {tile, floor, scores, positions, counts, GS_OK};
  const gs_status status = run<Above, rows_above<T>>(job);
  if (status != GS_OK) return status;
  T* s = static_cast<T*>(scores);
  int64_t n = 0;
  for (int64_t r = 0; r < tile->rows; n += counts[r++]) {
    __builtin_memmove(s + n, s + r * tile->cols, static_cast<size_t>(counts[r]) * sizeof(T));
    __builtin_memmove(positions + n, positions + r * tile->cols, static_cast<size_t>(counts[r]) * sizeof(int64_t));
  }
  *found = n;
  return GS_OK;
}

template <class T> gs_status grow_best(void* scores, int64_t* positions, int64_t n, int64_t k, double* least) {
  T *s = static_cast<T*>(scores), *room = static_cast<T*>(gs_scratch(static_cast<size_t>(n / 4) * sizeof(T)));
  if (!room) return GS_MEMORY;
  const T kth = k ? kth_largest<T>(s, n, k, room) : 0;
  keep_best<T, int64_t>(s, positions, n, k, kth);
  *least = static_cast<double>(kth);
  return GS_OK;
}

}  // namespace

gs_status grow_in_buckets_f32(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen) {
  return grow_in_buckets<float>(tile, bucket, want, chosen);
}
gs_status grow_in_buckets_f64(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen) {
  return grow_in_buckets<double>(tile, bucket, want, chosen);
}

gs_status grow_above_f32(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t* counts, int64_t* found) {
  return grow_above<float>(tile, floor, scores, positions, counts, found);
}
gs_status grow_above_f64(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t* counts, int64_t* found) {
  return grow_above<double>(tile, floor, scores, positions, counts, found);
}

gs_status grow_best_f32(void* scores, int64_t* positions, int64_t n, int64_t k, double* least) {
  return grow_best<float>(scores, positions, n, k, least);
}
gs_status grow_best_f64(void* scores, int64_t* positions, int64_t n, int64_t k, double* least) {
  return grow_best<double>(scores, positions, n, k, least);
}

}  // namespace GS_SET
}  // namespace gs
