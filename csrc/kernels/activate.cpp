#include "activate.h"

#include "smooth.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr double kRootHalf = 0.70710678118654752, kGelu = 0.79788456080286536, kGeluCube = 0.044715;  // kGelu: sqrt(2 / pi)

template <class T, class F> GS_INLINE void each(vec<T>* y, int64_t n, F f) {
  for (int64_t i = 0; i < n; ++i) y[i] = f(y[i]);
}

template <class T> GS_INLINE vec<T> hard(vec<T> x) { return between<T>(x + splat<T>(3), 0, 6); }

// x times the mean of 1 and y.
template <class T> GS_INLINE vec<T> gated(vec<T> x, vec<T> y) { return x * (splat<T>(T(0.5)) * y + splat<T>(T(0.5))); }

}  // namespace

template <class T> void activate_called(int64_t kind, T slope, vec<T>* y, int64_t n) {
  typedef vec<T> v;
  switch (kind) {
    case GS_RELU: return each<T>(y, n, [](v x) { return relu<T>(x); });
    case GS_LEAKY_RELU: return each<T>(y, n, [=](v x) { return x < v{} ? x * splat<T>(slope) : x; });
    case GS_RELU6: return each<T>(y, n, [](v x) { return relu6<T>(x); });
    case GS_HARDSWISH: return each<T>(y, n, [](v x) { return x * hard<T>(x) / splat<T>(6); });
    case GS_HARDSIGMOID: return each<T>(y, n, [](v x) { return hard<T>(x) / splat<T>(6); });
    case GS_SILU: return each<T>(y, n, [](v x) { return x * logistic<T>(x); });
    case GS_SIGMOID: return each<T>(y, n, [](v x) { return logistic<T>(x); });
    case GS_TANH: return each<T>(y, n, [](v x) { return tangent<T>(x); });
    case GS_ELU: return each<T>(y, n, [=](v x) { return x < v{} ? splat<T>(slope) * exponential_less_one<T>(x) : x; });
    case GS_GELU: return each<T>(y, n, [](v x) { return gated<T>(x, error_function<T>(x * splat<T>(T(kRootHalf)))); });
    case GS_GELU_TANH:
      return each<T>(y, n, [](v x) {
        const v cube = x * x * x;
        return gated<T>(x, tangent<T>(splat<T>(T(kGelu)) * (cube * splat<T>(T(kGeluCube)) + x)));
      });
    default: return;
  }
}

template <class T> void activate_stored(int64_t kind, T slope, T* y, int64_t n) {
  for (int64_t i = 0; i < n; i += Vec<T>::lanes) {
    const int64_t size = n - i < Vec<T>::lanes ? n - i : Vec<T>::lanes;
    vec<T> v = load_part<T>(y + i, size);
    activate_called<T>(kind, slope, &v, 1);
    store_part<T>(y + i, v, size);
  }
}

template void activate_stored<float>(int64_t, float, float*, int64_t);
template void activate_stored<double>(int64_t, double, double*, int64_t);
template void activate_called<float>(int64_t, float, f32v*, int64_t);
template void activate_called<double>(int64_t, double, f64v*, int64_t);

}  // namespace GS_SET
}  // namespace gs
