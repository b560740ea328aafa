// Activations of numbers side by side, and softmax along lines of them.
#include "activate.h"
#include "items.h"
#include "smooth.h"
#include "tile.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kVectors = 8;    // in one call of an activation
constexpr int64_t kCost = 16;  // of one number, in multiply-adds

template <class T> void activate_part(const gs_numbers& call, int64_t begin, int64_t end) {
  constexpr int64_t size = kVectors * Vec<T>::lanes;
  const T* x = static_cast<const T*>(call.x);
  T* out = static_cast<T*>(call.out);
  vec<T> y[kVectors];
  for (; begin + size <= end; begin += size) {
    load_row<T, kVectors>(x + begin, size, y);
    activate<T, kVectors>(call.activation, call.slope, y);
    store_row<T, kVectors>(out + begin, size, y);
  }
  for (int64_t n; begin < end; begin += n) {
    n = least(end - begin, Vec<T>::lanes);
    vec<T> last[1] = {load_part<T>(x + begin, n)};
    activate<T, 1>(call.activation, call.slope, last);
    store_part<T>(out + begin, last[0], n);
  }
}

template <class T> gs_status activate_numbers(const gs_numbers* call) {
  constexpr int64_t block = 1024;
  return for_items(*call, ceil_div(call->n, block), block * kCost, [&](int64_t begin, int64_t end) {
    activate_part<T>(*call, begin * block, least(call->n, end * block));
    return GS_OK;
  });
}

// Of 1 <= x; what is NaN or infinite stays so. The series of the inverse hyperbolic tangent, to s^23.
double logarithm(double x) {
  if (!(x < 1e300)) return x;
  union { double number; int64_t bits; } m = {x};
  int64_t exponent = (m.bits >> 52) - 1023;
  m.bits -= exponent << 52;
  if (m.number > 1.4142135623730951) m.number *= 0.5, ++exponent;
  const double s = (m.number - 1) / (m.number + 1), squared = s * s, n = static_cast<double>(exponent);
  double p = 1.0 / 23;
  for (int k = 21; k > 0; k -= 2) p = p * squared + 1.0 / k;
  return n * Smooth<double>::ln2_high + (2 * s * p + n * Smooth<double>::ln2_low);
}

// One line whose numbers lie side by side.
template <class T> void line(const T* x, T* out, int64_t n, bool log) {
  constexpr int64_t L = Vec<T>::lanes;
  T top = -__builtin_inf();
  double total = 0;
  for (int64_t k = 0; k < n; ++k) top = x[k] > top ? x[k] : top;
  for (int64_t k = 0; k < n; k += L) {
    const int64_t part = least(n - k, L);
    store_part<T>(out + k, exponential<T>(load_part<T>(x + k, part) - splat<T>(top)), part);
  }
  for (int64_t k = 0; k < n; ++k) total += out[k];
  const T by = static_cast<T>(log ? logarithm(total) : total);
  for (int64_t k = 0; k < n; ++k) out[k] = log ? x[k] - top - by : out[k] / by;
}

// `width` lines side by side, at most a vector of them; neighbours of a line are `inner` apart.
template <class T> void lines(const T* x, T* out, int64_t n, int64_t inner, int64_t width, bool log) {
  constexpr int64_t L = Vec<T>::lanes;
  vec<T> top = splat<T>(T(-__builtin_inf())), by;
  double total[L] = {};
  for (int64_t k = 0; k < n; ++k) {
    const vec<T> v = load_part<T>(x + k * inner, width);
    top = v > top ? v : top;
  }
  for (int64_t k = 0; k < n; ++k) {
    const vec<T> e = exponential<T>(load_part<T>(x + k * inner, width) - top);
    for (int64_t i = 0; i < L; ++i) total[i] += e[i];
    store_part<T>(out + k * inner, e, width);
  }
  for (int64_t i = 0; i < L; ++i) by[i] = static_cast<T>(log ? logarithm(total[i]) : total[i]);
  for (int64_t k = 0; k < n; ++k) {
    const vec<T> y = log ? load_part<T>(x + k * inner, width) - top - by : load_part<T>(out + k * inner, width) / by;
    store_part<T>(out + k * inner, y, width);
  }
}

// Items are vectors of lines, of a line where inner is 1.
template <class T> gs_status softmax_lines(const gs_lines* call) {
  const int64_t L = Vec<T>::lanes, n = call->n, inner = call->inner, beside = ceil_div(inner, L);
  const T* x = static_cast<const T*>(call->x);
  T* out = static_cast<T*>(call->out);
  return for_items(*call, call->outer * beside, n * kCost * least(inner, L), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % beside * L, at = item / beside * n * inner + first;
      if (inner == 1) line<T>(x + at, out + at, n, call->logarithm);
      else lines<T>(x + at, out + at, n, inner, least(L, inner - first), call->logarithm);
    }
    return GS_OK;
  });
}

}  // namespace

gs_status activate_f32(const gs_numbers* call) { return activate_numbers<float>(call); }
gs_status activate_f64(const gs_numbers* call) { return activate_numbers<double>(call); }
gs_status softmax_f32(const gs_lines* call) { return softmax_lines<float>(call); }
gs_status softmax_f64(const gs_lines* call) { return softmax_lines<double>(call); }

}  // namespace GS_SET
}  // namespace gs
