// The output positions of a convolution cut into spots, which are computed at once.
#ifndef GOSSAMER_CONV_SPOTS_H
#define GOSSAMER_CONV_SPOTS_H

#include "conv.h"

namespace gs {
namespace GS_SET {

// Positions of a span up to the last that is inside.
GS_INLINE int64_t held(const gs_places& p, const gs_span& span, int64_t bits) {
  if (!p.inside) return span.length;
  int64_t n = span.length;
  while (n > 0 && !(p.inside[bits + (n - 1) / 8] >> ((n - 1) % 8) & 1)) --n;
  return n;
}

// Which of the positions from .. to of a span are inside.
GS_INLINE void mark_inside(const gs_places& p, int64_t bits, int64_t from, int64_t to, Spot& spot) {
  for (int64_t i = from; p.inside && i < to; ++i) {
    const uint64_t kept = p.inside[bits + i / 8] >> (i % 8) & 1;
    spot.inside[(i - from) / 64] |= kept << ((i - from) % 64);
    if (!kept) spot.masked = 1;
  }
}

// Cuts a span into spots of about one size; returns how many, and writes them where `out` is not null.
template <class T> GS_INLINE int64_t cut(const gs_places& p, const gs_span& span, int64_t bits, int64_t most_vectors, Spot* out) {
  const int64_t lanes = Vec<T>::lanes, n = held(p, span, bits), vectors = ceil_div(n, lanes);
  const int64_t spots = most(1, ceil_div(vectors, most_vectors));
  for (int64_t i = 0; out && i < spots; ++i) {
    const int64_t from = vectors * i / spots, to = vectors * (i + 1) / spots, skipped = from * lanes;
    const int64_t end = least(to * lanes, span.length);
    out[i] = {span.in + skipped * p.step, span.out + (p.split ? skipped / 2 : skipped), to - from, end - skipped, least(end, n) - skipped,
              i + 1 == spots ? span.length - end : 0, 0, {}};
    mark_inside(p, bits, skipped, end, out[i]);
  }
  return spots;
}

template <class T> GS_INLINE int64_t cut_all(const gs_places& p, int64_t most_vectors, Spot* out) {
  int64_t count = 0, bits = 0;
  for (int64_t i = 0; i < p.n_spans; ++i) {
    count += cut<T>(p, p.spans[i], bits, most_vectors, out ? out + count : nullptr);
    bits += ceil_div(p.spans[i].length, 8);
  }
  return count;
}

// Elements of one output plane up to the last that is written.
GS_INLINE int64_t written(const gs_places& p) {
  int64_t end = 0;
  for (int64_t i = 0; i < p.n_spans; ++i) end = most(end, p.spans[i].out + (p.split ? p.split + p.spans[i].length / 2 : p.spans[i].length));
  return end;
}

}  // namespace GS_SET
}  // namespace gs

#endif
