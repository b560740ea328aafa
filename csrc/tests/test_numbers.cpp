// Activations of plain numbers, which are those behind a product, and softmax along lines.
#include <algorithm>
#include <cmath>
#include <limits>

#include "testing.h"

namespace {

template <class T> constexpr int64_t type() { return sizeof(T) == 4 ? GS_F32 : GS_F64; }

template <class T> bool same(T a, T b) { return std::memcmp(&a, &b, sizeof(T)) == 0 || (std::isnan(a) && std::isnan(b)); }

// The bits that a product of weight one gives, with and without a pool of threads.
template <class T> void as_behind_a_product(int64_t isa, int64_t kind, int64_t n) {
  std::mt19937 random(3);
  std::normal_distribution<T> normal(0, 3);
  const int32_t rows[2] = {0, 1}, column[1] = {0};
  const T one = 1;
  Guarded<T> x(n), behind(n), out(n);
  for (int64_t i = 0; i < n; ++i) x[i] = normal(random);
  gs_call call = {};
  call.w = {GS_CSR, type<T>(), 1, 1, 1, 0, 0, 0, 1, 1, 4, 4, &one, rows, column, 0, nullptr};
  call.isa = isa, call.batch = n, call.x = {x.data(), n, 1}, call.activation = kind, call.slope = 0.25;
  call.out = behind.data(), call.out_stride = n;
  CHECK(gs_linear(&call) == GS_OK);
  for (gs_parallel_for parallel : {static_cast<gs_parallel_for>(nullptr), static_cast<gs_parallel_for>(scattered_for)}) {
    std::fill(out.data(), out.data() + n, T(0));
    const gs_numbers numbers = {type<T>(), isa, n, kind, 0.25, x.data(), out.data(), parallel};
    CHECK(gs_activate(&numbers) == GS_OK && out.intact());
    for (int64_t i = 0; i < n; ++i) CHECK(same(out[i], behind[i]));
  }
  const gs_numbers in_place = {type<T>(), isa, n, kind, 0.25, x.data(), x.data(), nullptr};
  CHECK(gs_activate(&in_place) == GS_OK && x.intact());
  for (int64_t i = 0; i < n; ++i) CHECK(same(x[i], behind[i]));
}

template <class T> void keeps_the_sign_of_zero(int64_t isa) {
  for (int64_t kind : {GS_RELU, GS_RELU6, GS_TANH, GS_ELU, GS_GELU, GS_GELU_TANH, GS_SILU, GS_HARDSWISH}) {
    T x = T(-0.0), y = 1;
    const gs_numbers call = {type<T>(), isa, 1, kind, 1, &x, &y, nullptr};
    CHECK(gs_activate(&call) == GS_OK && y == 0 && std::signbit(y));
  }
}

// [outer, n, inner] against double, and each line by itself: the same bits wherever it lies.
template <class T> void along_lines(int64_t isa, int64_t outer, int64_t n, int64_t inner, bool log) {
  std::mt19937 random(5);
  std::normal_distribution<T> normal(0, 8);
  const int64_t all = outer * n * inner;
  Guarded<T> x(all), out(all), line(n), alone(n);
  for (int64_t i = 0; i < all; ++i) x[i] = normal(random);
  const gs_lines lines = {type<T>(), isa, outer, n, inner, log, x.data(), out.data(), scattered_for};
  CHECK(gs_softmax(&lines) == GS_OK && out.intact());
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      double top = -INFINITY, total = 0;
      const int64_t at = o * n * inner + i;
      for (int64_t k = 0; k < n; ++k) line[k] = x[at + k * inner], top = std::max(top, double(line[k]));
      for (int64_t k = 0; k < n; ++k) total += std::exp(line[k] - top);
      const gs_lines one = {type<T>(), isa, 1, n, 1, log, line.data(), alone.data(), nullptr};
      CHECK(gs_softmax(&one) == GS_OK && alone.intact());
      for (int64_t k = 0; k < n; ++k) {
        const double right = log ? line[k] - top - std::log(total) : std::exp(line[k] - top) / total, got = out[at + k * inner];
        CHECK(same(alone[k], out[at + k * inner]));
        const double size = std::max(std::fabs(right), log ? 1.0 : 1e-30);  // an exponential is as wrong as what it is of
        CHECK(std::fabs(got - right) <= (8 + (log ? 0 : top - line[k])) * size * std::numeric_limits<T>::epsilon());
      }
    }
}

template <class T> void not_numbers(int64_t isa) {
  const T inf = std::numeric_limits<T>::infinity();
  const std::vector<std::vector<T>> given = {{1, NAN, 2}, {-inf, -inf, -inf}, {inf, 1, 2}, {NAN, NAN, NAN}};
  for (bool log : {false, true})
    for (const std::vector<T>& x : given) {
      T y[3] = {0, 0, 0};
      const gs_lines call = {type<T>(), isa, 1, 3, 1, log, x.data(), y, nullptr};
      CHECK(gs_softmax(&call) == GS_OK && std::isnan(y[0] + y[1] + y[2]));
    }
  const T x[2] = {-inf, 5};
  T y[2];
  const gs_lines call = {type<T>(), isa, 1, 2, 1, 0, x, y, nullptr};
  CHECK(gs_softmax(&call) == GS_OK && y[0] == 0 && y[1] == 1);
}

void refusals() {
  float x[2] = {1, 2}, y[2];
  const gs_numbers good = {GS_F32, GS_ISA_AUTO, 2, GS_TANH, 0, x, y, nullptr};
  const auto numbers = [&](auto change) {
    gs_numbers call = good;
    change(call);
    return gs_activate(&call);
  };
  CHECK(gs_activate(nullptr) == GS_NULL && numbers([](gs_numbers&) {}) == GS_OK);
  CHECK(numbers([](gs_numbers& c) { c.dtype = GS_BF16; }) == GS_DTYPE && numbers([](gs_numbers& c) { c.n = -1; }) == GS_SIZE);
  CHECK(numbers([](gs_numbers& c) { c.activation = GS_GELU_TANH + 1; }) == GS_SIZE);
  CHECK(numbers([](gs_numbers& c) { c.n = INT64_MAX; }) == GS_OVERFLOW && numbers([](gs_numbers& c) { c.x = nullptr; }) == GS_NULL);
  CHECK(numbers([](gs_numbers& c) { c.isa = 99; }) == GS_ISA);
  const gs_lines line = {GS_F32, GS_ISA_AUTO, 1, 2, 1, 0, x, y, nullptr};
  const auto lines = [&](auto change) {
    gs_lines call = line;
    change(call);
    return gs_softmax(&call);
  };
  CHECK(gs_softmax(nullptr) == GS_NULL && lines([](gs_lines&) {}) == GS_OK);
  CHECK(lines([](gs_lines& c) { c.dtype = GS_I8; }) == GS_DTYPE && lines([](gs_lines& c) { c.inner = -1; }) == GS_SIZE);
  CHECK(lines([](gs_lines& c) { c.logarithm = 2; }) == GS_SIZE && lines([](gs_lines& c) { c.outer = INT64_MAX; }) == GS_OVERFLOW);
  CHECK(lines([](gs_lines& c) { c.out = nullptr; }) == GS_NULL && lines([](gs_lines& c) { c.isa = 99; }) == GS_ISA);
  CHECK(lines([](gs_lines& c) { c.outer = 0, c.x = nullptr, c.out = nullptr; }) == GS_OK);
}

template <class T> void with(int64_t isa) {
  for (int64_t kind = GS_IDENTITY; kind <= GS_GELU_TANH; ++kind)
    for (int64_t n : {0, 1, 7, 33, 1025, 3000}) as_behind_a_product<T>(isa, kind, n);
  keeps_the_sign_of_zero<T>(isa);
  for (bool log : {false, true})
    for (int64_t n : {1, 2, 9, 40})
      for (int64_t inner : {1, 3, 8, 21}) along_lines<T>(isa, 3, n, inner, log);
  not_numbers<T>(isa);
}

}  // namespace

void test_numbers() {
  for (int64_t isa = 0; isa < 4; ++isa) {
    if (gs_isa_available(static_cast<int32_t>(isa)) != GS_OK) continue;
    with<float>(isa), with<double>(isa);
  }
  refusals();
}
