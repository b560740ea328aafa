// Gradients of products of tiles, on the matrix unit: W^T grad, and the gradient of every stored value. Factors are rounded to
// bfloat16, sums are float32.
#include "tiles.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kHalf = 8;            // pairs of outputs of a tile of weights
constexpr int64_t kMostSteps = 32;  // of 32 batch columns whose factors are packed at a time

int64_t pointer_at(const gs_matrix& w, int64_t i) {
  return w.row_bytes == 8 ? static_cast<const int64_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
}
int64_t column_at(const gs_matrix& w, int64_t i) {
  return w.col_bytes == 2 ? static_cast<const uint16_t*>(w.cols)[i] : static_cast<const int32_t*>(w.cols)[i];
}

// --- W^T grad -----------------------------------------------------------------------------------------------------------

// The tiles of weights by columns, in a column by rows, turned around: two left factors [16 inputs][8 pairs of outputs] each.
struct Columns {
  int64_t* starts;  // [columns of tiles + 1]
  int32_t* rows;    // of each tile, its row of tiles
  uint32_t* turned; // [tiles][2][16][8] words
};

void turn(const uint16_t* tile, uint32_t* out) {
  for (int half = 0; half < 2; ++half) {
    u32x16 w[kSide] = {};
    for (int pair = 0; pair < kHalf; ++pair)
      w[pair] = words_of(tile + 2 * pair * kSteps + half * kSide, tile + (2 * pair + 1) * kSteps + half * kSide);
    transpose_words(w);
    for (int i = 0; i < kSide; ++i) __builtin_memcpy(out + (half * kSide + i) * kHalf, &w[i], kHalf * 4);
  }
}

// A counting sort; `starts` ends one further on while it counts.
void by_columns(const gs_matrix& w, int64_t tiles, int64_t columns, const Columns& to) {
  for (int64_t c = 0; c <= columns; ++c) to.starts[c] = 0;
  for (int64_t i = 0; i < tiles; ++i) ++to.starts[column_at(w, i) + 1];
  for (int64_t c = 0; c < columns; ++c) to.starts[c + 1] += to.starts[c];
  for (int64_t r = 0; r < ceil_div(w.n_out, kSide); ++r)
    for (int64_t i = pointer_at(w, r); i < pointer_at(w, r + 1); ++i) {
      const int64_t place = to.starts[column_at(w, i)]++;
      to.rows[place] = static_cast<int32_t>(r);
      turn(static_cast<const uint16_t*>(w.values) + i * (kSide * kSteps), to.turned + place * kWords);
    }
  for (int64_t c = columns; c > 0; --c) to.starts[c] = to.starts[c - 1];
  to.starts[0] = 0;
}

constexpr int64_t kNarrowTiles = 3;  // of batch columns: their sums of 32 inputs fill the unit

// out [32 inputs of column c] of a chunk.
template <int tiles> void one_column(const gs_call& call, Unit& unit, const Chunk& chunk, const Columns& by, const uint32_t* words, int64_t c) {
  constexpr int width = tiles * kSide;
  alignas(64) float sums[2 * kSide * width];
  each<2 * tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  for (int64_t i = by.starts[c]; i < by.starts[c + 1]; ++i) {
    const int64_t r = by.rows[i];
    const uint32_t* grad = words + r / 2 * (tiles * kWords) + r % 2 * (kHalf * kSide);
    each<tiles>([&](auto t) GS_INLINE_LAMBDA {
      unit.template load<7>(grad + t * kWords, 64);
      each<2>([&](auto half) GS_INLINE_LAMBDA {
        unit.template load<6>(by.turned + i * kWords + half * (kSide * kHalf), kHalf * 4);
        unit.template bf16<half * tiles + t>();
      });
    });
  }
  float* out = static_cast<float*>(call.out) + c * kSteps * call.out_stride + chunk.begin;
  const int64_t there = least(kSteps, call.w.n_in - c * kSteps), whole = there == kSteps && chunk.size == width;
  float* to = whole ? out : sums;
  const int64_t stride = whole ? call.out_stride : width;
  each<2 * tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(to + t / tiles * (kSide * stride) + t % tiles * kSide, stride * 4); });
  for (int64_t i = 0; !whole && i < there; ++i)
    __builtin_memcpy(out + i * call.out_stride, sums + i * width, static_cast<size_t>(chunk.size) * sizeof(float));
}

Chunk narrow_chunk(int64_t i, int64_t batch) {
  const int64_t begin = i * kNarrowTiles * kSide, size = least(kNarrowTiles * kSide, batch - begin);
  return {begin, size, static_cast<int>(ceil_div(size, kSide))};
}

// Items are (chunk of the batch, column of tiles) pairs, chunks outermost.
gs_status input_items(const gs_call& call, const Columns& by, int64_t begin, int64_t end) {
  const int64_t count = ceil_div(call.w.n_in, kSteps);
  void* room = gs_scratch(static_cast<size_t>(ceil_div(call.w.n_out, kSteps) * kNarrowTiles * kTileBytes));
  if (!room) return GS_MEMORY;
  uint32_t* words = static_cast<uint32_t*>(room);
  Unit unit(kHalf);
  while (begin < end) {
    const Chunk chunk = narrow_chunk(begin / count, call.batch);
    const int64_t c0 = begin % count, c1 = least(count, c0 + (end - begin));
    if (call.grad.feature_stride == 1) pack_samples(call.grad, call.w.n_out, chunk, words);
    else pack_features<float>(call.grad, call.w.n_out, chunk, words);
    for (int64_t c = c0; c < c1; ++c) {
      if (chunk.tiles == 1) one_column<1>(call, unit, chunk, by, words, c);
      else if (chunk.tiles == 2) one_column<2>(call, unit, chunk, by, words, c);
      else one_column<3>(call, unit, chunk, by, words, c);
    }
    begin += c1 - c0;
  }
  return GS_OK;
}

// --- gradient of values --------------------------------------------------------------------------------------------------

// 32 batch columns from `first` on of 16 features from `feature` on, as words of two neighbouring columns: [16 features][16 words].
void words_of_features(const gs_panel& x, int64_t features, int64_t feature, int64_t first, int64_t there, u32x16 (&w)[kSide]) {
  const float* from = static_cast<const float*>(x.data) + feature * x.feature_stride + first * x.batch_stride;
  for (int64_t i = 0; i < kSide; ++i) {
    float room[kSteps] = {};
    const bool is = feature + i < features;
    if (is && there < kSteps) __builtin_memcpy(room, from + i * x.feature_stride, static_cast<size_t>(there) * sizeof(float));
    w[i] = words_of_neighbours(is && there == kSteps ? from + i * x.feature_stride : room);
  }
}

// The same of batch-major memory, turned around: [16 words][16 features].
void words_of_samples(const gs_panel& x, int64_t features, int64_t feature, int64_t first, int64_t there, u32x16 (&w)[kSide]) {
  const float* from = static_cast<const float*>(x.data) + feature * x.feature_stride + first * x.batch_stride;
  const int64_t n = least(kSide, features - feature);
  for (int64_t pair = 0; pair < kSide; ++pair) {
    float room[2][kSide] = {};
    const float* two[2];
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t s = 2 * pair + i;
      if (s < there && n < kSide) __builtin_memcpy(room[i], from + s * x.batch_stride, static_cast<size_t>(n) * sizeof(float));
      two[i] = s < there && n == kSide ? from + s * x.batch_stride : room[i];
    }
    w[pair] = pair_words(two[0], two[1]);
  }
}

// Factors [ceil(features / 16)][steps][16][16] words of `steps` times 32 batch columns from `begin` on: left ones have a feature a
// row, right ones a pair of columns.
void pack_columns(const gs_panel& x, int64_t features, int64_t begin, int64_t end, int64_t steps, bool right, uint32_t* words) {
  const bool by_sample = x.feature_stride == 1;
  const int64_t groups = ceil_div(features, kSide);
  for (int64_t i = 0; i < groups * steps; ++i) {  // along what is contiguous
    const int64_t group = by_sample ? i % groups : i / steps, step = by_sample ? i / groups : i % steps;
    const int64_t first = begin + step * kSteps, there = least(kSteps, end - first);
    u32x16 w[kSide];
    if (by_sample) words_of_samples(x, features, group * kSide, first, there, w);
    else words_of_features(x, features, group * kSide, first, there, w);
    if (by_sample != right) transpose_words(w);
    uint32_t* to = words + (group * steps + step) * kWords;
    for (int k = 0; k < kSide; ++k) store_words(to + k * kSide, w[k]);
  }
}

// Gradients of `n` <= 3 tiles of a row, each [16][32], added to what is there unless they are the first.
template <int n> void some_tiles(const gs_matrix& w, Unit& unit, const uint32_t* grad, const uint32_t* x, int64_t steps, int64_t i, bool first, float* out) {
  const uint32_t* inputs[n];
  for (int k = 0; k < n; ++k) inputs[k] = x + column_at(w, i + k) * 2 * steps * kWords;
  each<2 * n>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  for (int64_t step = 0; step < steps; ++step) {
    unit.template load<6>(grad + step * kWords, 64);
    each<2 * n>([&](auto t) GS_INLINE_LAMBDA {
      unit.template load<7>(inputs[t / 2] + (t % 2 * steps + step) * kWords, 64);
      unit.template bf16<t>();
    });
  }
  alignas(64) float sums[kSide * kSteps];
  each<n>([&](auto k) GS_INLINE_LAMBDA {
    float* to = out + (i + k) * (kSide * kSteps);
    if (first) {
      unit.template store<2 * k>(to, kSteps * 4);
      unit.template store<2 * k + 1>(to + kSide, kSteps * 4);
    } else {
      unit.template store<2 * k>(sums, kSteps * 4);
      unit.template store<2 * k + 1>(sums + kSide, kSteps * 4);
      for (int64_t e = 0; e < kSide * kSteps; ++e) to[e] += sums[e];
    }
  });
}

// Items are rows of tiles.
gs_status value_items(const gs_call& call, const uint32_t* grad, const uint32_t* x, int64_t steps, bool first, int64_t r0, int64_t r1) {
  float* out = static_cast<float*>(call.out);
  Unit unit;
  for (int64_t r = r0; r < r1; ++r) {
    const uint32_t* left = grad + r * steps * kWords;
    int64_t i = pointer_at(call.w, r);
    const int64_t end = pointer_at(call.w, r + 1);
    for (; i + 3 <= end; i += 3) some_tiles<3>(call.w, unit, left, x, steps, i, first, out);
    if (end - i == 2) some_tiles<2>(call.w, unit, left, x, steps, i, first, out);
    if (end - i == 1) some_tiles<1>(call.w, unit, left, x, steps, i, first, out);
  }
  return GS_OK;
}

int64_t tiles_of(const gs_matrix& w) { return pointer_at(w, ceil_div(w.n_out, kSide)); }

}  // namespace

gs_status tiles_grad_input_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t tiles = tiles_of(w), columns = ceil_div(w.n_in, kSteps), starts = ceil_div(columns + 1, 8) * 64;
  char* room = static_cast<char*>(gs_call_scratch(static_cast<size_t>(starts + tiles * kTileBytes + tiles * 4)));
  if (!room) return GS_MEMORY;
  const Columns by = {reinterpret_cast<int64_t*>(room), reinterpret_cast<int32_t*>(room + starts + tiles * kTileBytes),
                      reinterpret_cast<uint32_t*>(room + starts)};
  by_columns(w, tiles, columns, by);
  const int64_t cost = (tiles * kSide * kSteps / columns / 8 + 64) * kNarrowTiles * kSide;
  return for_items(*call, ceil_div(call->batch, kNarrowTiles * kSide) * columns, cost,
                   [&](int64_t begin, int64_t end) { return input_items(*call, by, begin, end); });
}

gs_status tiles_grad_values_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t rows = ceil_div(w.n_out, kSide), tiles = tiles_of(w), columns = ceil_div(w.n_in, kSteps) * 2;
  const int64_t most_steps = least(kMostSteps, ceil_div(call->batch, kSteps)), used = tiles * kSide * kSteps;
  __builtin_memset(static_cast<float*>(call->out) + used, 0, static_cast<size_t>(w.n_values - used) * sizeof(float));
  if (!call->batch) __builtin_memset(call->out, 0, static_cast<size_t>(used) * sizeof(float));
  uint32_t* words = static_cast<uint32_t*>(gs_call_scratch(static_cast<size_t>((rows + columns) * most_steps * kTileBytes + 64)));
  if (!words) return GS_MEMORY;
  uint32_t* x = words + rows * most_steps * kWords;
  for (int64_t begin = 0; begin < call->batch; begin += kMostSteps * kSteps) {
    const int64_t end = least(call->batch, begin + kMostSteps * kSteps), steps = ceil_div(end - begin, kSteps);
    pack_columns(call->grad, w.n_out, begin, end, steps, false, words);
    pack_columns(call->x, w.n_in, begin, end, steps, true, x);
    if (columns * kSide > ceil_div(w.n_in, kSide) * kSide)  // the last tile is wider than the inputs
      __builtin_memset(x + (columns - 1) * steps * kWords, 0, static_cast<size_t>(steps * kTileBytes));
    const int64_t cost = (tiles / most(1, rows) * 32 + 8) * (end - begin);
    const gs_status status = for_items(*call, rows, cost, [&](int64_t r0, int64_t r1) {
      return value_items(*call, words, x, steps, begin == 0, r0, r1);
    });
    if (status != GS_OK) return status;
  }
  return GS_OK;
}

}  // namespace GS_SET
}  // namespace gs
