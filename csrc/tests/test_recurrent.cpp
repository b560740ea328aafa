// Recurrent layers against their formulas in double, sequence by sequence; gradients against differences of those.
#include <cmath>

#include "testing.h"

namespace {

const int64_t kGates[] = {1, 1, 4, 3}, kKept[] = {1, 1, 5, 4};
typedef std::vector<double> Numbers;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Sequences of lengths 5, 3, 3, 1: sequences that have each time, and the column of (time, sequence).
struct Case {
  const Layer* layer;
  Numbers values, bias;
  int64_t cell, reverse, hidden, rows, times, width, columns;
  std::vector<int64_t> active, begin;

  bool lstm() const { return cell == GS_CELL_LSTM; }
  bool gru() const { return cell == GS_CELL_GRU; }
};

// x, offset of q: [rows][columns]; h, c: [hidden][width].
struct Input {
  Numbers x, q, h, c;
};
struct Output {
  Numbers y, h, c;
};

Output expected(const Case& k, const Input& in) {
  Output out = {Numbers(k.hidden * k.columns), in.h, in.c};
  for (int64_t j = 0; j < k.width; ++j) {
    Numbers h(k.hidden), c(k.hidden);
    for (int64_t i = 0; i < k.hidden; ++i) h[i] = in.h[i * k.width + j], c[i] = in.c[i * k.width + j];
    for (int64_t step = 0; step < k.times; ++step) {
      const int64_t t = k.reverse ? k.times - 1 - step : step, column = k.begin[t] + j, n = k.hidden;
      if (j >= k.active[t]) continue;
      Numbers q = reference_linear(*k.layer, k.values, h, k.bias, 1), x(k.rows);
      for (int64_t i = 0; i < k.rows; ++i) q[i] += in.q[i * k.columns + column], x[i] = in.x[i * k.columns + column];
      for (int64_t i = 0; i < n; ++i) {
        const double first = x[i] + q[i];
        if (k.lstm()) {
          c[i] = sigmoid(x[n + i] + q[n + i]) * c[i] + sigmoid(first) * std::tanh(x[2 * n + i] + q[2 * n + i]);
          h[i] = sigmoid(x[3 * n + i] + q[3 * n + i]) * std::tanh(c[i]);
        } else if (k.gru()) {
          const double z = sigmoid(x[n + i] + q[n + i]);
          h[i] = (1 - z) * std::tanh(x[2 * n + i] + sigmoid(first) * q[2 * n + i]) + z * h[i];
        } else {
          h[i] = k.cell == GS_CELL_RELU ? std::fmax(first, 0) : std::tanh(first);
        }
        out.y[i * k.columns + column] = h[i];
      }
    }
    for (int64_t i = 0; i < k.hidden; ++i) out.h[i * k.width + j] = h[i], out.c[i * k.width + j] = c[i];
  }
  return out;
}

double dot(const Numbers& a, const Numbers& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The gradient of dot(grads, outputs) with respect to one of the inputs, by differences.
Numbers slope_of(const Case& k, const Input& at, Numbers Input::*part, const Output& grads) {
  Numbers found;
  for (size_t i = 0; i < (at.*part).size(); ++i) {
    double sides[2];
    for (int side : {0, 1}) {
      Input in = at;
      (in.*part)[i] += side ? 1e-5 : -1e-5;
      const Output out = expected(k, in);
      sides[side] = dot(grads.y, out.y) + dot(grads.h, out.h) + (k.lstm() ? dot(grads.c, out.c) : 0);
    }
    found.push_back((sides[1] - sides[0]) / 2e-5);
  }
  return found;
}

template <class T> void copy(const Numbers& from, Guarded<T>& to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = static_cast<T>(from[i]);
}

template <class T> bool near(const Guarded<T>& got, const Numbers& right, double tolerance) {
  for (size_t i = 0; i < right.size(); ++i)
    if (!(std::fabs(static_cast<double>(got[i]) - right[i]) <= tolerance * (1 + std::fabs(right[i])))) return false;
  return got.intact();
}

// [features, columns] as it is, or turned: one column after the other.
Numbers laid(const Numbers& x, int64_t columns, bool turned) {
  if (!turned) return x;
  Numbers y;
  const int64_t features = static_cast<int64_t>(x.size()) / columns;
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = 0; i < features; ++i) y.push_back(x[i * columns + j]);
  return y;
}

Numbers draw(std::mt19937& random, int64_t n) {
  std::uniform_real_distribution<double> around(-1, 1);
  Numbers x(n);
  for (double& each : x) each = static_cast<float>(around(random));
  return x;
}

template <class T> void both_ways(std::mt19937& random, int64_t isa, const Case& k, bool turned, bool differentiate) {
  const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-8;
  const int64_t unit = k.hidden * k.width;
  const Input in = {draw(random, k.rows * k.columns), Numbers(k.rows * k.columns), draw(random, unit), draw(random, unit)};
  const Output right = expected(k, in);
  Guarded<T> values(k.values.size()), bias(k.rows), x(in.x.size()), h(in.h.size()), c(in.c.size()), y(right.y.size()), h_last(in.h.size()),
      c_last(in.c.size()), kept(k.columns * k.hidden * kKept[k.cell]), room((2 * kGates[k.cell] + 4) * k.hidden * k.width);
  copy(k.values, values), copy(k.bias, bias), copy(laid(in.x, k.columns, turned), x), copy(in.h, h), copy(in.c, c);
  gs_matrix w = k.layer->w;
  w.values = values.data(), w.dtype = sizeof(T) == 4 ? GS_F32 : GS_F64;
  const gs_sequence s = {w, isa, k.cell, k.times, k.reverse, k.width, k.columns, k.active.data(), room.data(), scattered_for};
  const int64_t by_feature = turned ? 1 : k.columns, of_rows = turned ? k.rows : 1, of_hidden = turned ? k.hidden : 1;
  const gs_sequence_forward call = {s, {x.data(), by_feature, of_rows}, bias.data(), h.data(), k.lstm() ? c.data() : nullptr,
                                    {y.data(), by_feature, of_hidden}, h_last.data(), k.lstm() ? c_last.data() : nullptr, kept.data()};
  CHECK(gs_recurrent(&call) == GS_OK && x.intact() && kept.intact() && room.intact());
  CHECK(near(y, laid(right.y, k.columns, turned), tolerance) && near(h_last, right.h, tolerance));
  CHECK(!k.lstm() || near(c_last, right.c, tolerance));
  if (!differentiate) return;

  const Output grads = {draw(random, right.y.size()), draw(random, right.h.size()), draw(random, right.c.size())};
  Numbers states(k.hidden * k.columns);  // before each step
  for (int64_t t = 0; t < k.times; ++t)
    for (int64_t j = 0; j < k.active[t]; ++j)
      for (int64_t i = 0; i < k.hidden; ++i) {
        const int64_t last = k.reverse ? t + 1 : t - 1;
        const bool begins = last < 0 || last >= k.times || j >= k.active[last];
        states[i * k.columns + k.begin[t] + j] = begins ? in.h[i * k.width + j] : right.y[i * k.columns + k.begin[last] + j];
      }
  Guarded<T> dy(y.size()), dh(h.size()), dc(c.size()), before(states.size()), dx(x.size()), dq(x.size()), h_grad(h.size()), c_grad(c.size());
  copy(laid(grads.y, k.columns, turned), dy), copy(grads.h, dh), copy(grads.c, dc), copy(laid(states, k.columns, turned), before);
  const gs_sequence_backward back = {
      s, {dy.data(), by_feature, of_hidden}, dh.data(), k.lstm() ? dc.data() : nullptr, {before.data(), by_feature, of_hidden}, kept.data(),
      {dx.data(), by_feature, of_rows}, {dq.data(), by_feature, of_rows}, h_grad.data(), k.lstm() ? c_grad.data() : nullptr, nullptr, nullptr};
  CHECK(gs_recurrent_backward(&back) == GS_OK && room.intact() && kept.intact());
  const double loose = sizeof(T) == 4 ? 1e-4 : 1e-7;
  CHECK(near(dx, laid(slope_of(k, in, &Input::x, grads), k.columns, turned), loose));
  if (k.gru()) CHECK(near(dq, laid(slope_of(k, in, &Input::q, grads), k.columns, turned), loose));
  CHECK(near(h_grad, slope_of(k, in, &Input::h, grads), loose));
  if (k.lstm()) CHECK(near(c_grad, slope_of(k, in, &Input::c, grads), loose));
}

Case make_case(std::mt19937& random, const Layer& layer, int64_t cell, int64_t reverse, std::vector<int64_t> active) {
  Case k = {&layer, draw(random, layer.w.n_values), draw(random, layer.w.n_out), cell, reverse, layer.w.n_in, layer.w.n_out,
            static_cast<int64_t>(active.size()), active[0], 0, active, {}};
  for (int64_t here : active) k.begin.push_back(k.columns), k.columns += here;
  return k;
}

void formulas() {
  std::mt19937 random(5);
  for (int64_t isa = GS_ISA_SCALAR; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(static_cast<int32_t>(isa)) != GS_OK) continue;
    for (int64_t cell = 0; cell < 4; ++cell)
      for (int64_t reverse : {0, 1}) {
        const int hidden = 6, rows = static_cast<int>(kGates[cell]) * hidden;
        const Layer blocks = make_layer(random, GS_BLOCK, rows, hidden, 1, 3, 2, false);
        const Layer single = make_layer(random, GS_CSR, rows, hidden, 1, 0, 0, true);
        const Case ragged = make_case(random, blocks, cell, reverse, {4, 3, 3, 1, 1}), one = make_case(random, single, cell, reverse, {1, 1, 1});
        both_ways<double>(random, isa, ragged, reverse, true);
        both_ways<float>(random, isa, ragged, !reverse, true);
        both_ways<double>(random, isa, one, !reverse, true);
        both_ways<float>(random, isa, make_case(random, single, cell, reverse, {17, 17}), false, false);
      }
  }
}

void refusals() {
  const int32_t pointers[] = {0, 1, 2, 3};
  const uint16_t columns[] = {0, 0, 0};
  float values[3] = {1, 1, 1}, x[6] = {}, h[2] = {}, room[20], y[2], last[2];
  const gs_matrix w = {GS_CSR, GS_F32, 3, 1, 1, 0, 0, 0, 3, 3, 4, 2, values, pointers, columns, 0, nullptr};
  const int64_t active[] = {1, 1}, growing[] = {1, 2};
  const gs_sequence s = {w, GS_ISA_AUTO, GS_CELL_GRU, 2, 0, 1, 2, active, room, nullptr};
  const gs_sequence_forward good = {s, {x, 2, 1}, nullptr, h, nullptr, {y, 2, 1}, last, nullptr, nullptr};
  CHECK(gs_recurrent(&good) == GS_OK && gs_recurrent(nullptr) == GS_NULL && gs_recurrent_backward(nullptr) == GS_NULL);
  const auto status = [&](auto change) {
    gs_sequence_forward call = good;
    change(call);
    return gs_recurrent(&call);
  };
  CHECK(status([](auto& c) { c.s.cell = 4; }) == GS_SIZE && status([](auto& c) { c.s.cell = GS_CELL_LSTM; }) == GS_SIZE);
  CHECK(status([](auto& c) { c.s.columns = 3; }) == GS_SIZE && status([](auto& c) { c.s.times = 0; }) == GS_SIZE);
  CHECK(status([&](auto& c) { c.s.active = growing, c.s.columns = 3; }) == GS_SIZE);
  CHECK(status([](auto& c) { c.s.width = 2; }) == GS_SIZE && status([](auto& c) { c.s.reverse = 2; }) == GS_SIZE);
  CHECK(status([](auto& c) { c.s.room = nullptr; }) == GS_NULL && status([](auto& c) { c.h = nullptr; }) == GS_NULL);
  CHECK(status([](auto& c) { c.x.data = nullptr; }) == GS_NULL && status([](auto& c) { c.out.data = nullptr; }) == GS_NULL);
  CHECK(status([](auto& c) { c.x.feature_stride = 2, c.x.batch_stride = 3; }) == GS_SIZE);
  CHECK(status([](auto& c) { c.s.isa = 17; }) == GS_ISA && status([](auto& c) { c.s.w.dtype = 9; }) == GS_DTYPE);
  CHECK(status([](auto& c) { c.s.w.n_values = 2; }) == GS_SIZE);  // what products refuse, too
  const gs_sequence_backward back = {s, {y, 2, 1}, nullptr, nullptr, {y, 2, 1}, nullptr, {x, 2, 1}, {x, 2, 1}, last, nullptr, nullptr, nullptr};
  CHECK(gs_recurrent_backward(&back) == GS_NULL);  // nothing was kept
}

}  // namespace

void test_recurrent() {
  formulas();
  refusals();
}
