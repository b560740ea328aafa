// out = activation(W x + bias + residual) for csr_bands: connections in the order in which blocks of inputs meet them. A
// block's tile is of first-level size, and its connections are one stream, whatever the number of rows: what csr would have
// to repack in every call. For frozen layers, whose values stay. Forward only.
#include "accumulate.h"
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kTile = GS_VEC_BYTES == 64 ? 4 : 8;  // vectors of a batch tile

// Rows r0 .. r1 of one band, whose inputs for the tile are packed.
template <class T, int V, class I>
void band_rows(const gs_call& call, const Tile& tile, int64_t band, const T* packed, int64_t r0, int64_t r1) {
  const gs_matrix& w = call.w;
  const int32_t* starts = static_cast<const int32_t*>(w.rows) + band * w.n_out;
  const I* columns = static_cast<const I*>(w.cols);
  const bool first = band == 0, last = (band + 1) * w.tile >= w.n_in;
  for (int64_t r = r0; r < r1; ++r) {
    const int64_t from = starts[r], count = starts[r + 1] - from;
    if (count == 0 && !first && !last) continue;
    vec<T> sums[1][V] = {};  // of this band alone: short chains of additions round less than one long one
    if (!first) fetch_rows_ahead<T, V, 1>(static_cast<const T*>(call.out) + r * call.out_stride + tile.begin, call.out_stride);
    with_values<T, 1>(w, from, count, [&](const T* values, int64_t i, int64_t n) {
      accumulate<T, V, 1>(packed, columns + from + i, values, n, sums);
    });
    add_block<T, V, 1>(call, tile, r, 1, first, last, sums);
  }
}

template <class T, class I>
void band_rows(const gs_call& call, const Tile& tile, int64_t band, const T* packed, int64_t r0, int64_t r1) {
  switch (tile.vectors) {
    case 1: return band_rows<T, 1, I>(call, tile, band, packed, r0, r1);
    case 2: return band_rows<T, 2, I>(call, tile, band, packed, r0, r1);
    case 4: return band_rows<T, 4, I>(call, tile, band, packed, r0, r1);
    default: return band_rows<T, 8, I>(call, tile, band, packed, r0, r1);
  }
}

// Items are (batch tile, row) pairs, tile outermost.
template <class T> gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  const gs_matrix& w = call.w;
  T* packed = static_cast<T*>(gs_scratch(least(w.tile, w.n_in) * tile_bytes<T>(call.batch, kTile)));
  if (!packed) return GS_MEMORY;
  while (begin < end) {
    const int64_t r0 = begin % w.n_out, r1 = least(w.n_out, r0 + (end - begin));
    const Tile tile = tile_at<T>(begin / w.n_out, call.batch, kTile);
    for (int64_t band = 0; band == 0 || band * w.tile < w.n_in; ++band) {
      pack_tile<T>(call.x, band * w.tile, least(w.n_in, (band + 1) * w.tile), tile, packed);
      if (w.col_bytes == 1) band_rows<T, uint8_t>(call, tile, band, packed, r0, r1);
      else band_rows<T, uint16_t>(call, tile, band, packed, r0, r1);
    }
    begin += r1 - r0;
  }
  return GS_OK;
}

template <class T> gs_status bands(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t width = tile_bytes<T>(call->batch, kTile) / static_cast<int64_t>(sizeof(T));
  const int64_t connections = static_cast<const int32_t*>(w.rows)[ceil_div(w.n_in, w.tile) * w.n_out];
  const int64_t cost = (connections / w.n_out + 8) * least(call->batch, width);
  return for_items(*call, tile_count<T>(call->batch, kTile) * w.n_out, cost, [&](int64_t begin, int64_t end) { return items<T>(*call, begin, end); });
}

}  // namespace

gs_status bands_f32(const gs_call* call) { return bands<float>(call); }
gs_status bands_f64(const gs_call* call) { return bands<double>(call); }

}  // namespace GS_SET
}  // namespace gs
