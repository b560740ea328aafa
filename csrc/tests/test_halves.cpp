// csr_halves: the same bits in every set as roundings written out one by one: of small, large and infinite numbers, of sums that
// leave the range of float16, in any memory order and any split of the work.
#include <cmath>

#include "testing.h"

namespace {

double half(double s) {
  if (!std::isfinite(s)) return s;
  if (std::fabs(s) >= 65520) return s > 0 ? INFINITY : -INFINITY;
  int exponent;
  std::frexp(s, &exponent);
  const double unit = std::ldexp(1.0, exponent - 11 < -24 ? -24 : exponent - 11);
  return std::nearbyint(s / unit) * unit;
}

uint16_t bits_of(double h) {
  const uint16_t sign = std::signbit(h) ? 0x8000 : 0;
  h = std::fabs(h);
  if (std::isinf(h)) return sign | 0x7c00;
  if (h < 0x1p-14) return sign | static_cast<uint16_t>(h * 0x1p24);
  int exponent;
  const double fraction = std::frexp(h, &exponent);  // 0.5 .. 1
  return sign | static_cast<uint16_t>(((exponent + 14) << 10) + static_cast<int>(fraction * 2048 - 1024));
}

struct Halves {
  Layer layer;
  std::vector<double> weights;
  Guarded<uint16_t> values{0};

  Halves(std::mt19937& random, int n_out, int n_in, bool wide, double size) : layer(make_layer(random, GS_CSR, n_out, n_in, 1, 0, 0, wide)) {
    std::normal_distribution<double> normal;
    values = Guarded<uint16_t>(layer.row.size());
    for (size_t i = 0; i < values.size(); ++i) {
      weights.push_back(random() % 20 ? half(size * normal(random)) : 0);
      values[i] = bits_of(weights[i]);
    }
    layer.w.layout = GS_CSR_HALVES, layer.w.dtype = GS_F32, layer.w.narrow = GS_F16, layer.w.values = values.data();
    layer.w.rows = layer.rows.data(), layer.w.cols = layer.cols.data();
  }

  float output(const Guarded<float>& x, const gs_panel& at, int row, int b, float bias) const {
    double part[2] = {}, exact = 0;
    float total = 0;
    int64_t n = 0;
    const auto close = [&] { total += static_cast<float>(half(part[0] + part[1])), part[0] = part[1] = 0; };
    for (size_t i = 0; i < layer.row.size(); ++i) {
      if (layer.row[i] != row) continue;
      if (n && n % 16 == 0) close();
      const double in = x[layer.column[i] * at.feature_stride + b * at.batch_stride];
      part[n % 2] = half(weights[i] * half(in) + part[n % 2]), ++n;
      exact += weights[i] * in;
    }
    close();
    if (!std::isfinite(total)) total = static_cast<float>(exact);
    total += bias;
    return total < 0 ? 0 : total;
  }
};

bool same(float a, float b) { return std::isnan(a) ? std::isnan(b) : a == b; }

void check(std::mt19937& random, int n_out, int n_in, int batch, bool wide, double input, double weight) {
  const Halves halves(random, n_out, n_in, wide, weight);
  CHECK(gs_check_index(&halves.layer.w) == GS_OK);
  std::normal_distribution<double> normal;
  const bool feature_major = random() % 2;
  const int64_t line = (feature_major ? batch : n_in) + 3;
  Guarded<float> x(line * (feature_major ? n_in : batch)), bias(n_out);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(input * normal(random));
  if (random() % 2) x[random() % x.size()] = 1e6f, x[random() % x.size()] = INFINITY, x[random() % x.size()] = NAN;
  for (int r = 0; r < n_out; ++r) bias[r] = static_cast<float>(normal(random));
  gs_call call = {};
  call.w = halves.layer.w, call.batch = batch, call.bias = bias.data(), call.activation = GS_RELU, call.out_stride = batch + 1;
  call.x = {x.data(), feature_major ? line : 1, feature_major ? 1 : line};
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    Guarded<float> out(static_cast<size_t>(n_out) * (batch + 1) - 1), pieces(out.size());
    std::memset(out.data(), 0, out.size() * 4), std::memset(pieces.data(), 0, out.size() * 4);
    call.isa = isa, call.out = out.data(), call.parallel = nullptr;
    CHECK(gs_linear(&call) == GS_OK);
    call.out = pieces.data(), call.parallel = scattered_for;
    CHECK(gs_linear(&call) == GS_OK);
    bool good = true;
    for (int r = 0; r < n_out; ++r)
      for (int b = 0; b < batch; ++b) {
        const float want = halves.output(x, call.x, r, b, bias[r]);
        good = good && same(out[r * (batch + 1) + b], want) && same(pieces[r * (batch + 1) + b], want);
      }
    CHECK(good && out.intact() && pieces.intact() && x.intact() && halves.values.intact());
    compared(GS_OP_LINEAR, call);
  }
}

void refusals(std::mt19937& random) {
  const Halves halves(random, 3, 9, false, 1);
  float x[9] = {}, out[3];
  const auto run = [&](void (*change)(gs_matrix&)) {
    gs_call call = {};
    call.w = halves.layer.w, call.isa = GS_ISA_AUTO, call.batch = 1, call.x = {x, 1, 1}, call.out = out, call.out_stride = 1;
    change(call.w);
    return gs_linear(&call);
  };
  CHECK(run([](gs_matrix&) {}) == GS_OK);
  CHECK(run([](gs_matrix& w) { w.narrow = 0; }) == GS_DTYPE);
  CHECK(run([](gs_matrix& w) { w.narrow = GS_BF16; }) == GS_DTYPE);
  CHECK(run([](gs_matrix& w) { w.dtype = GS_F64; }) == GS_DTYPE);
  CHECK(run([](gs_matrix& w) { w.layout = GS_CSR; }) == GS_DTYPE);
  CHECK(run([](gs_matrix& w) { w.n_values -= 1; }) == GS_SIZE);
  CHECK(run([](gs_matrix& w) { w.values = nullptr; }) == GS_NULL);
  gs_call backward = {};
  backward.w = halves.layer.w, backward.isa = GS_ISA_AUTO, backward.batch = 1;
  CHECK(gs_linear_grad_input(&backward) == GS_LAYOUT && gs_linear_grad_values(&backward) == GS_LAYOUT);
}

}  // namespace

void test_halves() {
  std::mt19937 random(31);
  refusals(random);
  CHECK(gs_unit_available(GS_UNIT_HALVES) == GS_OK || gs_unit_available(GS_UNIT_HALVES) == GS_ISA);
  CHECK(gs_unit_available(-1) == GS_ISA && gs_unit_available(GS_UNIT_HALVES + 1) == GS_ISA);
  for (bool wide : {false, true})
    for (int batch : {1, 7, 31, 32, 33, 64, 97, 128, 129, 200})
      for (double input : {1e-7, 1e-3, 1.0, 300.0, 3e4}) {
        check(random, 5, 9, batch, wide, input, 1);
        check(random, 4, 100, batch, wide, input, 20);
      }
  check(random, 3, 9000, 130, false, 1, 1);  // narrower tiles
  check(random, 1, 1, 1, false, 1, 1e-7);
}
