// out = activation(W x + bias + residual) for shared_tiles: 16 or 32 neurons that read the same inputs. Their inputs are brought
// side by side as tiles of 32 inputs by 16 batch columns, 32 columns at a time, some tiles ahead of the unit, and serve one or two
// tiles of weights. Inputs are rounded to bfloat16, sums are float32.
#include "groups.h"
#include "tiles.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kPanel = 32;  // batch columns of a panel: what one vector of bfloat16 holds, and two tiles
constexpr int64_t kLead = 4, kRing = 8;  // steps between the gathering of inputs and their use, and steps that there is room for

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

// Of 16 neighbouring columns as words, low or high halves: which one lies where, so that the panel holds columns by fours.
constexpr int64_t column_of(int64_t word) { return word % 4 / 2 * kSide + word / 4 * 4 + word % 2 * 2; }

// The same of batch-major memory: 32 inputs of every column at a time, which come as pairs of inputs and leave as pairs of columns.
void panels_of_samples(const gs_panel& x, int64_t features, const Chunk& chunk, uint32_t* panels) {
  for (int64_t first = 0; first < chunk.size; first += kPanel, panels += features * kSide) {
    const float* from = static_cast<const float*>(x.data) + (chunk.begin + first) * x.batch_stride;
    const int64_t columns = chunk.size - first;
    for (int64_t k = 0; k < features; k += kSteps) {
      const int64_t n = least(kSteps, features - k);
      u32x16 low[kSide], high[kSide];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kSide; ++i) {
        const int64_t column = column_of(i);
        low[i] = part_of(from + column * x.batch_stride + k, column < columns ? n : 0);
        high[i] = part_of(from + (column + 1) * x.batch_stride + k, column + 1 < columns ? n : 0);
      }
      transpose_words(low);
      transpose_words(high);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kSide; ++i) {
        uint32_t* to = panels + (k + 2 * i) * kSide;
        if (2 * i < n) store_words(to, (low[i] & 0xffff) | high[i] << 16);
        if (2 * i + 1 < n) store_words(to + kSide, low[i] >> 16 | (high[i] & 0xffff0000u));
      }
    }
  }
}

// Gathers the inputs of active groups begin .. end, panel by panel and step by step of 32 inputs, as tiles [2 halves of the panel]
// [16 pairs of inputs][16 columns]. It is kLead steps ahead of the unit, which waits for what has just been stored.
template <class I> class Gathered {
 public:
  Gathered(const gs_matrix& w, const uint32_t* panels, int64_t n_panels, int64_t begin, int64_t end, uint32_t* ring)
      : w_(w), panels_(panels), n_panels_(n_panels), place_(begin), end_(w.per_row ? end : begin), ring_(ring) {
    for (int64_t i = 0; i < kLead; ++i) gather();
  }
  // The tiles of the next step, which stay for kRing - kLead more.
  GS_INLINE_MEMBER const uint32_t* next() {
    gather();
    return ring_ + used_++ % kRing * (2 * kWords);
  }

 private:
  GS_INLINE_MEMBER void gather() {
    if (place_ == end_) return;
    const uint32_t* panel = panels_ + panel_ * w_.n_in * kSide;
    const I* col = static_cast<const I*>(w_.cols) + place_ * w_.per_row + from_;
    uint32_t* to = ring_ + made_++ % kRing * (2 * kWords);
    if (w_.per_row - from_ >= kSteps) bring<true>(panel, col, kSteps, to);
    else bring<false>(panel, col, w_.per_row - from_, to);
    if ((from_ += kSteps) < w_.per_row) return;
    from_ = 0;
    if (++panel_ == n_panels_) panel_ = 0, ++place_;
  }
  template <bool whole> GS_INLINE_MEMBER void bring(const uint32_t* panel, const I* col, int64_t n, uint32_t* to) {
    const u32x16 none = {};
    for (int64_t i = 0; i < kSteps; i += 2, to += kSide) {
      const u32x16 a = whole || i < n ? load_words(panel + col[i] * kSide) : none;
      const u32x16 b = whole || i + 1 < n ? load_words(panel + col[i + 1] * kSide) : none;
      store_words(to, lower_pairs(a, b));
      store_words(to + kWords, upper_pairs(a, b));
    }
  }

  const gs_matrix& w_;
  const uint32_t* panels_;
  int64_t n_panels_, panel_ = 0, place_, end_, from_ = 0, made_ = 0, used_ = 0;
  uint32_t* ring_;
};

// sums [high * 16][32] of a group, rows `stride` apart.
template <int high, class I>
GS_INLINE void add_up(Unit& unit, const char* weights, Gathered<I>& inputs, int64_t steps, float* sums, int64_t stride) {
  each<2 * high>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  for (int64_t k = 0; k < steps; ++k) {
    const uint32_t* tiles = inputs.next();
    each<high>([&](auto h) GS_INLINE_LAMBDA {
      unit.template load<6>(weights, 64);
      weights += kTileBytes;
      each<2>([&](auto t) GS_INLINE_LAMBDA {
        unit.template load<7>(tiles + t * kWords, 64);
        unit.template bf16<2 * h + t>();
      });
    });
  }
  each<2 * high>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(sums + t / 2 * kSide * stride + t % 2 * kSide, stride * 4); });
}

template <int high, class I>
void groups(const gs_call& call, Unit& unit, const Chunk& chunk, const uint32_t* panels, uint32_t* ring, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t steps = ceil_div(w.per_row, kSteps);
  alignas(64) float sums[high * kSide * kPanel];
  Group group{w};
  group.place = group.from(r0);
  Gathered<I> inputs(w, panels, ceil_div(chunk.size, kPanel), group.place, group.from(r1), ring);
  for (int64_t r = r0; r < r1; ++r) {
    const bool active = group.at(r);
    const char* weights = static_cast<const char*>(w.values) + group.place * steps * high * kTileBytes;
    for (int64_t first = 0; first < chunk.size; first += kPanel) {
      const Chunk part = {chunk.begin + first, least(kPanel, chunk.size - first), 2};
      float* out = active ? where_sums_stay<2>(call, part, r * w.group, w.group) : nullptr;
      if (!out) fetch_outputs<2>(call, part, r * w.group, w.group);
      if (active) add_up<high>(unit, weights, inputs, steps, out ? out : sums, out ? call.out_stride : kPanel);
      else
        for (float& sum : sums) sum = 0;
      if (!out) finish_tiles<2>(call, part, r * w.group, w.group, sums);
    }
  }
}

// Items are (chunk of the batch, group of neurons) pairs, chunks outermost; whoever meets a chunk packs its inputs.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const gs_matrix& w = call.w;
  const int64_t count = w.n_out / w.group, most_words = ceil_div(chunk_at(0, call.batch, kPanel).size, kPanel) * w.n_in * kSide;
  uint32_t* panels = static_cast<uint32_t*>(gs_scratch(static_cast<size_t>((most_words + kRing * 2 * kWords) * 4)));
  if (!panels) return GS_MEMORY;
  uint32_t* ring = panels + most_words;
  Unit unit;
  while (begin < end) {
    const Chunk chunk = chunk_at(begin / count, call.batch, kPanel);
    const int64_t r0 = begin % count, r1 = least(count, r0 + (end - begin));
    if (call.x_narrow) panels_of_features<uint16_t>(call.x, w.n_in, chunk, panels);
    else if (call.x.feature_stride == 1) panels_of_samples(call.x, w.n_in, chunk, panels);
    else panels_of_features<float>(call.x, w.n_in, chunk, panels);
    const auto run = w.group == 16 ? (w.col_bytes == 2 ? groups<1, uint16_t> : groups<1, int32_t>)
                                   : (w.col_bytes == 2 ? groups<2, uint16_t> : groups<2, int32_t>);
    run(call, unit, chunk, panels, ring, r0, r1);
    begin += r1 - r0;
  }
  return GS_OK;
}

}  // namespace

gs_status shared_tiles_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t cost = (w.per_row * w.group / 8 + 64) * chunk_at(0, call->batch, kPanel).size;  // as in tiles.cpp, and the gathering
  return for_items(*call, chunk_count(call->batch, kPanel) * (w.n_out / w.group), cost,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
