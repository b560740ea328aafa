// Gradient rows made from what they are the product of, a slab at a time: dW = dY^T X, summed over the batch in order, so that
// a gradient depends neither on the slab nor on the threads.
#ifndef GOSSAMER_OUTER_H
#define GOSSAMER_OUTER_H

#include "scores.h"
#include "tile.h"

namespace gs {
namespace GS_SET {

constexpr int kPanelVectors = 64 / GS_VEC_BYTES;  // of inputs side by side: a cache line, as they are packed
constexpr int kHeight = 12 / kPanelVectors;       // rows at once: twelve sums stay in registers
constexpr int64_t kSlabBytes = 400 * 1024;        // of a slab: most of the second cache level
// Gradient rows of a slab: fewer read the inputs too often; where it leaves that cache anyway, more read them less.
constexpr int64_t kLeastHigh = 24, kHighBeyond = 48, kMostHigh = 96;

// out[kHeight][panel] = |sum over the batch of a[b][.] b[b][.]|, rows `stride` apart; lanes that are not finite are lost from
// `finite`.
template <class T>
GS_INLINE void outer_tile(const T* a, const T* b, int64_t batch, T* out, int64_t stride, mask<T>* finite) {
  constexpr int lanes = Vec<T>::lanes;
  vec<T> total[kHeight][kPanelVectors] = {};
  for (int64_t k = 0; k < batch; ++k, a += kHeight, b += kPanelVectors * lanes) {
    vec<T> x[kPanelVectors];
    prefetch(b, batch * 64);  // of the next panel
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) x[v] = load<T>(b + v * lanes);
#pragma GCC unroll 12
    for (int i = 0; i < kHeight; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kPanelVectors; ++v) total[i][v] += splat<T>(a[i]) * x[v];
    }
  }
  const vec<T> infinite = splat<T>(static_cast<T>(__builtin_inf()));
#pragma GCC unroll 12
  for (int i = 0; i < kHeight; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kPanelVectors; ++v) {
      const vec<T> size = magnitude(total[i][v]);
      *finite &= size < infinite;
      store<T>(out + i * stride + v * lanes, size);
    }
  }
}

// The rows of a tile one after the other, where they are or made here: magnitudes then.
template <class T> struct Rows {
  const gs_scores& tile;
  int64_t stride;  // elements between gradient rows
  int64_t units;   // rows of units in a slab
  int64_t begin = 0, end = 0;
  T* slab = nullptr;
  T* outputs = nullptr;  // of a slab, [rows / kHeight][batch][kHeight]
  bool finite = true;

  GS_INLINE_MEMBER explicit Rows(const gs_scores& given) : tile(given) {
    constexpr int64_t panel = 64 / sizeof(T);
    const int64_t n = tile.cols * tile.w;
    stride = tile.gradient ? n : ceil_div(n, panel) * panel + panel;  // not a power of two: rows would share cache sets
    const int64_t fit = kSlabBytes / (stride * static_cast<int64_t>(sizeof(T)));
    const int64_t high = fit < kLeastHigh ? kHighBeyond : least(kMostHigh, fit);
    units = least(most(1, high / kHeight * kHeight / tile.h), most(1, tile.rows));
  }
  GS_INLINE_MEMBER int64_t high() const { return ceil_div(units * tile.h, kHeight) * kHeight; }
  GS_INLINE_MEMBER int64_t slab_bytes() const {  // a multiple of 64, as every part of a slab is
    return tile.gradient ? 0 : high() * stride * static_cast<int64_t>(sizeof(T));
  }
  GS_INLINE_MEMBER int64_t bytes() const {
    return tile.gradient ? 0 : slab_bytes() + ceil_div(high() * tile.batch * static_cast<int64_t>(sizeof(T)), 64) * 64;
  }
  GS_INLINE_MEMBER void use(char* room) {
    slab = reinterpret_cast<T*>(room), outputs = reinterpret_cast<T*>(room + slab_bytes());
  }

  // Row r of units, of rows that end at `last`; r ascends.
  GS_INLINE_MEMBER T* at(int64_t r, int64_t last) {
    if (tile.gradient) return static_cast<T*>(tile.gradient) + r * tile.h * stride;
    if (r >= end) {
      begin = r, end = least(r + units, last);
      make();
    }
    return slab + (r - begin) * tile.h * stride;
  }

  GS_INLINE_MEMBER void pack() {
    const T* y = static_cast<const T*>(tile.outputs.data) + begin * tile.h * tile.outputs.feature_stride;
    const int64_t rows = (end - begin) * tile.h;
    for (int64_t r = 0; r < ceil_div(rows, kHeight) * kHeight; ++r) {
      T* out = outputs + r / kHeight * kHeight * tile.batch + r % kHeight;
      for (int64_t b = 0; b < tile.batch; ++b)
        out[b * kHeight] = r < rows ? y[r * tile.outputs.feature_stride + b * tile.outputs.batch_stride] : 0;
    }
  }
  void make() {
    constexpr int64_t panel = 64 / sizeof(T);
    pack();
    const int64_t panels = ceil_div(tile.cols * tile.w, panel), rows = (end - begin) * tile.h;
    mask<T> good = ~mask<T>{};
    for (int64_t p = 0; p < panels; ++p) {
      const T* x = static_cast<const T*>(tile.inputs) + p * tile.batch * panel;
      for (int64_t r = 0; r < rows; r += kHeight)
        outer_tile<T>(outputs + r * tile.batch, x, tile.batch, slab + r * stride + p * panel, stride, &good);
    }
    finite &= all<T>(good);
  }
};

}  // namespace GS_SET
}  // namespace gs

#endif
