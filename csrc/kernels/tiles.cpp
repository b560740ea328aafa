// out = activation(W x + bias + residual) for tiles: 16 outputs by 32 inputs of bfloat16, inputs rounded to bfloat16, sums in
// float32. A tile of weights is read for up to six tiles of batch columns, whose sums stay in the unit.
#include "lines.h"
#include "tiles.h"

namespace gs {
namespace GS_SET {
namespace {

// sums [16][tiles * 16] of a row of tiles, rows `stride` apart.
template <int tiles, class I> GS_INLINE void add_up(Unit& unit, const Line& line, const uint32_t* words, float* sums, int64_t stride) {
  const I* col = static_cast<const I*>(line.cols);
  const char* w = line.values;
  each<tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  for (int64_t j = 0; j < line.n; ++j, w += kTileBytes) {
    const uint32_t* inputs = words + col[j] * (tiles * kWords);
    unit.template load<6>(w, 64);
    each<tiles>([&](auto t) GS_INLINE_LAMBDA {
      unit.template load<7>(inputs + t * kWords, 64);
      unit.template bf16<t>();
    });
  }
  each<tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(sums + t * kSide, stride * 4); });
}

template <int tiles> void rows(const gs_call& call, Unit& unit, const Chunk& chunk, const uint32_t* words, int64_t r0, int64_t r1) {
  alignas(64) float sums[kWords * tiles];
  for (int64_t r = r0; r < r1; ++r) {
    const Line line = line_at(call.w, r, kTileBytes);
    const int64_t row = r * kSide, count = least(kSide, call.w.n_out - row);
    float* out = where_sums_stay<tiles>(call, chunk, row, count);
    if (!out) fetch_outputs<tiles>(call, chunk, row, count);
    float* to = out ? out : sums;
    const int64_t stride = out ? call.out_stride : tiles * kSide;
    if (call.w.col_bytes == 2) add_up<tiles, uint16_t>(unit, line, words, to, stride);
    else add_up<tiles, int32_t>(unit, line, words, to, stride);
    if (!out) finish_tiles<tiles>(call, chunk, row, count, sums);
  }
}

// Items are (chunk of the batch, row of tiles) pairs, chunks outermost; whoever meets a chunk packs its inputs.
gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const int64_t count = ceil_div(call.w.n_out, kSide), widest = chunk_at(0, call.batch).tiles;
  void* room = gs_scratch(static_cast<size_t>(ceil_div(call.w.n_in, kSteps) * widest * kTileBytes));
  if (!room) return GS_MEMORY;
  uint32_t* words = static_cast<uint32_t*>(room);
  Unit unit;
  while (begin < end) {
    const Chunk chunk = chunk_at(begin / count, call.batch);
    const int64_t r0 = begin % count, r1 = least(count, r0 + (end - begin));
    pack_chunk(call, chunk, words);
    with_tiles(chunk.tiles, [&](auto tiles) { rows<tiles>(call, unit, chunk, words, r0, r1); });
    begin += r1 - r0;
  }
  return GS_OK;
}

}  // namespace

gs_status tiles_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t count = ceil_div(w.n_out, kSide), columns = chunk_at(0, call->batch).tiles * kSide;
  const int64_t cost = (w.n_values / most(1, count) / 16 + 64) * columns;  // in multiply-adds of float, of which the unit makes 16 at once
  return for_items(*call, chunk_count(call->batch) * count, cost,
                   [&](int64_t begin, int64_t end) { return items(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
