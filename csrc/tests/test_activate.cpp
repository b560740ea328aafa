// Activations behind a layer of weight one, against the standard library in double.
#include <algorithm>
#include <cmath>
#include <limits>

#include "testing.h"

namespace {

constexpr double kSlope = 0.75;

double clamped(double x) { return x < 0 ? 0 : x > 6 ? 6 : x; }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double expected(int64_t kind, double x) {
  switch (kind) {
    case GS_RELU: return x < 0 ? 0 : x;
    case GS_LEAKY_RELU: return x < 0 ? x * kSlope : x;
    case GS_RELU6: return std::isnan(x) ? x : clamped(x);
    case GS_SILU: return x * logistic(x);
    case GS_HARDSWISH: return std::isnan(x) ? x : x * clamped(x + 3) / 6;
    case GS_HARDSIGMOID: return std::isnan(x) ? x : clamped(x + 3) / 6;
    case GS_SIGMOID: return logistic(x);
    case GS_TANH: return std::tanh(x);
    case GS_ELU: return x < 0 ? kSlope * std::expm1(x) : x;
    case GS_GELU: return x * (0.5 + 0.5 * std::erf(x * std::sqrt(0.5)));
    case GS_GELU_TANH: return x * (0.5 + 0.5 * std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default: return x;
  }
}

// y = activation(1 x) of a row of numbers, which lie `shift` elements past the start of a vector.
template <class T> std::vector<T> activated(int64_t isa, int64_t kind, const std::vector<T>& x, size_t shift) {
  const int64_t n = static_cast<int64_t>(x.size());
  const int32_t rows[2] = {0, 1}, column[1] = {0};
  const T one = 1;
  Guarded<T> in(x.size(), shift), out(x.size(), shift);
  std::copy(x.begin(), x.end(), in.data());
  gs_call call = {};
  call.w = {GS_CSR, sizeof(T) == 4 ? GS_F32 : GS_F64, 1, 1, 1, 0, 0, 0, 1, 1, 4, 4, &one, rows, column, 0, nullptr};
  call.isa = isa, call.batch = n, call.x = {in.data(), n, 1}, call.activation = kind, call.slope = kSlope;
  call.out = out.data(), call.out_stride = n;
  CHECK(gs_linear(&call) == GS_OK && out.intact());
  return std::vector<T>(out.data(), out.data() + n);
}

template <class T> std::vector<T> numbers() {
  const T huge = std::numeric_limits<T>::max() / 8, tiny = std::numeric_limits<T>::denorm_min();
  std::vector<T> x = {0, T(-0.0), NAN, INFINITY, -INFINITY, huge, -huge, tiny, -tiny, std::numeric_limits<T>::min(), -1, 1, -3, 3, 6};
  std::mt19937 random(7);
  std::uniform_real_distribution<T> around(-1, 1);
  for (T size : {T(1e-6), T(0.3), T(1), T(4), T(20), T(120), T(800)})
    for (int i = 0; i < 200; ++i) x.push_back(around(random) * size);
  return x;
}

template <class T> bool same(T a, T b) { return std::memcmp(&a, &b, sizeof(T)) == 0 || (std::isnan(a) && std::isnan(b)); }

// Four units of the last place of the largest of input, result and, where the function subtracts it, one.
template <class T> bool close(double right, T got, T x) {
  if (std::isnan(right) || std::isinf(right)) return same(static_cast<T>(right), got);
  const double size = std::max({std::fabs(right), std::min(std::fabs(static_cast<double>(x)), 1.0), 1e-300});
  return std::fabs(right - got) <= 4 * size * std::numeric_limits<T>::epsilon() + std::numeric_limits<T>::denorm_min();
}

template <class T> void each_kind(int64_t isa) {
  const std::vector<T> x = numbers<T>();
  for (int64_t kind = GS_IDENTITY; kind <= GS_GELU_TANH; ++kind) {
    const std::vector<T> y = activated<T>(isa, kind, x, 1);
    int wrong = 0, moved = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const bool good = close<T>(expected(kind, x[i]), y[i], x[i]);
      if (!good && ++wrong < 4) std::printf("activation %d of %.9g: %.17g for %.17g\n", int(kind), double(x[i]), double(y[i]), expected(kind, x[i]));
    }
    for (size_t n : {1, 2, 3, 7, 9, 17, 31, 33})  // wherever it stands, by itself, in a vector and in what remains of one
      for (size_t i = 0; i + n <= x.size(); i += 37) {
        const std::vector<T> part = activated<T>(isa, kind, std::vector<T>(x.begin() + i, x.begin() + i + n), n % 4);
        for (size_t j = 0; j < n; ++j) moved += !same(part[j], y[i + j]);
      }
    CHECK(!wrong);
    CHECK(!moved);
  }
}

}  // namespace

void test_activate() {
  for (int64_t isa = 0; isa < 4; ++isa) {
    if (gs_isa_available(static_cast<int32_t>(isa)) != GS_OK) continue;
    each_kind<float>(isa), each_kind<double>(isa);
  }
}
