// Planes moved to other places: into phases, out of a batch, into a border, larger by repeating. Rows and columns are
// numbered; a row of numbers that lie evenly is copied by vectors.
#include "steps.h"

namespace gs {
namespace GS_SET {
namespace {

// How far apart the columns are that a phase of an output row reads, if evenly and none of them outside; else 0.
int64_t even_step(const gs_step& s, int64_t phase) {
  const int64_t n = in_phase(s.out.width, phase, s.out.phases_w), apart = s.out.phases_w;
  if (s.x.phases_w != 1) return 0;
  if (!s.cols) return apart;
  const int64_t step = n > 1 ? s.cols[phase + apart] - s.cols[phase] : 1;
  if (step < 1 || s.cols[phase] < 0) return 0;
  for (int64_t i = 1; i < n; ++i)
    if (s.cols[phase + i * apart] != s.cols[phase] + i * step) return 0;
  return step;
}

// One phase of a row whose columns lie anywhere; x: where the input row begins, in its first phase.
void any_row(const gs_step& s, int64_t phase, const float* x, float* y) {
  const int64_t apart = s.out.phases_w, n = in_phase(s.out.width, phase, apart);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t column = s.cols ? s.cols[phase + i * apart] : phase + i * apart;
    y[i] = column < 0 ? 0 : x[column % s.x.phases_w * s.x.phase + column / s.x.phases_w];
  }
}

void move_row(const gs_step& s, int64_t c, int64_t y, int64_t phase, int64_t step, const float* x, float* out) {
  const int64_t from = s.rows ? s.rows[y] : y, n = in_phase(s.out.width, phase, s.out.phases_w);
  out += row_at(s.out, c, y, phase);
  if (from < 0) {
    for (int64_t i = 0; i < n; ++i) out[i] = 0;
  } else if (step) {
    strided_row(x + row_at(s.x, c, from, 0) + (s.cols ? s.cols[phase] : phase), step, n, out);
  } else if (!s.cols && s.x.phases_w == s.out.phases_w) {
    copy_row(x + row_at(s.x, c, from, phase), n, out);
  } else {
    any_row(s, phase, x + row_at(s.x, c, from, 0), out);
  }
}

}  // namespace

gs_status step_move(const gs_step* step, float* const* memory, gs_parallel_for parallel) {
  const gs_step& s = *step;
  const float* x = memory[s.x.memory];
  float* out = memory[s.out.memory];
  return for_channels(s, parallel, 1, [&](int64_t c) {
    for (int64_t phase = 0; phase < least(s.out.phases_w, s.out.width); ++phase) {
      const int64_t apart = even_step(s, phase);
      for (int64_t y = 0; y < s.out.height; ++y) move_row(s, c, y, phase, apart, x, out);
    }
    return GS_OK;
  });
}

}  // namespace GS_SET
}  // namespace gs
