// Every product, layout, dtype and instruction set against double sums: values, guards, odd strides, any split of the work.
#include <cmath>
#include <tuple>
#include <utility>

#include "testing.h"

namespace {

std::vector<double> draw(std::mt19937& random, size_t n) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<double> v(n);
  for (double& x : v) x = static_cast<float>(uniform(random));  // exact in both dtypes
  return v;
}

// Feature-major values as one of the two memory orders, with a gap behind every line.
template <class T>
Guarded<T> lay_out(const std::vector<double>& v, int features, int batch, bool feature_major, gs_panel* panel) {
  const int gap = 3, line = (feature_major ? batch : features) + gap, lines = feature_major ? features : batch;
  Guarded<T> memory(lines ? static_cast<size_t>(lines) * line - gap : 0);
  for (int i = 0; i < features; ++i)
    for (int b = 0; b < batch; ++b)
      memory[feature_major ? i * line + b : b * line + i] = static_cast<T>(v[static_cast<size_t>(i) * batch + b]);
  *panel = {memory.data(), feature_major ? line : 1, feature_major ? 1 : line};
  return memory;
}

// |got - want| <= terms * eps * scale: the bound of a sum of `terms` products below 1.
template <class T> bool near(T got, double want, double terms) {
  const double eps = sizeof(T) == 4 ? 6e-8 : 1.2e-16;
  return std::fabs(got - want) <= (terms + 2) * eps * (terms + 2);
}

// A transposed index between guards; right if it lists every connection once, by block, column and row.
struct Transposed {
  gs_transposed t = {};
  Guarded<int32_t> starts{0}, order{0};
  Guarded<uint16_t> rows{0};

  Transposed(const gs_matrix& w, int64_t block) {
    CHECK(gs_transposed_size(&w, &t) == GS_OK);
    if (block) t.block = block, t.n_starts = (w.n_out ? (w.n_out + block - 1) / block : 1) * w.n_in + 1;
    starts = Guarded<int32_t>(t.n_starts), order = Guarded<int32_t>(t.n_order), rows = Guarded<uint16_t>(t.n_order);
    t.starts = starts.data(), t.rows = rows.data(), t.order = order.data();
    CHECK(gs_transpose(&w, &t) == GS_OK && intact());
  }
  bool intact() const { return starts.intact() && order.intact() && rows.intact(); }
};

template <class T> struct Bench {
  Layer layer;
  std::vector<double> values, bias, x, grad;
  Guarded<T> memory, bias_memory, scales{0};
  Guarded<unsigned char> stored{0};
  int batch;
  double largest = 1;  // of a value
  gs_call call = {};

  Bench(std::mt19937& random, const Layer& given, int batch_, int isa, bool with_bias, size_t tail)
      : layer(given), values(draw(random, given.row.size())), bias(with_bias ? draw(random, given.w.n_out) : std::vector<double>()),
        x(draw(random, given.w.n_in * batch_)), grad(draw(random, given.w.n_out * batch_)),
        memory(given.row.size() + tail), bias_memory(bias.size()), batch(batch_) {
    for (size_t i = 0; i < memory.size(); ++i)
      memory[i] = i >= values.size() ? static_cast<T>(NAN) : static_cast<T>(layer.row[i] < layer.w.n_out ? values[i] : 0);
    for (size_t i = 0; i < bias.size(); ++i) bias_memory[i] = static_cast<T>(bias[i]);
    call.w = layer.w;
    call.w.rows = layer.rows.data(), call.w.cols = layer.cols.data();
    call.w.dtype = sizeof(T) == 4 ? GS_F32 : GS_F64;
    call.w.values = memory.data(), call.w.n_values = static_cast<int64_t>(memory.size());
    call.isa = isa, call.batch = batch, call.bias = with_bias ? bias_memory.data() : nullptr;
  }

  // Runs one product twice, whole and in scattered pieces, into rows out_stride apart; the bits must agree.
  template <class Product> Guarded<T> run(Product product, size_t rows, int64_t row, int64_t out_stride) {
    const size_t n = rows ? (rows - 1) * out_stride + row : 0;
    Guarded<T> whole(n), pieces(n);
    std::memset(whole.data(), 0xa5, n * sizeof(T)), std::memset(pieces.data(), 0xa5, n * sizeof(T));
    call.out_stride = out_stride;
    call.out = whole.data(), call.parallel = nullptr;
    CHECK(product(&call) == GS_OK);
    call.out = pieces.data(), call.parallel = scattered_for;
    CHECK(product(&call) == GS_OK);
    CHECK(whole.intact() && pieces.intact() && memory.intact() && bias_memory.intact() && stored.intact() && scales.intact());
    CHECK(n == 0 || std::memcmp(whole.data(), pieces.data(), n * sizeof(T)) == 0);
    return whole;
  }

  // The values as `type`, with a scale for each row, in exactly as many bytes as they have.
  void narrow(std::mt19937& random, gs_dtype type) {
    const size_t size = type == GS_I8 ? 1 : 2;
    stored = Guarded<unsigned char>(values.size() * size, size), scales = Guarded<T>(layer.w.n_out);
    for (size_t r = 0; r < scales.size(); ++r) scales[r] = static_cast<T>(0.5 + 0.25 * (r % 3));
    for (size_t i = 0; i < values.size(); ++i) {
      const bool padding = layer.row[i] >= layer.w.n_out;
      if (type == GS_I8) {
        const int q = padding ? 0 : static_cast<int>(random() % 255) - 127;
        stored[i] = static_cast<unsigned char>(q);
        values[i] = padding ? 0 : q * static_cast<double>(scales[layer.row[i]]);
      } else {
        float exact = padding ? 0 : static_cast<float>(values[i]);
        uint32_t bits;
        std::memcpy(&bits, &exact, 4), bits &= 0xffff0000u, std::memcpy(&exact, &bits, 4);
        const uint16_t half = static_cast<uint16_t>(bits >> 16);
        std::memcpy(stored.data() + 2 * i, &half, 2);
        values[i] = exact;
      }
    }
    call.w.narrow = type, call.w.values = stored.data(), call.w.scales = scales.data();
    call.w.n_values = static_cast<int64_t>(values.size());
    largest = type == GS_I8 ? 127 : 1;
  }

  // extra: bit 0 a fused activation, of which bit 1 says which, and bit 2 a residual.
  void linear(bool feature_major, int extra) {
    Guarded<T> in = lay_out<T>(x, static_cast<int>(layer.w.n_in), batch, feature_major, &call.x);
    std::vector<double> more(extra & 4 ? layer.w.n_out * batch : 0);
    for (size_t i = 0; i < more.size(); ++i) more[i] = 0.5 * (i % 3) - 0.5;
    Guarded<T> residual = lay_out<T>(more, extra & 4 ? static_cast<int>(layer.w.n_out) : 0, batch, true, &call.residual);
    if (!(extra & 4)) call.residual = {};
    call.activation = extra & 1 ? (extra & 2 ? GS_LEAKY_RELU : GS_RELU) : GS_IDENTITY, call.slope = -0.5;
    const double slope = !(extra & 1) ? 1 : extra & 2 ? call.slope : 0;
    Guarded<T> out = run(gs_linear, layer.w.n_out, batch, batch + 2);
    const std::vector<double> want = reference_linear(layer, values, x, bias, batch);
    bool good = true;
    for (int64_t r = 0; r < layer.w.n_out; ++r)
      for (int b = 0; b < batch; ++b) {
        const double y = want[r * batch + b] + (more.empty() ? 0 : more[r * batch + b]);
        good = good && near<T>(out[r * (batch + 2) + b] / largest, (y < 0 ? y * slope : y) / largest, layer.w.n_in + 1.0);
      }
    CHECK(good);
    compared(GS_OP_LINEAR, call);
  }

  void grad_input(bool feature_major) {
    Guarded<T> in = lay_out<T>(grad, static_cast<int>(layer.w.n_out), batch, feature_major, &call.grad);
    const std::vector<double> want = reference_grad_input(layer, values, grad, batch);
    check_grad_input(run(gs_linear_grad_input, layer.w.n_in, batch, batch + 1), want);
    compared(GS_OP_GRAD_INPUT, call);
    if (layer.w.group > 1 || layer.w.layout == GS_BLOCK) return;
    for (int64_t block : {0, 1, 3, 65536}) {  // 0: the size that suits the matrix
      Transposed transposed(call.w, block);
      Guarded<T> room(layer.row.size());
      check_grad_input(run([&](const gs_call* given) { return gs_linear_grad_input_transposed(given, &transposed.t, room.data()); },
                           layer.w.n_in, batch, batch + 1), want);
      CHECK(room.intact() && transposed.intact());
    }
  }

  void check_grad_input(const Guarded<T>& out, const std::vector<double>& want) {
    bool good = true;
    for (int64_t i = 0; i < layer.w.n_in; ++i)
      for (int b = 0; b < batch; ++b)
        good = good && near<T>(out[i * (batch + 1) + b], want[i * batch + b], static_cast<double>(layer.w.n_out));
    CHECK(good);
  }

  void grad_values(bool feature_major, bool grad_feature_major) {
    Guarded<T> in = lay_out<T>(x, static_cast<int>(layer.w.n_in), batch, feature_major, &call.x);
    Guarded<T> in_grad = lay_out<T>(grad, static_cast<int>(layer.w.n_out), batch, grad_feature_major, &call.grad);
    Guarded<T> out = run(gs_linear_grad_values, memory.size() ? 1 : 0, static_cast<int64_t>(memory.size()), 0);
    const std::vector<double> want = reference_grad_values(layer, grad, x, batch);
    bool good = true;
    for (size_t i = 0; i < memory.size(); ++i)
      good = good && (i < want.size() ? near<T>(out[i], want[i], batch) : out[i] == 0);
    CHECK(good);
    compared(GS_OP_GRAD_VALUES, call);
  }
};

// One variant: bit 0 bias and tail; bits 1 and 2 the memory orders of x and of the gradient; from bit 3 what is fused.
template <class T> void products(std::mt19937& random, const Layer& layer, int isa, int batch, int variant) {
  const int64_t layout = layer.w.layout, type = sizeof(T) == 4 ? GS_F32 : GS_F64;
  if (!has(GS_OP_LINEAR, layout, type)) return;
  Bench<T> bench(random, layer, batch, isa, variant & 1, variant & 1 ? 5 : 0);
  bench.linear(variant & 2, variant >> 3);
  if (has(GS_OP_GRAD_INPUT, layout, type)) bench.grad_input(variant & 4);
  if (has(GS_OP_GRAD_VALUES, layout, type)) bench.grad_values(variant & 2, variant & 4);
}

void narrow_products(std::mt19937& random, const Layer& layer, int isa, int batch, gs_dtype type, int variant) {
  if (!has(GS_OP_LINEAR, layer.w.layout, type)) return;
  Bench<float> bench(random, layer, batch, isa, variant & 1, 0);
  bench.narrow(random, type);
  bench.linear(variant & 2, variant >> 3);
}

std::vector<Layer> layers(std::mt19937& random) {
  std::vector<Layer> all;
  for (bool wide : {false, true}) {
    for (auto [n_out, n_in] : {std::pair{1, 1}, {5, 9}, {9, 70}, {6, 1600}}) {
      for (int band : {8, 256}) all.push_back(make_layer(random, GS_CSR_BANDS, n_out, n_in, 1, 0, band, wide));
      all.push_back(make_layer(random, GS_CSR, n_out, n_in, 1, 0, 0, wide));
      all.push_back(make_layer(random, GS_BITMASK, n_out, n_in, 1, 0, 0, wide));
      all.push_back(make_layer(random, GS_FANIN, n_out, n_in, 1, (n_in + 2) / 3, 0, wide));
    }
    for (int group : {2, 4, 8, 16, 32}) {
      all.push_back(make_layer(random, GS_FANIN, 3 * group, 50, group, 7, 0, wide));
      all.push_back(make_layer(random, GS_FANIN, group, 6300, group, 40, 0, wide));
      all.push_back(make_layer(random, GS_FANIN, 2 * group, 5, group, 5, 0, wide));
    }
    all.push_back(make_layer(random, GS_FANIN, 6, 4, 1, 0, 0, wide));
    all.push_back(make_layer(random, GS_FANIN, 9, 14000, 1, 2, 0, wide));  // scattered, up to batch 8
  }
  for (int layout : {GS_NM, GS_NM_LANES})
    for (auto [n, m, n_in] : {std::tuple{1, 8, 40}, {2, 4, 24}, {2, 8, 16}, {3, 8, 8}, {1, 16, 80}, {5, 16, 16},
                              {1, 32, 64}, {3, 32, 32}, {3, 5, 1600}, {256, 256, 512}, {1, 1, 3}})
      for (int n_out : {1, 8, 11}) all.push_back(make_layer(random, layout, n_out, n_in, 1, n, m, false));
  for (auto [n, m, n_in] : {std::tuple{1, 8, 40}, {2, 4, 24}, {4, 8, 56}, {3, 8, 8}, {1, 16, 144}, {2, 16, 80}, {5, 16, 16}, {8, 16, 64}, {3, 5, 1600}, {1, 1, 3}})
    for (int n_out : {1, 16, 19}) all.push_back(make_layer(random, GS_NM_NIBBLES, n_out, n_in, 1, n, m, false));
  for (auto [n_out, n_in] : {std::pair{1, 1}, {4, 16}, {7, 30}, {9, 1100}})
    all.push_back(make_layer(random, GS_DENSE, n_out, n_in, 1, 0, 0, false));
  for (bool wide : {false, true})
    for (auto [h, w] : {std::pair{4, 4}, {8, 8}, {16, 16}, {32, 32}, {16, 64}, {1, 1}, {1, 2}, {1, 4}, {1, 7}, {1, 16}, {1, 32}, {2, 1}, {3, 1},
                        {4, 1}, {8, 1}, {12, 1}, {32, 1}, {2, 3}, {8, 4}, {32, 4}, {6, 12}, {3, 8}, {5, 16}, {7, 2}})
      for (int columns : {1, 9}) all.push_back(make_layer(random, GS_BLOCK, 4 * h, columns * w, 1, h, w, wide));
  all.push_back(make_layer(random, GS_BLOCK, 12, 6400, 1, 4, 4, false));
  all.push_back(make_layer(random, GS_BLOCK, 3, 6400, 1, 1, 16, false));
  all.push_back(make_layer(random, GS_BLOCK, 12, 9600, 1, 6, 32, false));
  for (int n_out : {4, 17, 35}) all.push_back(make_layer(random, GS_BITMASK, n_out, 200, 1, 0, 0, false));
  all.push_back(make_layer(random, GS_BITMASK, 0, 5, 1, 0, 0, false));
  Layer none = make_layer(random, GS_CSR, 3, 0, 1, 0, 0, false);
  all.push_back(none);
  all.push_back(make_layer(random, GS_CSR, 0, 5, 1, 0, 0, false));
  return all;
}

}  // namespace

void test_products() {
  std::mt19937 random(1);
  const std::vector<int> all = {0, 1, 2, 7, 8, 13, 33, 65}, few = {1, 8, 33};  // few: of large layers, which take most of the time
  for (const Layer& layer : layers(random)) {
    gs_matrix w = layer.w;
    w.rows = layer.rows.data(), w.cols = layer.cols.data();
    CHECK(gs_check_index(&w) == GS_OK);
    for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
      if (gs_isa_available(isa) != GS_OK) continue;
      for (int batch : w.n_in > 2000 ? few : all) {
        products<float>(random, layer, isa, batch, static_cast<int>(random() % 64));
        products<double>(random, layer, isa, batch, static_cast<int>(random() % 64));
        for (gs_dtype type : {GS_BF16, GS_I8}) narrow_products(random, layer, isa, batch, type, static_cast<int>(random() % 64));
      }
    }
  }
}
