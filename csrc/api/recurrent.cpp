// A recurrent layer over a whole sequence: the products of the layouts, and the gates between them. What a step works on is
// brought into [features, active] without gaps, so that gates are flat arrays and products write where they are read.
#include "recurrent.h"

#include <string.h>

#include "isa.h"

namespace {

// Some columns of a [features, columns] array with a stride of 1, and a copy of them without gaps: [features, n].
template <class T, class P> struct Columns {
  P* data;
  int64_t feature_stride, column_stride, features, n;

  template <class F> void each(F f) const {
    if (column_stride == 1 || n == 1) {
      for (int64_t i = 0; i < features; ++i)
        for (int64_t j = 0; j < n; ++j) f(data[i * feature_stride + j * column_stride], i * n + j);
    } else {
      for (int64_t j = 0; j < n; ++j)
        for (int64_t i = 0; i < features; ++i) f(data[j * column_stride + i], i * n + j);
    }
  }
};

template <class T> Columns<T, const T> columns_of(const gs_panel& p, int64_t features, int64_t at, int64_t n) {
  return {static_cast<const T*>(p.data) + at * p.batch_stride, p.feature_stride, p.batch_stride, features, n};
}
template <class T> Columns<T, T> columns_of(const gs_columns& p, int64_t features, int64_t at, int64_t n) {
  return {static_cast<T*>(p.data) + at * p.column_stride, p.feature_stride, p.column_stride, features, n};
}

template <class T> void bring(const Columns<T, const T>& from, T* to) {
  from.each([=](const T& x, int64_t i) { to[i] = x; });
}
template <class T> void add(const Columns<T, const T>& from, T* to) {
  from.each([=](const T& x, int64_t i) { to[i] += x; });
}
template <class T> void put(const T* from, const Columns<T, T>& to) {
  to.each([=](T& x, int64_t i) { x = from[i]; });
}

// The state of `from` sequences becomes that of `to`, in place: sequences that begin here come from `first` ([hidden, width],
// or null: zeros), those that end here go to `last`.
template <class T> void resize(T* state, int64_t hidden, int64_t width, int64_t from, int64_t to, const T* first, T* last) {
  const int64_t stay = from < to ? from : to;
  if (from == to) return;
  for (int64_t k = 0; k < hidden; ++k) {
    const int64_t i = from < to ? hidden - 1 - k : k;  // rows that move up are read before they are written over
    T* row = state + i * to;
    for (int64_t j = to; j < from; ++j) last[i * width + j] = state[i * from + j];
    memmove(row, state + i * from, static_cast<size_t>(stay) * sizeof(T));
    for (int64_t j = from; j < to; ++j) row[j] = first ? first[i * width + j] : 0;
  }
}

// Calls f(columns before this time, sequences that have it, sequences of the step before) for each time.
template <class F> gs_status each_time(const gs_sequence& s, bool down, F f) {
  int64_t at = down ? s.columns : 0, last = 0;
  for (int64_t k = 0; k < s.times; ++k) {
    const int64_t t = down ? s.times - 1 - k : k, here = s.active ? s.active[t] : s.width;
    if (down) at -= here;
    const gs_status status = f(at, here, last);
    if (status != GS_OK) return status;
    if (!down) at += here;
    last = here;
  }
  return GS_OK;
}

// The number of sequences at the last step of a pass.
int64_t remaining(const gs_sequence& s, bool down) { return s.active && s.times ? s.active[down ? 0 : s.times - 1] : s.width; }

template <class T> gs_status forward(const gs_sequence_forward& call, const gs_kernels& kernels) {
  const gs_sequence& s = call.s;
  const int64_t hidden = s.w.n_in, rows = s.w.n_out, width = s.width, unit = hidden * width;
  const bool down = s.reverse, lstm = s.cell == GS_CELL_LSTM;
  T* h = static_cast<T*>(s.room);
  T *c = h + unit, *x = c + unit, *q = x + rows * width;
  const T *h_first = static_cast<const T*>(call.h), *c_first = static_cast<const T*>(call.c);
  T *h_last = static_cast<T*>(call.h_out), *c_last = static_cast<T*>(call.c_out), *kept = static_cast<T*>(call.kept);
  const gs_status status = each_time(s, down, [&](int64_t at, int64_t n, int64_t before) {
    resize(h, hidden, width, before, n, h_first, h_last);
    if (lstm) resize(c, hidden, width, before, n, c_first, c_last);
    const gs_call product = {s.w, s.isa, n, {h, n, 1}, {}, call.bias, GS_IDENTITY, 0, {}, q, n, s.parallel, 0, 0};
    gs_status done = gs_linear(&product);
    if (done != GS_OK) return done;
    bring(columns_of<T>(call.x, rows, at, n), x);
    const gs_cell_step step = {s.cell, hidden * n, x, q, h, c, kept ? kept + at * hidden * gs_kept(s.cell) : nullptr, s.parallel};
    done = kernels.cell[s.w.dtype](&step);
    put(h, columns_of<T>(call.out, hidden, at, n));
    return done;
  });
  if (status != GS_OK) return status;
  const int64_t left = remaining(s, down);
  resize<T>(h, hidden, width, left, 0, nullptr, h_last);
  if (lstm) resize<T>(c, hidden, width, left, 0, nullptr, c_last);
  return GS_OK;
}

template <class T> gs_status backward(const gs_sequence_backward& call, const gs_kernels& kernels) {
  const gs_sequence& s = call.s;
  const int64_t hidden = s.w.n_in, rows = s.w.n_out, width = s.width, unit = hidden * width;
  const bool down = !s.reverse, lstm = s.cell == GS_CELL_LSTM, gru = s.cell == GS_CELL_GRU;
  T* h = static_cast<T*>(s.room);
  T *other = h + unit, *c = other + unit, *before = c + unit, *x = before + unit, *q = gru ? x + rows * width : x;
  const T *h_first = static_cast<const T*>(call.h_grad), *c_first = static_cast<const T*>(call.c_grad);
  T *h_last = static_cast<T*>(call.h_out), *c_last = static_cast<T*>(call.c_out);
  const T* kept = static_cast<const T*>(call.kept);
  const gs_status status = each_time(s, down, [&](int64_t at, int64_t n, int64_t last) {
    resize(h, hidden, width, last, n, h_first, h_last);
    if (lstm) resize(c, hidden, width, last, n, c_first, c_last);
    if (call.grad.data) add(columns_of<T>(call.grad, hidden, at, n), h);
    if (gru) bring(columns_of<T>(call.before, hidden, at, n), before);
    const gs_cell_grad step = {s.cell, hidden * n, kept + at * hidden * gs_kept(s.cell), before, h, c, x, q, s.parallel};
    gs_status done = kernels.cell_backward[s.w.dtype](&step);
    if (done != GS_OK) return done;
    put(x, columns_of<T>(call.x_grad, rows, at, n));
    if (gru) put(q, columns_of<T>(call.q_grad, rows, at, n));
    const gs_call product = {s.w, s.isa, n, {}, {q, n, 1}, nullptr, GS_IDENTITY, 0, {}, other, n, s.parallel, 0, 0};
    done = call.by_columns ? gs_linear_grad_input_transposed(&product, call.by_columns, call.by_columns_room) : gs_linear_grad_input(&product);
    for (int64_t i = 0; gru && i < hidden * n; ++i) other[i] += h[i];
    T* const spare = h;
    h = other, other = spare;
    return done;
  });
  if (status != GS_OK) return status;
  const int64_t left = remaining(s, down);
  resize<T>(h, hidden, width, left, 0, nullptr, h_last);
  if (lstm) resize<T>(c, hidden, width, left, 0, nullptr, c_last);
  return GS_OK;
}

}  // namespace

extern "C" {

gs_status gs_recurrent(const gs_sequence_forward* call) {
  if (!call) return GS_NULL;
  const gs_sequence& s = call->s;
  gs_status status = gs_check_sequence(s);
  if (status != GS_OK) return status;
  const gs_kernels* kernels = gs_kernels_for(s.isa);
  if (!kernels) return GS_ISA;
  if (s.w.dtype != GS_F32 && s.w.dtype != GS_F64) return GS_DTYPE;
  const bool some = s.w.n_in && s.width, lstm = s.cell == GS_CELL_LSTM;
  if (some && (!call->h || !call->h_out || (lstm && (!call->c || !call->c_out)))) return GS_NULL;
  status = gs_check_columns(call->x.data, call->x.feature_stride, call->x.batch_stride, s.w.n_out, s.columns);
  if (status == GS_OK) status = gs_check_columns(call->out.data, call->out.feature_stride, call->out.column_stride, s.w.n_in, s.columns);
  if (status != GS_OK || !some) return status;
  return s.w.dtype == GS_F32 ? forward<float>(*call, *kernels) : forward<double>(*call, *kernels);
}

gs_status gs_recurrent_backward(const gs_sequence_backward* call) {
  if (!call) return GS_NULL;
  const gs_sequence& s = call->s;
  gs_status status = gs_check_sequence(s);
  if (status != GS_OK) return status;
  const gs_kernels* kernels = gs_kernels_for(s.isa);
  if (!kernels) return GS_ISA;
  if (s.w.narrow || (s.w.dtype != GS_F32 && s.w.dtype != GS_F64)) return GS_DTYPE;
  const bool some = s.w.n_in && s.width, lstm = s.cell == GS_CELL_LSTM, gru = s.cell == GS_CELL_GRU;
  if (some && (!call->kept || !call->h_out || (lstm && !call->c_out))) return GS_NULL;
  const gs_panel *grad = &call->grad, *before = &call->before;
  const gs_columns *x = &call->x_grad, *q = &call->q_grad;
  status = gs_check_columns(x->data, x->feature_stride, x->column_stride, s.w.n_out, s.columns);
  if (status == GS_OK && gru) status = gs_check_columns(q->data, q->feature_stride, q->column_stride, s.w.n_out, s.columns);
  if (status == GS_OK && gru) status = gs_check_columns(before->data, before->feature_stride, before->batch_stride, s.w.n_in, s.columns);
  if (status == GS_OK && grad->data) status = gs_check_columns(grad->data, grad->feature_stride, grad->batch_stride, s.w.n_in, s.columns);
  if (status != GS_OK || !some) return status;
  return s.w.dtype == GS_F32 ? backward<float>(*call, *kernels) : backward<double>(*call, *kernels);
}

}
