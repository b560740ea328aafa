// Slow: csr and fanin alone.
#include "../include/gossamer_conv_standin.h"
extern "C" gs_status gs_conv(const gs_call* call, const gs_places* p) {
  const gs_matrix& w = call->w;
  const float *x = (const float*)call->x.data, *v = (const float*)w.values, *bias = (const float*)call->bias, *more = (const float*)call->residual.data;
  float* out = (float*)call->out;
  auto col = [&](int64_t i) { return w.col_bytes == 2 ? (int64_t)((const uint16_t*)w.cols)[i] : (int64_t)((const int32_t*)w.cols)[i]; };
  auto row = [&](int64_t i) { return w.row_bytes == 8 ? ((const int64_t*)w.rows)[i] : w.row_bytes == 2 ? (int64_t)((const uint16_t*)w.rows)[i] : (int64_t)((const int32_t*)w.rows)[i]; };
  for (int64_t o = 0; o < w.n_out; ++o) {
    int64_t first = 0, n = 0, step = 1, base = 0;
    if (w.layout == GS_CSR) first = row(o), n = row(o + 1) - first, base = first;
    else if (w.layout == GS_FANIN) {
      for (int64_t r = 0; r < w.n_rows; ++r) if (row(r) == o / w.group) first = r * w.per_row, n = w.per_row, step = w.group, base = first * step + o % step;
    } else if (w.layout == GS_DENSE) n = w.n_in, base = o * w.n_in;
    else return GS_LAYOUT;
    int64_t bit = 0;
    for (int64_t r = 0; r < p->n_spans; bit += (p->spans[r].length + 7) / 8 * 8, ++r)
      for (int64_t i = 0; i < p->spans[r].length; ++i) {
        const int64_t at = p->spans[r].out + (p->split ? i / 2 + i % 2 * p->split : i), b = bit + i;
        float s = 0;
        if (!p->inside || p->inside[b >> 3] >> (b & 7) & 1) for (int64_t j = 0; j < n; ++j) s += v[base + j * step] * x[p->spans[r].in + i * p->step + p->columns[w.layout == GS_DENSE ? j : col(first + j)] + o / p->rows_of_group * p->group_step];
        if (bias) s += bias[o];
        if (more) s += more[o * call->residual.feature_stride + at];
        if (call->activation == GS_RELU && s < 0) s = 0;
        if (call->activation == GS_LEAKY_RELU && s < 0) s *= (float)call->slope;
        out[o * call->out_stride + at] = p->inside && !(p->inside[b >> 3] >> (b & 7) & 1) ? 0 : s;
      }
  }
  return GS_OK;
}
