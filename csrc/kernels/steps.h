// What the steps of a plan share: planes in memory, and work cut by channels.
#ifndef GOSSAMER_STEPS_H
#define GOSSAMER_STEPS_H

#include "gossamer_plan.h"
#include "items.h"
#include "tile.h"

namespace gs {
namespace GS_SET {

// Rows of a phase: how many of `size` numbers are `phase` past a multiple of `phases`.
GS_INLINE int64_t in_phase(int64_t size, int64_t phase, int64_t phases) { return ceil_div(size - phase, phases); }

// Where row y of a channel begins, in its phase of columns.
GS_INLINE int64_t row_at(const gs_view& p, int64_t channel, int64_t y, int64_t phase_w) {
  return p.at + (y % p.phases_h * p.phases_w + phase_w) * p.phase + channel * p.plane + y / p.phases_h * p.pitch;
}

GS_INLINE void copy_row(const float* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + Vec<float>::lanes <= n; i += Vec<float>::lanes) store<float>(y + i, load<float>(x + i));
  for (; i < n; ++i) y[i] = x[i];
}

// Every second number, or more apart.
template <int step> GS_INLINE void strided_row(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i * step];
}
GS_INLINE void strided_row(const float* x, int64_t step, int64_t n, float* y) {
  if (step == 1) return copy_row(x, n, y);
  if (step == 2) return strided_row<2>(x, n, y);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i * step];
}

// Writes a whole row of a channel, given in order, into its phases of columns.
GS_INLINE void store_phases(const gs_view& p, float* memory, int64_t channel, int64_t y, const float* row) {
  for (int64_t phase = 0; phase < p.phases_w; ++phase)
    strided_row(row + phase, p.phases_w, in_phase(p.width, phase, p.phases_w), memory + row_at(p, channel, y, phase));
}

// Runs channel(c) for all channels of the output, by threads.
template <class F> GS_INLINE gs_status for_channels(const gs_step& step, gs_parallel_for parallel, int64_t work, const F& channel) {
  struct { gs_parallel_for parallel; } call = {parallel};
  return for_items(call, step.out.channels, step.out.height * step.out.width * work, [&](int64_t begin, int64_t end) {
    gs_status status = GS_OK;
    for (int64_t c = begin; c < end && status == GS_OK; ++c) status = channel(c);
    return status;
  });
}

}  // namespace GS_SET
}  // namespace gs

#endif
