// out = activation(W x + bias + residual) for shared_tile_bytes: 16 or 32 neurons that read the same inputs, in int8. Their rounded
// inputs (quantize.h) are brought side by side as tiles of 64 inputs by 16 batch columns, up to 64 columns at a time, and serve one or
// two tiles of weights. Sums are exact integers; a neuron has at most 2^17 products of 128 x 127, which fit 32 bits.
#include "byte_products.h"
#include "groups.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kWidth = 64;  // inputs of a tile

// Panels [features][64 columns], features filled up to whole tiles.
template <int tiles> void make_panels(const gs_call& call, const Chunk& chunk, u8x64* panel, int8_t* room, Rounding& rounding) {
  if (call.x.feature_stride != 1)
    return round_features<tiles>(call, chunk, rounding, [&](int64_t r, const u8x64(&rows)[4]) GS_INLINE_LAMBDA {
#pragma GCC unroll 4
      for (int f = 0; f < 4; ++f) panel[4 * r + f] = rows[f];
    });
  round_samples(call, chunk, room, rounding, [&](int t, int64_t k, const u32x16(&w)[kSide]) GS_INLINE_LAMBDA {
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) store_words(panel + (k * kMostTiles + t) * kSide + i, w[i]);
  });
  // 64 inputs are tiles of words now, [tiles][16 words of four inputs][16 columns]: they take the places of their rows.
  for (int64_t k = 0; k < ceil_div(call.w.n_in, kWidth); ++k, panel += kWidth) {
    u8x64 words[kMostTiles * kSide];
    __builtin_memcpy(words, panel, sizeof words);
    for (int i = 0; i < kSide; ++i) in_rows(words[i], words[kSide + i], words[2 * kSide + i], words[3 * kSide + i], panel + 4 * i);
  }
}

// The k inputs of a group as tiles [ceil(k / 64)][tiles][16 words of four inputs][16 columns]. What is behind them meets weights of 0.
template <int tiles, class I> GS_INLINE void gather_rows(const u8x64* panel, const I* col, int64_t k, uint32_t* words) {
  for (int64_t r = 0; r < ceil_div(k, kWidth) * kSide; ++r) {
    const auto row = [&](int64_t i) GS_INLINE_LAMBDA { return i < k ? panel[col[i]] : u8x64{}; };
    uint32_t* to = words + r / kSide * (tiles * kWords) + r % kSide * kSide;
    if (4 * r + 4 <= k) tile_rows<tiles>(panel[col[4 * r]], panel[col[4 * r + 1]], panel[col[4 * r + 2]], panel[col[4 * r + 3]], to, kWords);
    else tile_rows<tiles>(row(4 * r), row(4 * r + 1), row(4 * r + 2), row(4 * r + 3), to, kWords);
  }
}

// Where the weights of a group lie: [steps][group / 16][16][64].
struct Weights {
  const int8_t* first;
  int64_t step;

  GS_INLINE_MEMBER const int8_t* operator()(int64_t j) const { return first + j * step; }
};
GS_INLINE Weights weights_of(const gs_matrix& w, int64_t place, int64_t high) {
  const int64_t step = w.group * kWidth;
  return {static_cast<const int8_t*>(w.values) + place * ceil_div(w.per_row, kWidth) * step + high * kSide * kWidth, step};
}

template <int C, class I> GS_INLINE void samples(const gs_call& call, const Steps& steps, int64_t column, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t count = ceil_div(w.per_row, kWidth);
  Group group{w};
  group.place = group.from(r0);
  __builtin_memset(steps.room, 0, static_cast<size_t>(C * steps.stride));
  for (int64_t r = r0; r < r1; ++r) {
    const bool active = group.at(r);
    const I* col = static_cast<const I*>(w.cols) + group.place * w.per_row;
    for (int64_t c = 0; active && c < C; ++c)
      for (int64_t i = 0; i < w.per_row; ++i) steps.room[c * steps.stride + i] = steps.q[c * steps.stride + col[i]];
    for (int64_t high = 0; high < w.group / kSide; ++high) {
      int32_t sums[C][kSide] = {};
      const auto inputs = [&](int64_t j) GS_INLINE_LAMBDA { return steps.room + j * kWidth; };
      if (active) dots<C>(steps.shifted, count, kWidth, weights_of(w, group.place, high), inputs, steps.stride, sums);
      for (int c = 0; c < C; ++c) finish_dots(call, r * w.group + high * kSide, column + c, sums[c], steps.size[c]);
    }
  }
}

template <int tiles, class I>
void groups(const gs_call& call, Unit& unit, const Chunk& chunk, const u8x64* panel, uint32_t* words, const Rounding& rounding, int64_t r0,
            int64_t r1) {
  const gs_matrix& w = call.w;
  const int64_t count = ceil_div(w.per_row, kWidth);
  alignas(64) int32_t sums[kWords * tiles];
  Group group{w};
  group.place = group.from(r0);
  for (int64_t r = r0; r < r1; ++r) {
    const bool active = group.at(r);
    if (active) gather_rows<tiles>(panel, static_cast<const I*>(w.cols) + group.place * w.per_row, w.per_row, words);
    const auto inputs = [&](int64_t j) GS_INLINE_LAMBDA { return words + j * (tiles * kWords); };
    for (int64_t high = 0; high < w.group / kSide; ++high) {
      if (active) products<tiles>(unit, rounding.flip != 0, count, kWidth, weights_of(w, group.place, high), inputs, sums);
      else __builtin_memset(sums, 0, sizeof sums);
      finish_sums<tiles>(call, chunk, rounding.size, r * w.group + high * kSide, kSide, sums);
    }
  }
}

// Items are (chunk of the batch, group of neurons) pairs, chunks outermost; whoever meets a chunk packs its inputs.
gs_status items(const gs_call& call, bool shifted, int64_t begin, int64_t end) {
  const gs_matrix& w = call.w;
  const int64_t count = w.n_out / w.group, rows = ceil_div(w.n_in, kWidth) * kWidth, gathered = ceil_div(w.per_row, kWidth) * kMostTiles * kWords * 4;
  char* room = static_cast<char*>(gs_scratch(static_cast<size_t>(rows * kPanel + gathered + sample_room(w.n_in))));
  if (!room) return GS_MEMORY;
  u8x64* panel = reinterpret_cast<u8x64*>(room);
  uint32_t* words = reinterpret_cast<uint32_t*>(room + rows * kPanel);
  Rounding rounding = {{}, shifted ? 0x80808080u : 0};
  Unit unit;
  while (begin < end) {
    const Chunk chunk = chunk_at(begin / count, call.batch);
    const int64_t r0 = begin % count, r1 = least(count, r0 + (end - begin));
    with_tiles(chunk.tiles, [&](auto tiles) {
      make_panels<tiles>(call, chunk, panel, reinterpret_cast<int8_t*>(room + rows * kPanel + gathered), rounding);
      if (w.col_bytes == 2) groups<tiles, uint16_t>(call, unit, chunk, panel, words, rounding, r0, r1);
      else groups<tiles, int32_t>(call, unit, chunk, panel, words, rounding, r0, r1);
    });
    begin += r1 - r0;
  }
  return GS_OK;
}

}  // namespace

gs_status shared_tile_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t count = w.n_out / w.group;
  const Form form = form_of(call->batch);
  if (form.dots)
    return rounded(*call, count, (w.per_row * w.group / 8 + w.per_row) * least(kColumns, call->batch), form.shifted,
                   [&](auto columns, const Steps& steps, int64_t column, int64_t r0, int64_t r1) {
                     if (w.col_bytes == 2) samples<columns, uint16_t>(*call, steps, column, r0, r1);
                     else samples<columns, int32_t>(*call, steps, column, r0, r1);
                   });
  const int64_t cost = (w.per_row * w.group / 16 + 64) * chunk_at(0, call->batch).size;  // as in tile_bytes.cpp, and the gathering
  return for_items(*call, chunk_count(call->batch) * count, cost,
                   [&](int64_t begin, int64_t end) { return items(*call, form.shifted, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
