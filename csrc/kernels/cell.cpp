// The gates of recurrent cells, number by number. The numbers of a gate lie side by side, whatever features and sequences they
// are of. Whole vectors and the last part of one go through the same instructions, so that bits do not depend on the place.
#include "items.h"
#include "smooth.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kCost = 24;  // of a number of a gate, in multiply-adds

// `size` numbers from i on, of part `part` of an array whose parts have n numbers each.
template <class T> struct Place {
  int64_t n, i, size;

  GS_INLINE_MEMBER vec<T> get(const void* array, int64_t part = 0) const {
    const T* p = static_cast<const T*>(array) + part * n + i;
    return size == Vec<T>::lanes ? load<T>(p) : load_part<T>(p, size);
  }
  GS_INLINE_MEMBER void put(void* array, int64_t part, vec<T> v) const {
    if (!array) return;
    T* p = static_cast<T*>(array) + part * n + i;
    if (size == Vec<T>::lanes) store<T>(p, v);
    else store_part<T>(p, v, size);
  }
};

template <class T> GS_INLINE vec<T> one() { return splat<T>(1); }

template <class T> void simple(const gs_cell_step& s, const Place<T>& at) {
  const vec<T> sum = at.get(s.x) + at.get(s.q), h = s.cell == GS_CELL_RELU ? relu<T>(sum) : tangent<T>(sum);
  at.put(s.kept, 0, h);
  at.put(s.h, 0, h);
}

template <class T> void lstm(const gs_cell_step& s, const Place<T>& at) {
  const vec<T> i = logistic<T>(at.get(s.x) + at.get(s.q)), f = logistic<T>(at.get(s.x, 1) + at.get(s.q, 1));
  const vec<T> g = tangent<T>(at.get(s.x, 2) + at.get(s.q, 2)), o = logistic<T>(at.get(s.x, 3) + at.get(s.q, 3));
  const vec<T> before = at.get(s.c), c = f * before + i * g;
  const vec<T> kept[] = {i, f, g, o, before};
  for (int k = 0; k < 5; ++k) at.put(s.kept, k, kept[k]);
  at.put(s.c, 0, c);
  at.put(s.h, 0, o * tangent<T>(c));
}

template <class T> void gru(const gs_cell_step& s, const Place<T>& at) {
  const vec<T> r = logistic<T>(at.get(s.x) + at.get(s.q)), z = logistic<T>(at.get(s.x, 1) + at.get(s.q, 1));
  const vec<T> q = at.get(s.q, 2), n = tangent<T>(at.get(s.x, 2) + r * q);
  const vec<T> kept[] = {r, z, n, q};
  for (int k = 0; k < 4; ++k) at.put(s.kept, k, kept[k]);
  at.put(s.h, 0, (at.get(s.h) - n) * z + n);
}

template <class T> void simple_backward(const gs_cell_grad& s, const Place<T>& at) {
  const vec<T> h = at.get(s.kept), grad = at.get(s.h), zero{};
  at.put(s.x, 0, s.cell == GS_CELL_RELU ? (h <= zero ? zero : grad) : grad * (one<T>() - h * h));
}

template <class T> GS_INLINE vec<T> of_logistic(vec<T> grad, vec<T> y) { return grad * y * (one<T>() - y); }

template <class T> void lstm_backward(const gs_cell_grad& s, const Place<T>& at) {
  const vec<T> i = at.get(s.kept), f = at.get(s.kept, 1), g = at.get(s.kept, 2), o = at.get(s.kept, 3);
  const vec<T> before = at.get(s.kept, 4), grad = at.get(s.h), t = tangent<T>(f * before + i * g);
  const vec<T> c = at.get(s.c) + grad * o * (one<T>() - t * t);
  at.put(s.x, 0, of_logistic<T>(c * g, i));
  at.put(s.x, 1, of_logistic<T>(c * before, f));
  at.put(s.x, 2, c * i * (one<T>() - g * g));
  at.put(s.x, 3, of_logistic<T>(grad * t, o));
  at.put(s.c, 0, c * f);
}

template <class T> void gru_backward(const gs_cell_grad& s, const Place<T>& at) {
  const vec<T> r = at.get(s.kept), z = at.get(s.kept, 1), n = at.get(s.kept, 2), q = at.get(s.kept, 3);
  const vec<T> grad = at.get(s.h), by_n = grad * (one<T>() - z) * (one<T>() - n * n);
  const vec<T> parts[] = {of_logistic<T>(by_n * q, r), of_logistic<T>(grad * (at.get(s.before) - n), z)};
  for (int k = 0; k < 2; ++k) at.put(s.x, k, parts[k]), at.put(s.q, k, parts[k]);
  at.put(s.x, 2, by_n);
  at.put(s.q, 2, by_n * r);
  at.put(s.h, 0, grad * z);
}

// Calls f(place) for all numbers.
template <class T, class Step, class F> gs_status each_place(const Step& s, int64_t gates, F f) {
  constexpr int64_t L = Vec<T>::lanes;
  return for_items(s, (s.n + L - 1) / L, kCost * L * gates, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * L; i < s.n && i < end * L; i += L) f(Place<T>{s.n, i, s.n - i < L ? s.n - i : L});
    return GS_OK;
  });
}

template <class T> gs_status forward(const gs_cell_step& s) {
  switch (s.cell) {
    case GS_CELL_LSTM: return each_place<T>(s, 4, [&](const Place<T>& at) { lstm<T>(s, at); });
    case GS_CELL_GRU: return each_place<T>(s, 3, [&](const Place<T>& at) { gru<T>(s, at); });
    default: return each_place<T>(s, 1, [&](const Place<T>& at) { simple<T>(s, at); });
  }
}

template <class T> gs_status backward(const gs_cell_grad& s) {
  switch (s.cell) {
    case GS_CELL_LSTM: return each_place<T>(s, 4, [&](const Place<T>& at) { lstm_backward<T>(s, at); });
    case GS_CELL_GRU: return each_place<T>(s, 3, [&](const Place<T>& at) { gru_backward<T>(s, at); });
    default: return each_place<T>(s, 1, [&](const Place<T>& at) { simple_backward<T>(s, at); });
  }
}

}  // namespace

gs_status cell_f32(const gs_cell_step* step) { return forward<float>(*step); }
gs_status cell_f64(const gs_cell_step* step) { return forward<double>(*step); }
gs_status cell_backward_f32(const gs_cell_grad* step) { return backward<float>(*step); }
gs_status cell_backward_f64(const gs_cell_grad* step) { return backward<double>(*step); }

}  // namespace GS_SET
}  // namespace gs
