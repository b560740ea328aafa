// The full scan of an index: O(connections), on request.
#include "check.h"

namespace {

template <class I> bool ascending(const I* p, int64_t n, int64_t limit) {
  int64_t before = -1;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t c = p[i];
    if (c <= before || c >= limit) return false;
    before = c;
  }
  return true;
}

bool columns(const gs_matrix& w, int64_t first, int64_t n, int64_t limit) {
  if (w.col_bytes == 2) return ascending(static_cast<const uint16_t*>(w.cols) + first, n, limit);
  return ascending(static_cast<const int32_t*>(w.cols) + first, n, limit);
}

int64_t row_pointer(const gs_matrix& w, int64_t i) {
  return w.row_bytes == 8 ? static_cast<const int64_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
}

// csr and block: `rows` rows of columns below `limit`.
bool row_compressed(const gs_matrix& w, int64_t rows, int64_t limit) {
  const int64_t all = row_pointer(w, rows);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t first = row_pointer(w, r), next = row_pointer(w, r + 1);
    if (first < 0 || next < first || next > all || !columns(w, first, next - first, limit)) return false;
  }
  return true;
}

bool fanin(const gs_matrix& w) {
  const int64_t limit = w.n_out / w.group;
  const bool rows = w.row_bytes == 2 ? ascending(static_cast<const uint16_t*>(w.rows), w.n_rows, limit)
                                     : ascending(static_cast<const int32_t*>(w.rows), w.n_rows, limit);
  for (int64_t i = 0; rows && i < w.n_rows; ++i)
    if (!columns(w, i * w.per_row, w.per_row, w.n_in)) return false;
  return rows;
}

bool nm(const gs_matrix& w) {
  const uint8_t* p = static_cast<const uint8_t*>(w.cols);
  for (int64_t t = 0; t < w.n_out * (w.n_in / w.tile); ++t)
    if (!ascending(p + t * w.per_row, w.per_row, w.tile)) return false;
  return true;
}

bool bands(const gs_matrix& w, int64_t used) {
  const int32_t* starts = static_cast<const int32_t*>(w.rows);
  for (int64_t first = 0; first < w.n_in; first += w.tile, starts += w.n_out) {
    const int64_t limit = w.tile < w.n_in - first ? w.tile : w.n_in - first;
    for (int64_t r = 0; r < w.n_out; ++r) {
      const int64_t from = starts[r], n = starts[r + 1] - from;
      if (from < 0 || n < 0 || from + n > used) return false;
      const bool good = w.col_bytes == 1 ? ascending(static_cast<const uint8_t*>(w.cols) + from, n, limit)
                                         : ascending(static_cast<const uint16_t*>(w.cols) + from, n, limit);
      if (!good) return false;
    }
  }
  return true;
}

// nm_lanes and nm_bytes: places among `limit` inputs, in no order.
bool lanes(const gs_matrix& w, int64_t used, int64_t limit) {
  const uint8_t* p = static_cast<const uint8_t*>(w.cols);
  for (int64_t i = 0; i < used; ++i)
    if (p[i] >= limit) return false;
  return true;
}

// As many bits in a row as its pointers count, and none past the inputs.
bool bitmask(const gs_matrix& w) {
  const int64_t bytes = (w.n_in + 63) / 64 * 8;
  const uint8_t* p = static_cast<const uint8_t*>(w.cols);
  for (int64_t r = 0; r < w.n_out; ++r, p += bytes) {
    int64_t count = 0;
    for (int64_t i = 0; i < bytes; ++i) {
      const int64_t inside = w.n_in - 8 * i;
      if (inside < 8 && p[i] >> (inside < 0 ? 0 : inside)) return false;
      count += __builtin_popcount(p[i]);
    }
    if (row_pointer(w, r + 1) - row_pointer(w, r) != count) return false;
  }
  return true;
}

// Starts do not go back; the places of a neuron ascend in a window, then its steps are filled up.
bool windows(const gs_matrix& w, int64_t used) {
  constexpr int64_t kNeurons = 16, kWindow = 64, kTogether = 4;
  const int32_t* starts = static_cast<const int32_t*>(w.rows);
  const uint8_t* p = static_cast<const uint8_t*>(w.cols);
  const int64_t count = (w.n_in + kWindow - 1) / kWindow, parts = (w.n_out + kNeurons - 1) / kNeurons * count;
  for (int64_t i = 0; i < parts; ++i) {
    const int64_t from = starts[i], next = starts[i + 1], inputs = w.n_in - i % count * kWindow, limit = inputs < kWindow ? inputs : kWindow;
    if (from < 0 || next < from || next * kNeurons * kTogether > used) return false;
    for (int64_t n = 0; n < kNeurons; ++n) {
      int64_t before = -1;
      for (int64_t j = 0; j < (next - from) * kTogether; ++j) {
        const int64_t place = p[((from + j / kTogether) * kNeurons + n) * kTogether + j % kTogether];
        const bool empty = place == 255;
        if (!empty && (place <= before || place >= limit || i / count * kNeurons + n >= w.n_out)) return false;
        before = place;
      }
    }
  }
  return true;
}

// nm_nibbles and nm_nibble_bytes: two places a byte, `side` tiles side by side.
bool nibbles(const gs_matrix& w, int64_t side) {
  const uint8_t* p = static_cast<const uint8_t*>(w.cols);
  const int64_t together = 8 / side, steps = (w.n_in / w.tile + side - 1) / side * w.per_row;
  for (int64_t i = 0; i < (w.n_out + 15) / 16 * ((steps + together - 1) / together) * 64; ++i)
    if ((p[i] & 15) >= w.tile || p[i] >> 4 >= w.tile) return false;
  return true;
}

}  // namespace

extern "C" gs_status gs_check_index(const gs_matrix* w) {
  int64_t used;
  if (!w) return GS_NULL;
  gs_status status = gs_check_matrix(*w, false, &used);
  if (status != GS_OK) return status;
  bool good = true;
  if (w->layout == GS_CSR || w->layout == GS_CSR_HALVES) good = row_compressed(*w, w->n_out, w->n_in);
  if (w->layout == GS_BLOCK) good = row_compressed(*w, w->n_out / w->group, w->n_in / w->tile);
  if (w->layout == GS_TILES) good = row_compressed(*w, (w->n_out + 15) / 16, (w->n_in + 31) / 32);
  if (w->layout == GS_TILE_BYTES) good = row_compressed(*w, (w->n_out + 15) / 16, (w->n_in + w->tile - 1) / w->tile);
  if (w->layout == GS_FANIN || w->layout == GS_FANIN_BYTES || w->layout == GS_SHARED_TILES || w->layout == GS_SHARED_TILE_BYTES) good = fanin(*w);
  if (w->layout == GS_NM) good = nm(*w);
  if (w->layout == GS_NM_LANES) good = lanes(*w, used, w->tile);
  if (w->layout == GS_NM_BYTES) good = lanes(*w, used, 2 * w->tile);
  if (w->layout == GS_NM_NIBBLES) good = nibbles(*w, 1);
  if (w->layout == GS_NM_NIBBLE_BYTES) good = nibbles(*w, 4);
  if (w->layout == GS_BITMASK || w->layout == GS_BITMASK_BYTES) good = bitmask(*w);
  if (w->layout == GS_WINDOW_BYTES) good = windows(*w, used);
  if (w->layout == GS_CSR_BANDS) good = bands(*w, used);
  return good ? GS_OK : GS_INDEX;
}
