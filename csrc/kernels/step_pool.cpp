// Pools: the rows of a window become one row by vectors, then its columns one number.
#include "steps.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int L = Vec<float>::lanes;

struct Largest {  // NaN where there is one
  static constexpr bool mean = false;
  template <class V> GS_INLINE_MEMBER V operator()(V a, V b) const { return (b > a) | (b != b) ? b : a; }
};
struct Sum {
  static constexpr bool mean = true;
  template <class V> GS_INLINE_MEMBER V operator()(V a, V b) const { return a + b; }
};

// Rows begin, begin + dilation, ... of a window as one.
template <class Op> void rows_as_one(const gs_step& s, const float* plane, const gs_window& window, float* row) {
  const Op op;
  const int64_t n = s.x.width, step = s.dilation_h * s.x.pitch, count = ceil_div(window.end - window.begin, s.dilation_h);
  plane += window.begin * s.x.pitch;
  int64_t i = 0;
  for (; i + L <= n; i += L) {
    vec<float> v = load<float>(plane + i);
    for (int64_t q = 1; q < count; ++q) v = op(v, load<float>(plane + q * step + i));
    store<float>(row + i, v);
  }
  for (; i < n; ++i) {
    row[i] = plane[i];
    for (int64_t q = 1; q < count; ++q) row[i] = op(row[i], plane[q * step + i]);
  }
}

// The outputs whose windows are as many columns, and as far apart, as that of the middle one: [begin, end).
struct Even {
  int64_t begin, end, step, count;
};
Even even_windows(const gs_step& s) {
  const int64_t n = s.out.width, middle = n / 2;
  const gs_window* w = s.windows_w;
  const int64_t size = w[middle].end - w[middle].begin, step = n > 1 ? w[middle].begin - w[middle - 1].begin : 1;
  Even even = {middle, middle + 1, step, ceil_div(size, s.dilation_w)};
  const auto fits = [&](int64_t a, int64_t b) { return w[b].begin - w[a].begin == step && w[a].end - w[a].begin == size && w[b].end - w[b].begin == size; };
  while (even.begin > 0 && fits(even.begin - 1, even.begin)) --even.begin;
  while (even.end < n && fits(even.end - 1, even.end)) ++even.end;
  return even;
}

template <class Op, int step> void even_columns(const float* row, int64_t n, int64_t count, int64_t dilation, float* y) {
  const Op op;
  for (int64_t i = 0; i < n; ++i) y[i] = row[i * step];
  for (int64_t q = 1; q < count; ++q)
    for (int64_t i = 0; i < n; ++i) y[i] = op(y[i], row[i * step + q * dilation]);
}

template <class Op> void any_columns(const gs_step& s, const float* row, int64_t begin, int64_t end, float* y) {
  const Op op;
  for (int64_t i = begin; i < end; ++i) {
    const gs_window& w = s.windows_w[i];
    y[i] = row[w.begin];
    for (int64_t q = w.begin + s.dilation_w; q < w.end; q += s.dilation_w) y[i] = op(y[i], row[q]);
  }
}

template <class Op> void columns_as_one(const gs_step& s, const Even& even, const float* row, float* y) {
  if (even.step != 1 && even.step != 2) return any_columns<Op>(s, row, 0, s.out.width, y);
  const float* first = row + s.windows_w[even.begin].begin;
  const int64_t n = even.end - even.begin;
  any_columns<Op>(s, row, 0, even.begin, y);
  if (even.step == 1) even_columns<Op, 1>(first, n, even.count, s.dilation_w, y + even.begin);
  else even_columns<Op, 2>(first, n, even.count, s.dilation_w, y + even.begin);
  any_columns<Op>(s, row, even.end, s.out.width, y);
}

// The sum of a whole plane: at once where its rows follow each other, else row by row.
float whole_sum(const gs_step& s, const float* plane) {
  vec<float> sums[4] = {};
  const int64_t n = s.x.height == 1 || s.x.pitch == s.x.width ? s.x.height * s.x.width : 0;
  float total = 0;
  int64_t i = 0;
  if (n) {
    for (; i + 4 * L <= n; i += 4 * L)
      for (int q = 0; q < 4; ++q) sums[q] += load<float>(plane + i + q * L);
    for (; i < n; ++i) total += plane[i];
  }
  for (int64_t y = 0; !n && y < s.x.height; ++y) {
    const float* row = plane + y * s.x.pitch;
    for (i = 0; i + L <= s.x.width; i += L) sums[0] += load<float>(row + i);
    if (i < s.x.width) sums[1] += load_part<float>(row + i, s.x.width - i);
  }
  return total + sum<float>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

bool whole(const gs_step& s) {
  const gs_window &h = *s.windows_h, &w = *s.windows_w;
  return s.out.height == 1 && s.out.width == 1 && s.dilation_h == 1 && s.dilation_w == 1 && h.end - h.begin == s.x.height &&
         w.end - w.begin == s.x.width;
}

template <class Op> gs_status pool(const gs_step& s, float* const* memory, gs_parallel_for parallel) {
  const Even even = even_windows(s);
  const bool all = Op::mean && whole(s);
  return for_channels(s, parallel, 4, [&](int64_t c) {
    const float* plane = memory[s.x.memory] + s.x.at + c * s.x.plane;
    if (all) {
      memory[s.out.memory][row_at(s.out, c, 0, 0)] = whole_sum(s, plane) / (s.windows_h->divisor * s.windows_w->divisor);
      return GS_OK;
    }
    float* row = static_cast<float*>(gs_scratch((s.x.width + s.out.width) * sizeof(float)));
    if (!row) return GS_MEMORY;
    float* y = row + s.x.width;
    for (int64_t i = 0; i < s.out.height; ++i) {
      rows_as_one<Op>(s, plane, s.windows_h[i], row);
      columns_as_one<Op>(s, even, row, y);
      if (Op::mean)
        for (int64_t j = 0; j < s.out.width; ++j) y[j] /= s.windows_h[i].divisor * s.windows_w[j].divisor;
      store_phases(s.out, memory[s.out.memory], c, i, y);
    }
    return GS_OK;
  });
}

}  // namespace

gs_status step_max_pool(const gs_step* step, float* const* memory, gs_parallel_for parallel) {
  return pool<Largest>(*step, memory, parallel);
}
gs_status step_mean_pool(const gs_step* step, float* const* memory, gs_parallel_for parallel) {
  return pool<Sum>(*step, memory, parallel);
}

}  // namespace GS_SET
}  // namespace gs
