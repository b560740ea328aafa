// out = activation(W x + bias + residual) for shared_tiles: 16 or 32 neurons that read the same inputs. Their inputs are brought
// side by side as tiles of 32 inputs by 16 batch columns, 32 columns at a time so that these stay in the first cache, and serve
// one or two tiles of weights. Inputs are rounded to bfloat16, sums are float32.
#include "groups.h"
#include "tiles.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kPanel = 32;  // batch columns of a panel: what one vector of bfloat16 holds, and two tiles

typedef uint64_t u64x8 __attribute__((vector_size(64)));

// Two vectors of the same 32 columns as pairs: of columns 0 .. 15, and of the others. So that this takes one step, panels hold
// columns by fours: 0, 16, 4, 20 ..
GS_INLINE u32x16 in_fours(u32x16 v) { return (u32x16)__builtin_shufflevector((u64x8)v, (u64x8)v, 0, 4, 1, 5, 2, 6, 3, 7); }

typedef uint16_t u16x32 __attribute__((vector_size(64)));
GS_INLINE u32x16 lower_pairs(u32x16 a, u32x16 b) {
  return (u32x16)__builtin_shufflevector((u16x32)a, (u16x32)b, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43, 16, 48, 17, 49,
                                         18, 50, 19, 51, 24, 56, 25, 57, 26, 58, 27, 59);
}
GS_INLINE u32x16 upper_pairs(u32x16 a, u32x16 b) {
  return (u32x16)__builtin_shufflevector((u16x32)a, (u16x32)b, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47, 20, 52, 21,
                                         53, 22, 54, 23, 55, 28, 60, 29, 61, 30, 62, 31, 63);
}

GS_INLINE u32x16 narrowed(const float* p) { return in_fours(words_of_neighbours(p)); }
GS_INLINE u32x16 narrowed(const uint16_t* p) { return in_fours(load_words(p)); }

// Panels [features][32 columns] of bfloat16, one behind the other, of feature-major memory.
template <class T> void panels_of_features(const gs_panel& x, int64_t features, const Chunk& chunk, uint32_t* panels) {
  for (int64_t first = 0; first < chunk.size; first += kPanel) {
    const T* from = static_cast<const T*>(x.data) + chunk.begin + first;
    const int64_t there = least(kPanel, chunk.size - first);
    for (int64_t i = 0; i < features; ++i, from += x.feature_stride, panels += kSide) {
      T room[kPanel] = {};
      if (there < kPanel) __builtin_memcpy(room, from, static_cast<size_t>(there) * sizeof(T));
      store_words(panels, narrowed(there < kPanel ? room : from));
    }
  }
}

// The same of batch-major memory.
void panels_of_samples(const gs_panel& x, int64_t features, const Chunk& chunk, uint32_t* panels) {
  for (int64_t first = 0; first < chunk.size; first += kPanel, panels += features * kSide) {
    const float* from = static_cast<const float*>(x.data) + (chunk.begin + first) * x.batch_stride;
    for (int64_t k = 0; k < features; k += kSide) {
      alignas(64) float square[kSide][kPanel];
      const int64_t n = least(kSide, features - k);
      for (int64_t half = 0; half < kPanel; half += kSide) {
        u32x16 w[kSide] = {};
        const int64_t samples = least(kSide, chunk.size - first - half);
        for (int64_t s = 0; s < samples; ++s) {
          const float* p = from + (half + s) * x.batch_stride + k;
          if (n == kSide) w[s] = load_words(p);
          else __builtin_memcpy(&w[s], p, static_cast<size_t>(n) * sizeof(float));
        }
        if (samples > 0) transpose_words(w);
        for (int64_t i = 0; i < kSide; ++i) store_words(&square[i][half], w[i]);
      }
      for (int64_t i = 0; i < n; ++i) store_words(panels + (k + i) * kSide, narrowed(square[i]));
    }
  }
}

// The k inputs of a group as tiles [ceil(k / 32)][2 halves of the panel][16 pairs of inputs][16 columns].
template <class I> void gather_pairs(const uint32_t* panel, const I* col, int64_t k, uint32_t* tiles) {
  const u32x16 none = {};
  for (int64_t pair = 0; pair < ceil_div(k, kSteps) * kSide; ++pair) {
    const u32x16 a = 2 * pair < k ? load_words(panel + col[2 * pair] * kSide) : none;
    const u32x16 b = 2 * pair + 1 < k ? load_words(panel + col[2 * pair + 1] * kSide) : none;
    uint32_t* to = tiles + pair / kSide * 2 * kWords + pair % kSide * kSide;
    store_words(to, lower_pairs(a, b));
    store_words(to + kWords, upper_pairs(a, b));
  }
}

// One step of 32 inputs for `high` tiles of neurons and both halves of the panel.
template <int high, int copy> GS_INLINE void multiply(Unit& unit, const char* weights, const uint32_t* tiles) {
  each<high>([&](auto h) GS_INLINE_LAMBDA {
    unit.template load<6>(weights + h * kTileBytes, 64);
    each<2>([&](auto t) GS_INLINE_LAMBDA {
      unit.template load<7>(tiles + t * kWords, 64);
      unit.template bf16<copy * 2 * high + 2 * h + t>();
    });
  });
}

// sums [high * 16][32] of a group.
template <int high> GS_INLINE void add_up(Unit& unit, const char* weights, const uint32_t* tiles, int64_t steps, float* sums) {
  constexpr int copies = high == 1 ? 2 : 1;
  each<2 * high * copies>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  const auto step = [&](auto copy, int64_t k) GS_INLINE_LAMBDA {
    multiply<high, copy>(unit, weights + k * high * kTileBytes, tiles + k * 2 * kWords);
  };
  int64_t k = 0;
  for (; k + copies <= steps; k += copies) each<copies>([&](auto copy) GS_INLINE_LAMBDA { step(copy, k + copy); });
  if (k < steps) step(Number<0>{}, k);
  each<2 * high>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(sums + t / 2 * (kSide * kPanel) + t % 2 * kSide, kPanel * 4); });
  if constexpr (copies > 1) {
    alignas(64) float others[2 * kWords];
    each<2>([&](auto t) GS_INLINE_LAMBDA { unit.template store<2 + t>(others + t * kSide, kPanel * 4); });
    for (int i = 0; i < 2 * kWords; ++i) sums[i] += others[i];
  }
}

template <int high, class I>
void groups(const gs_call& call, Unit& unit, const Chunk& chunk, const uint32_t* panels, uint32_t* tiles, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t steps = ceil_div(w.per_row, kSteps);
  alignas(64) float sums[high * kSide * kPanel];
  Group group{w};
  group.seek(r0);
  for (int64_t r = r0; r < r1; ++r) {
    const bool active = group.at(r);
    const I* col = static_cast<const I*>(w.cols) + group.place * w.per_row;
    const char* weights = static_cast<const char*>(w.values) + group.place * steps * high * kTileBytes;
    for (int64_t first = 0; first < chunk.size; first += kPanel) {
      if (active) {
        gather_pairs(panels + first / kPanel * w.n_in * kSide, col, w.per_row, tiles);
        add_up<high>(unit, weights, tiles, steps, sums);
      } else {
        for (float& sum : sums) sum = 0;
      }
      const Chunk part = {chunk.begin + first, least(kPanel, chunk.size - first), 2};
      finish_tiles<2>(call, part, r * w.group, w.group, sums);
    }
  }
}

// Items are (chunk of the batch, group of neurons) pairs, chunks outermost; whoever meets a chunk packs its inputs.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const gs_matrix& w = call.w;
  const int64_t count = w.n_out / w.group, panel_words = w.n_in * kSide, most_panels = ceil_div(chunk_at(0, call.batch).size, kPanel);
  const int64_t words = most_panels * panel_words + ceil_div(w.per_row, kSteps) * 2 * kWords;
  uint32_t* panels = static_cast<uint32_t*>(gs_scratch(static_cast<size_t>(words * 4)));
  if (!panels) return GS_MEMORY;
  uint32_t* tiles = panels + most_panels * panel_words;
  Unit unit;
  while (begin < end) {
    const Chunk chunk = chunk_at(begin / count, call.batch);
    const int64_t r0 = begin % count, r1 = least(count, r0 + (end - begin));
    if (call.x_narrow) panels_of_features<uint16_t>(call.x, w.n_in, chunk, panels);
    else if (call.x.feature_stride == 1) panels_of_samples(call.x, w.n_in, chunk, panels);
    else panels_of_features<float>(call.x, w.n_in, chunk, panels);
    const auto run = w.group == 16 ? (w.col_bytes == 2 ? groups<1, uint16_t> : groups<1, int32_t>)
                                   : (w.col_bytes == 2 ? groups<2, uint16_t> : groups<2, int32_t>);
    run(call, unit, chunk, panels, tiles, r0, r1);
    begin += r1 - r0;
  }
  return GS_OK;
}

}  // namespace

gs_status shared_tiles_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = (w.per_row * w.group / 8 + 64) * chunk_at(0, call->batch).size;  // as in tiles.cpp, and the gathering
  return for_items(*call, chunk_count(call->batch) * (w.n_out / w.group), cost,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
