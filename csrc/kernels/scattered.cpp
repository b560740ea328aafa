#include "scattered.h"

#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kFar = 32;  // connections between asking for an input and using it: what a core can wait for at once

// B batch columns of a panel from column `at` on.
template <class T, int B> struct Columns {
  T* data;
  int64_t feature, batch;

  Columns(const gs_panel& panel, int64_t at)
      : data(static_cast<T*>(const_cast<void*>(panel.data)) + at * panel.batch_stride), feature(panel.feature_stride),
        batch(panel.batch_stride) {}
  Columns(void* out, int64_t stride, int64_t at) : data(static_cast<T*>(out) + at), feature(stride), batch(1) {}

  GS_INLINE_MEMBER T& at(int64_t i, int b) const { return data[i * feature + b * batch]; }
  GS_INLINE_MEMBER void read(int64_t i, T (&v)[B]) const {
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) v[b] = at(i, b);
  }
  GS_INLINE_MEMBER void ask(int64_t i) const {
    if (batch == 1) return prefetch(&at(i, 0), 0);
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) prefetch(&at(i, b), 0);
  }
};

// Calls run(Width<B>, first column) for the columns of a batch: kWide, or what there is in falling powers of two.
template <int B> struct Width {
  static constexpr int value = B;
};
template <class F> GS_INLINE void by_columns(int64_t batch, F run) {
  int64_t at = 0;
  if (batch == kWide) return run(Width<kWide>{}, at);
  if (batch & 4) run(Width<4>{}, at), at += 4;
  if (batch & 2) run(Width<2>{}, at), at += 2;
  if (batch & 1) run(Width<1>{}, at);
}

// Calls use(width, columns, first batch column, begin, end) for parts of `count` rows or inputs, columns in the type they are
// stored in. `extra` multiply-adds come to those of the connections of each.
template <class F> GS_INLINE gs_status spread(const gs_call& call, int64_t count, int64_t extra, F use) {
  const int64_t cost = (connections(call.w) / most(1, count) + extra) * call.batch;
  return for_items(call, count, cost, [&](int64_t begin, int64_t end) {
    by_columns(call.batch, [&](auto width, int64_t at) {
      if (call.w.col_bytes == 2) use(width, static_cast<const uint16_t*>(call.w.cols), at, begin, end);
      else use(width, static_cast<const int32_t*>(call.w.cols), at, begin, end);
    });
    return GS_OK;
  });
}

template <class T, int B, class I>
void forward(const gs_call& call, const I* col, int64_t at, int64_t r0, int64_t r1) {
  const Columns<T, B> x(call.x, at);
  const T* values = static_cast<const T*>(call.w.values);
  const int64_t last = connections(call.w) - 1;
  int64_t active = first_active(call.w, r0);
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(call.w, r, active);
    T total[B] = {};
    for (int64_t j = row.first; j < row.first + row.count; ++j) {
      x.ask(col[least(j + kFar, last)]);
      T in[B];
      x.read(col[j], in);
#pragma GCC unroll 8
      for (int b = 0; b < B; ++b) total[b] += values[j] * in[b];
    }
    for (int b = 0; b < B; ++b) finish<T>(call, r, at + b, total[b]);
  }
}

template <class T, int B, class I>
void sampled(const gs_call& call, const I* col, int64_t at, int64_t r0, int64_t r1) {
  const Columns<T, B> x(call.x, at), dy(call.grad, at);
  T* out = static_cast<T*>(call.out);
  const int64_t last = connections(call.w) - 1;
  int64_t active = first_active(call.w, r0);
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(call.w, r, active);
    T grad[B];
    dy.read(r, grad);
    for (int64_t j = row.first; j < row.first + row.count; ++j) {
      x.ask(col[least(j + kFar, last)]);
      T in[B], total = at ? out[j] : 0;
      x.read(col[j], in);
#pragma GCC unroll 8
      for (int b = 0; b < B; ++b) total += grad[b] * in[b];
      out[j] = total;
    }
  }
}

// Every thread walks all connections and adds those of its inputs c0 .. c1: an input's sum is in the order of the rows
// however many threads there are.
template <class T, int B, class I>
void scatter(const gs_call& call, const I* col, int64_t at, int64_t c0, int64_t c1) {
  const Columns<T, B> dy(call.grad, at), out(call.out, call.out_stride, at);
  const T* values = static_cast<const T*>(call.w.values);
  const int64_t last = connections(call.w) - 1, rows = call.w.n_out;
  int64_t active = 0;
  for (int64_t i = c0; i < c1; ++i)
    for (int b = 0; b < B; ++b) out.at(i, b) = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const Row row = row_at(call.w, r, active);
    T grad[B];
    dy.read(r, grad);
    for (int64_t j = row.first; j < row.first + row.count; ++j) {
      out.ask(least(most(col[least(j + kFar, last)], c0), c1 - 1));
      if (col[j] < c0 || col[j] >= c1) continue;
#pragma GCC unroll 8
      for (int b = 0; b < B; ++b) out.at(col[j], b) += values[j] * grad[b];
    }
  }
}

}  // namespace

template <class T> gs_status scattered_linear(const gs_call& call) {
  return spread(call, call.w.n_out, 8, [&](auto width, const auto* col, int64_t at, int64_t begin, int64_t end) {
    forward<T, decltype(width)::value>(call, col, at, begin, end);
  });
}

template <class T> gs_status scattered_grad_values(const gs_call& call) {
  return spread(call, call.w.n_out, 1, [&](auto width, const auto* col, int64_t at, int64_t begin, int64_t end) {
    sampled<T, decltype(width)::value>(call, col, at, begin, end);
  });
}

template <class T> gs_status scattered_grad_input(const gs_call& call) {
  return spread(call, call.w.n_in, 1, [&](auto width, const auto* col, int64_t at, int64_t begin, int64_t end) {
    scatter<T, decltype(width)::value>(call, col, at, begin, end);
  });
}

template gs_status scattered_linear<float>(const gs_call& call);
template gs_status scattered_linear<double>(const gs_call& call);
template gs_status scattered_grad_input<float>(const gs_call& call);
template gs_status scattered_grad_input<double>(const gs_call& call);
template gs_status scattered_grad_values<float>(const gs_call& call);
template gs_status scattered_grad_values<double>(const gs_call& call);

}  // namespace GS_SET
}  // namespace gs
