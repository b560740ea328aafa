// Planes number by number: a scale and a shift for each channel, other planes added, an activation.
#include "activate.h"
#include "steps.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int L = Vec<float>::lanes;

struct Mapped {
  const gs_step& s;
  float scale, shift;
};

GS_INLINE vec<float> mapped(const Mapped& m, vec<float> x, vec<float> more) {
  vec<float> y[1] = {x};
  if (m.s.scale) y[0] = y[0] * splat<float>(m.scale) + splat<float>(m.shift);
  if (m.s.more.channels) y[0] += more;
  activate<float, 1>(m.s.activation, m.s.slope, y);
  return y[0];
}

void map_row(const Mapped& m, const float* x, const float* more, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + L <= n; i += L) store<float>(out + i, mapped(m, load<float>(x + i), more ? load<float>(more + i) : vec<float>{}));
  if (i == n) return;
  store_part<float>(out + i, mapped(m, load_part<float>(x + i, n - i), more ? load_part<float>(more + i, n - i) : vec<float>{}), n - i);
}

}  // namespace

gs_status step_map(const gs_step* step, float* const* memory, gs_parallel_for parallel) {
  const gs_step& s = *step;
  return for_channels(s, parallel, 2, [&](int64_t c) {
    const Mapped m = {s, s.scale ? s.scale[c] : 1, s.shift ? s.shift[c] : 0};
    for (int64_t y = 0; y < s.out.height; ++y)
      for (int64_t phase = 0; phase < least(s.out.phases_w, s.out.width); ++phase) {
        const float* x = memory[s.x.memory] + row_at(s.x, c, y, phase);
        const float* more = s.more.channels ? memory[s.more.memory] + row_at(s.more, c, y, phase) : nullptr;
        map_row(m, x, more, in_phase(s.out.width, phase, s.out.phases_w), memory[s.out.memory] + row_at(s.out, c, y, phase));
      }
    return GS_OK;
  });
}

}  // namespace GS_SET
}  // namespace gs
