// Training with rounded factors: product and gradients against double, and every set, memory order and split to the bit. What must be
// refused is.
#include <tuple>

#include "testing.h"

namespace {

// What one step gives.
struct Step {
  Guarded<float> y, dx, dv, db;
  Guarded<uint16_t> inputs, weights;
};

bool same(const Guarded<float>& a, const Guarded<float>& b) {
  bool good = a.size() == b.size();
  for (size_t i = 0; good && i < a.size(); ++i) good = std::memcmp(&a[i], &b[i], 4) == 0 || (a[i] != a[i] && b[i] != b[i]);
  return good;
}

bool equal(const Guarded<float>& a, const std::vector<double>& exact) {
  bool good = a.size() >= exact.size();
  for (size_t i = 0; good && i < a.size(); ++i) good = a[i] == (i < exact.size() ? exact[i] : 0);
  return good;
}

Guarded<float> in_memory(const std::vector<double>& rows, int features, int batch, bool feature_major) {
  Guarded<float> made(rows.size());
  for (int i = 0; i < features; ++i)
    for (int b = 0; b < batch; ++b) made[feature_major ? i * batch + b : b * features + i] = static_cast<float>(rows[i * batch + b]);
  return made;
}

struct Numbers {
  std::vector<double> values, x, grad, bias;
};

Step step(const Layer& layer, const Numbers& numbers, int isa, int batch, bool feature_major, gs_parallel_for parallel) {
  const int n_out = static_cast<int>(layer.w.n_out), n_in = static_cast<int>(layer.w.n_in), length = (batch + 31) / 32 * 32;
  const Guarded<float> x = in_memory(numbers.x, n_in, batch, feature_major), grad = in_memory(numbers.grad, n_out, batch, feature_major);
  const Guarded<float> bias = in_memory(numbers.bias, n_out, 1, true), values = in_memory(numbers.values, 1, static_cast<int>(numbers.values.size()), true);
  const size_t rows = static_cast<size_t>(batch);
  int64_t weights = 0;
  CHECK(gs_mixed_weights(&layer.w, &weights) == GS_OK);
  Step made = {Guarded<float>(n_out * rows), Guarded<float>(n_in * rows), Guarded<float>(values.size()), Guarded<float>(static_cast<size_t>(n_out)),
               Guarded<uint16_t>(static_cast<size_t>(n_in) * length), Guarded<uint16_t>(static_cast<size_t>(weights))};
  gs_mixed call = {};
  call.w = layer.w, call.w.values = values.data(), call.w.n_values = static_cast<int64_t>(values.size());
  call.isa = isa, call.batch = batch, call.parallel = parallel, call.bias = bias.data(), call.out = made.y.data();
  call.x = {x.data(), feature_major ? batch : 1, feature_major ? 1 : n_in}, call.inputs = made.inputs.data(), call.weights = made.weights.data();
  CHECK(gs_mixed_linear(&call) == GS_OK);
  call.w.values = nullptr, call.grad = {grad.data(), feature_major ? batch : 1, feature_major ? 1 : n_out};
  call.grad_input = made.dx.data(), call.grad_values = made.dv.data(), call.grad_bias = made.db.data();
  CHECK(gs_mixed_gradients(&call) == GS_OK);
  CHECK(made.y.intact() && made.dx.intact() && made.dv.intact() && made.db.intact() && made.inputs.intact() && made.weights.intact());
  return made;
}

void agree(std::mt19937& random, int layout, int n_out, int n_in, int group, int n, int m, int batch, bool exact) {
  const Layer layer = make_layer(random, layout, n_out, n_in, group, n, m, random() % 2);
  const auto draw = [&](size_t count) {
    std::vector<double> made(count);
    for (double& number : made) {
      number = (static_cast<int>(random() % 17) - 8) / 4.0;  // so that sums are exact
      if (!exact) number = static_cast<float>(number * 0.123);
    }
    return made;
  };
  const size_t rows = static_cast<size_t>(batch);
  const Numbers numbers = {draw(layer.row.size() + 3), draw(n_in * rows), draw(n_out * rows), draw(static_cast<size_t>(n_out))};
  const Step first = step(layer, numbers, gs_isa(), batch, false, nullptr);
  if (exact) {
    std::vector<double> db(static_cast<size_t>(n_out));
    for (size_t i = 0; i < numbers.grad.size(); ++i) db[i / rows] += numbers.grad[i];
    CHECK(equal(first.y, reference_linear(layer, numbers.values, numbers.x, numbers.bias, batch)));
    CHECK(equal(first.dx, reference_grad_input(layer, numbers.values, numbers.grad, batch)));
    CHECK(equal(first.dv, reference_grad_values(layer, numbers.grad, numbers.x, batch)));
    CHECK(equal(first.db, db));
  }
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa)
    for (bool feature_major : {false, true}) {
      if (gs_isa_available(isa) != GS_OK) continue;
      const Step other = step(layer, numbers, isa, batch, feature_major, feature_major ? scattered_for : nullptr);
      CHECK(same(first.y, other.y) && same(first.dx, other.dx) && same(first.dv, other.dv) && same(first.db, other.db));
    }
}

template <class Change> void refuses(gs_status expected, Change change) {
  std::mt19937 random(5);
  const Layer layer = make_layer(random, GS_FANIN, 32, 40, 16, 3, 0, false);
  float numbers[96] = {}, out[64];
  uint16_t inputs[40 * 32] = {}, weights[2 * 512] = {};
  gs_mixed call = {};
  call.w = layer.w, call.w.values = numbers, call.w.n_values = 96, call.isa = GS_ISA_AUTO, call.batch = 2;
  call.x = {numbers, 2, 1}, call.grad = {numbers, 2, 1}, call.out = out, call.inputs = inputs, call.weights = weights;
  CHECK(gs_mixed_linear(&call) == GS_OK && gs_mixed_gradients(&call) == GS_OK);
  change(call);
  CHECK(gs_mixed_linear(&call) == expected);
}

void refusals() {
  refuses(GS_SIZE, [](gs_mixed& c) { c.w.group = 8; });
  refuses(GS_LAYOUT, [](gs_mixed& c) { c.w.layout = GS_DENSE, c.w.group = 1, c.w.n_in = 1; });
  refuses(GS_SIZE, [](gs_mixed& c) { c.w.n_values -= 1; });
  refuses(GS_DTYPE, [](gs_mixed& c) { c.w.narrow = GS_BF16; });
  refuses(GS_DTYPE, [](gs_mixed& c) { c.w.dtype = GS_F64; });
  refuses(GS_SIZE, [](gs_mixed& c) { c.batch = -1; });
  refuses(GS_SIZE, [](gs_mixed& c) { c.x.batch_stride = 3; });
  refuses(GS_NULL, [](gs_mixed& c) { c.x.data = nullptr; });
  refuses(GS_NULL, [](gs_mixed& c) { c.out = nullptr; });
  refuses(GS_NULL, [](gs_mixed& c) { c.inputs = nullptr; });
  refuses(GS_NULL, [](gs_mixed& c) { c.weights = nullptr; });
  refuses(GS_NULL, [](gs_mixed& c) { c.w.values = nullptr; });
  refuses(GS_ISA, [](gs_mixed& c) { c.isa = 9; });
  CHECK(gs_mixed_linear(nullptr) == GS_NULL && gs_mixed_gradients(nullptr) == GS_NULL && gs_mixed_weights(nullptr, nullptr) == GS_NULL);
}

}  // namespace

void test_mixed() {
  std::mt19937 random(17);
  for (bool exact : {true, false})
    for (int batch : {1, 33, 100, 530}) {  // the last is more than gradients take at a time
      for (auto [n_out, n_in] : {std::tuple{16, 32}, {48, 160}}) agree(random, GS_BLOCK, n_out, n_in, 1, 16, 32, batch, exact);
      for (auto [n_out, n_in, group, k] : {std::tuple{16, 1, 16, 1}, {64, 40, 16, 33}, {96, 90, 32, 83}, {32, 9, 32, 0}})
        agree(random, GS_FANIN, n_out, n_in, group, k, 0, batch, exact);
    }
  refusals();
}
