// A dense layer inside a chain: small and honest. Batch 1: row dot products. Batches: 4 rows x 2 vectors in registers
// over a packed tile. A vendor library is used elsewhere when dense wins by much. Forward, f32 only; narrow values are widened
// in registers (batch 1), or four rows of a block of features at a time.
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int L = Vec<float>::lanes;
constexpr int kRows = 4;
constexpr int kVectors = 2;  // batch tile
constexpr int64_t kBlockBytes = 64 * 1024;

// The first n < L stored values as numbers, zeros after them.
GS_INLINE vec<float> load_values_part(const float* p, int64_t n) { return load_part<float>(p, n); }
template <class W> GS_INLINE vec<float> load_values_part(const W* p, int64_t n) {
  vec<float> v{};
  for (int64_t i = 0; i < n; ++i) v[i] = widen(p[i]);
  return v;
}

// Four rows from r (rows past the last are repeated and not stored) times one column of contiguous features.
template <class W> void four_rows(const gs_call& call, int64_t r, int64_t count) {
  const int64_t n = call.w.n_in;
  const float* x = static_cast<const float*>(call.x.data);
  const W* w[kRows];
  for (int q = 0; q < kRows; ++q) w[q] = static_cast<const W*>(call.w.values) + (r + least(q, count - 1)) * n;
  vec<float> s[kRows] = {};
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    const vec<float> v = load<float>(x + i);
#pragma GCC unroll 4
    for (int q = 0; q < kRows; ++q) s[q] += v * load_values(w[q] + i);
  }
  const vec<float> v = load_part<float>(x + i, n - i);
  if (i < n)
    for (int q = 0; q < kRows; ++q) s[q] += v * load_values_part(w[q] + i, n - i);
  float y[4] = {};
  add_sums(s, y);
  finish_column<float>(call, r, count, 0, y);
}

// Features begin .. end of one row: where they are stored, or widened into `room`.
GS_INLINE const float* row_part(const gs_matrix& w, int64_t row, int64_t begin, int64_t end, float* room) {
  const int64_t first = row * w.n_in + begin;
  if (!w.narrow) return static_cast<const float*>(w.values) + first;
  if (w.narrow == GS_I8) widen_all<int8_t>(w.values, first, end - begin, room);
  else widen_all<bf16>(w.values, first, end - begin, room);
  return room;
}

// Features begin .. end of four rows times a packed tile of V vectors; partial sums live in the output between blocks.
// `room` is for the four rows where their values are narrow.
template <int V>
void rows_by_tile(const gs_call& call, const Tile& tile, const float* packed, int64_t begin, int64_t end, int64_t r,
                  int64_t count, float* room) {
  const float* scale = scales<float>(call.w);
  const float* w[kRows];
  float* out = static_cast<float*>(call.out) + r * call.out_stride + tile.begin;
  vec<float> acc[kRows][V] = {};
  for (int q = 0; q < kRows; ++q) {
    w[q] = q < count ? row_part(call.w, r + q, begin, end, room + q * (end - begin)) : w[0];
    if (begin && q < count) load_row<float, V>(out + q * call.out_stride, tile.size, acc[q]);
  }
  for (int64_t i = 0; i < end - begin; ++i, packed += V * L) {
#pragma GCC unroll 4
    for (int q = 0; q < kRows; ++q) {
      const vec<float> s = splat<float>(w[q][i]);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) acc[q][v] += s * load<float>(packed + v * L);
    }
  }
  for (int q = 0; q < count; ++q) {
    if (end == call.w.n_in) {
      for (int v = 0; scale && v < V; ++v) acc[q][v] *= splat<float>(scale[r + q]);
      for (int v = 0; call.bias && v < V; ++v) acc[q][v] += splat<float>(static_cast<const float*>(call.bias)[r + q]);
      finish_row<float, V>(call, tile, r + q, acc[q]);
    }
    store_row<float, V>(out + q * call.out_stride, tile.size, acc[q]);
  }
}

gs_status tile_rows(const gs_call& call, const Tile& tile, int64_t r0, int64_t r1) {
  const int64_t n = call.w.n_in, bytes = tile.vectors * L * 4, features = even_blocks(n, kBlockBytes / bytes, 1);
  const int64_t widened = call.w.narrow ? features * kRows : 0;
  float* packed = static_cast<float*>(gs_scratch(features * bytes + widened * 4));
  if (!packed) return GS_MEMORY;
  float* room = packed + features * bytes / 4;
  int64_t begin = 0;
  do {
    const int64_t end = least(n, begin + features);
    pack_tile<float>(call.x, begin, end, tile, packed);
    for (int64_t r = r0; r < r1; r += kRows) {
      const int64_t count = least(kRows, r1 - r);
      if (tile.vectors == 1) rows_by_tile<1>(call, tile, packed, begin, end, r, count, room);
      else rows_by_tile<2>(call, tile, packed, begin, end, r, count, room);
    }
    begin = end;
  } while (begin < n);
  return GS_OK;
}

void rows_by_column(const gs_call& call, int64_t r0, int64_t r1) {
  for (int64_t r = r0; r < r1; r += kRows) {
    const int64_t count = least(kRows, r1 - r);
    if (call.w.narrow == GS_I8) four_rows<int8_t>(call, r, count);
    else if (call.w.narrow == GS_BF16) four_rows<bf16>(call, r, count);
    else four_rows<float>(call, r, count);
  }
}

// Items are (batch tile, four rows) pairs, tile outermost.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const int64_t quads = ceil_div(call.w.n_out, kRows);
  while (begin < end) {
    const int64_t t = begin / quads, q0 = begin % quads, q1 = least(quads, q0 + (end - begin));
    const int64_t r1 = least(call.w.n_out, q1 * kRows);
    gs_status status = GS_OK;
    if (call.batch == 1 && call.x.feature_stride == 1)
      rows_by_column(call, q0 * kRows, r1);
    else
      status = tile_rows(call, tile_at<float>(t, call.batch, kVectors), q0 * kRows, r1);
    if (status != GS_OK) return status;
    begin += q1 - q0;
  }
  return GS_OK;
}

}  // namespace

gs_status dense_f32(const gs_call* call) {
  const int64_t width = least(call->batch, kVectors * L), tiles = tile_count<float>(call->batch, kVectors);
  return for_items(*call, tiles * ceil_div(call->w.n_out, kRows), (call->w.n_in + 8) * kRows * width,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
