// out = activation(W x + bias + residual) for tile_bytes: 16 outputs by 64 or 32 inputs of int8, inputs rounded to int8 (quantize.h),
// exact integer sums. A neuron has at most 2^17 products of 128 x 127, which fit 32 bits. A tile of weights is read for up to four
// tiles of batch columns; a few samples are multiplied one by one.
#include "byte_products.h"
#include "lines.h"

namespace gs {
namespace GS_SET {
namespace {

// f(weights, inputs) with where the j-th tile of a line lies, and what it reads: `step` elements of x for a column of tiles.
template <class I, class X, class F> GS_INLINE void with_places(const Line& line, int64_t width, const X* x, int64_t step, const F& f) {
  const I* col = static_cast<const I*>(line.cols);
  f([&](int64_t j) GS_INLINE_LAMBDA { return reinterpret_cast<const int8_t*>(line.values) + j * (kSide * width); },
    [&](int64_t j) GS_INLINE_LAMBDA { return x + static_cast<int64_t>(col[j]) * step; });
}

template <int C, class I> GS_INLINE void samples(const gs_call& call, const Steps& steps, int64_t column, int64_t r0, int64_t r1) {
  for (int64_t r = r0; r < r1; ++r) {
    const Line line = line_at(call.w, r, kSide * call.w.tile);
    int32_t sums[C][kSide] = {};
    with_places<I>(line, call.w.tile, steps.q, call.w.tile, [&](const auto& weights, const auto& inputs) GS_INLINE_LAMBDA {
      dots<C>(steps.shifted, line.n, static_cast<int>(call.w.tile), weights, inputs, steps.stride, sums);
    });
    for (int c = 0; c < C; ++c) finish_dots(call, r * kSide, column + c, sums[c], steps.size[c]);
  }
}

template <int tiles, class I>
void rows(const gs_call& call, Unit& unit, bool shifted, const Chunk& chunk, const uint32_t* words, const float* size, int64_t r0, int64_t r1) {
  alignas(64) int32_t sums[kWords * tiles];
  for (int64_t r = r0; r < r1; ++r) {
    const Line line = line_at(call.w, r, kSide * call.w.tile);
    with_places<I>(line, call.w.tile, words, tiles * call.w.tile * 4, [&](const auto& weights, const auto& inputs) GS_INLINE_LAMBDA {
      products<tiles>(unit, shifted, line.n, static_cast<int>(call.w.tile), weights, inputs, sums);
    });
    finish_sums<tiles>(call, chunk, size, r * kSide, least(kSide, call.w.n_out - r * kSide), sums);
  }
}

// Inputs of a chunk as right factors: [ceil(n_in / 64) * 64 / width][tiles][width / 4][16 columns] words of four inputs.
template <int tiles, int width> void pack(const gs_call& call, const Chunk& chunk, uint32_t* words, int8_t* room, Rounding& rounding) {
  constexpr int64_t high = width / 4;  // rows of a tile
  if (call.x.feature_stride == 1)
    round_samples(call, chunk, room, rounding, [&](int t, int64_t k, const u32x16(&w)[kSide]) GS_INLINE_LAMBDA {
#pragma GCC unroll 16
      for (int64_t i = 0; i < kSide; ++i) store_words(words + ((((k * kSide + i) / high) * tiles + t) * high + i % high) * kSide, w[i]);
    });
  else
    round_features<tiles>(call, chunk, rounding, [&](int64_t r, const u8x64(&rows)[4]) GS_INLINE_LAMBDA {
      tile_rows<tiles>(rows[0], rows[1], rows[2], rows[3], words + (r / high * tiles * high + r % high) * kSide, high * kSide);
    });
}

// Items are (chunk of the batch, row of tiles) pairs, chunks outermost; whoever meets a chunk packs its inputs.
gs_status items(const gs_call& call, bool shifted, int64_t begin, int64_t end) {
  const int64_t count = ceil_div(call.w.n_out, kSide), bytes = ceil_div(call.w.n_in, 64) * 64 * kPanel;
  char* room = static_cast<char*>(gs_scratch(static_cast<size_t>(bytes + sample_room(call.w.n_in))));
  if (!room) return GS_MEMORY;
  uint32_t* words = reinterpret_cast<uint32_t*>(room);
  Rounding rounding = {{}, shifted ? 0x80808080u : 0};
  Unit unit(static_cast<int>(call.w.tile / 4));
  while (begin < end) {
    const Chunk chunk = chunk_at(begin / count, call.batch);
    const int64_t r0 = begin % count, r1 = least(count, r0 + (end - begin));
    with_tiles(chunk.tiles, [&](auto tiles) {
      (call.w.tile == 64 ? pack<tiles, 64> : pack<tiles, 32>)(call, chunk, words, reinterpret_cast<int8_t*>(room + bytes), rounding);
      if (call.w.col_bytes == 2) rows<tiles, uint16_t>(call, unit, shifted, chunk, words, rounding.size, r0, r1);
      else rows<tiles, int32_t>(call, unit, shifted, chunk, words, rounding.size, r0, r1);
    });
    begin += r1 - r0;
  }
  return GS_OK;
}

}  // namespace

gs_status tile_bytes_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t count = ceil_div(w.n_out, kSide), each = w.n_values / most(1, count);
  const Form form = form_of(call->batch);
  if (form.dots)
    return rounded(*call, count, (each / 8 + 64) * least(kColumns, call->batch), form.shifted,
                   [&](auto columns, const Steps& steps, int64_t column, int64_t r0, int64_t r1) {
                     if (w.col_bytes == 2) samples<columns, uint16_t>(*call, steps, column, r0, r1);
                     else samples<columns, int32_t>(*call, steps, column, r0, r1);
                   });
  const int64_t cost = (each / 32 + 64) * chunk_at(0, call->batch).tiles * kSide;  // in multiply-adds of float, of which the unit makes 32 at once
  return for_items(*call, chunk_count(call->batch) * count, cost,
                   [&](int64_t begin, int64_t end) { return items(*call, form.shifted, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
