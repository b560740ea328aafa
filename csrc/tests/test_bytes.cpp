// nm_bytes: inputs that are whole steps have exact sums, the same in every instruction set; what must be refused is.
#include <cmath>
#include <tuple>

#include "testing.h"

namespace {

struct Bytes {
  int n_out, n, m, n_in;
  int64_t pairs, used;
  Guarded<int8_t> values{0};
  Guarded<uint8_t> offsets{0};
  Guarded<float> scales{0};
  gs_call call = {};

  Bytes(std::mt19937& random, int n_out_, int n_, int m_, int n_in_) : n_out(n_out_), n(n_), m(m_), n_in(n_in_) {
    const int tiles = n_in / m;
    pairs = (tiles + 1) / 2, used = pairs * n * 2 * ((n_out + 15) / 16 * 16);
    values = Guarded<int8_t>(used), offsets = Guarded<uint8_t>(used), scales = Guarded<float>(n_out);
    for (int64_t i = 0; i < used; ++i) {
      const int side = i % 2;
      const int64_t neuron = neuron_of(i), tile = pair_of(i) * 2 + side;
      const bool there = neuron < n_out && tile < tiles;
      offsets[i] = static_cast<uint8_t>(there ? side * m + random() % m : 0);
      values[i] = static_cast<int8_t>(!there ? 0 : random() % 4 ? static_cast<int>(random() % 256) - 128 : -128);
    }
    for (int r = 0; r < n_out; ++r) scales[r] = r % 2 ? 0.5f : 2;
    call.w = {GS_NM_BYTES, GS_F32, n_out, n_in, 1, n, m, 0, used, used, 0, 1, values.data(), nullptr, offsets.data(), GS_I8, scales.data()};
  }
  int64_t neuron_of(int64_t i) const { return i / (pairs * n * 32) * 16 + i % 32 / 2; }
  int64_t pair_of(int64_t i) const { return i / (n * 32) % pairs; }

  double exact(const Guarded<float>& x, int row, int column) const {
    int64_t sum = 0;
    for (int64_t i = 0; i < used; ++i)
      if (neuron_of(i) == row && pair_of(i) * 2 * m + offsets[i] < n_in)
        sum += values[i] * static_cast<int64_t>(x[static_cast<size_t>(column) * n_in + pair_of(i) * 2 * m + offsets[i]]);
    return static_cast<double>(sum) * scales[row];
  }
};

void exact(std::mt19937& random, int isa, int n_out, int n, int m, int n_in, int batch) {
  Bytes layer(random, n_out, n, m, n_in);
  CHECK(gs_check_index(&layer.call.w) == GS_OK);
  Guarded<float> x(static_cast<size_t>(n_in) * batch), out(static_cast<size_t>(n_out) * batch), pieces(out.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % n_in ? static_cast<float>(random() % 255) - 127 : 127;  // so a step is 1
  layer.call.isa = isa, layer.call.batch = batch, layer.call.x = {x.data(), 1, n_in};
  layer.call.out = out.data(), layer.call.out_stride = batch;
  CHECK(gs_linear(&layer.call) == GS_OK);
  bool good = true;
  for (int r = 0; r < n_out; ++r)
    for (int b = 0; b < batch; ++b) good = good && out[r * batch + b] == static_cast<float>(layer.exact(x, r, b));
  compared(GS_OP_LINEAR, layer.call);
  CHECK(good && out.intact() && x.intact() && layer.values.intact() && layer.offsets.intact());
  layer.call.out = pieces.data(), layer.call.parallel = scattered_for;
  CHECK(gs_linear(&layer.call) == GS_OK);
  CHECK(pieces.intact() && std::memcmp(out.data(), pieces.data(), out.size() * sizeof(float)) == 0);
  for (float bad : {NAN, INFINITY, -INFINITY}) {  // spoils its own sample, whole, and no other
    x[n_in - 1] = bad;
    CHECK(gs_linear(&layer.call) == GS_OK);
    for (int r = 0; r < n_out; ++r) {
      CHECK(std::isnan(pieces[r * batch]));
      CHECK(batch == 1 || pieces[r * batch + 1] == out[r * batch + 1]);
    }
  }
}

template <class Change> void refuses(gs_status expected, Change change) {
  std::mt19937 random(2);
  Bytes layer(random, 3, 2, 4, 12);
  float x[12] = {1}, out[3];
  layer.call.isa = GS_ISA_AUTO;  // 0 is a set that not every machine has
  layer.call.batch = 1, layer.call.x = {x, 1, 12}, layer.call.out = out, layer.call.out_stride = 1;
  change(layer.call);
  CHECK(gs_linear(&layer.call) == expected);
}

void refusals() {
  refuses(GS_OK, [](gs_call&) {});
  refuses(GS_SIZE, [](gs_call& c) { c.w.tile = 17; });
  refuses(GS_SIZE, [](gs_call& c) { c.w.tile = 5; });
  refuses(GS_SIZE, [](gs_call& c) { c.w.per_row = 5; });
  refuses(GS_SIZE, [](gs_call& c) { c.w.per_row = 0; });
  refuses(GS_SIZE, [](gs_call& c) { c.w.tile = 1, c.w.per_row = 1, c.w.n_in = (1 << 17) + 1; });  // sums may overflow
  refuses(GS_SIZE, [](gs_call& c) { c.w.n_values -= 1; });
  refuses(GS_SIZE, [](gs_call& c) { c.w.n_cols -= 1; });
  refuses(GS_DTYPE, [](gs_call& c) { c.w.narrow = GS_BF16; });
  refuses(GS_DTYPE, [](gs_call& c) { c.w.narrow = 0; });
  refuses(GS_DTYPE, [](gs_call& c) { c.w.dtype = GS_F64; });
  refuses(GS_NULL, [](gs_call& c) { c.w.scales = nullptr; });
  refuses(GS_NULL, [](gs_call& c) { c.w.cols = nullptr; });
  std::mt19937 random(3);
  Bytes layer(random, 3, 2, 4, 12);
  layer.offsets[0] = 8;  // past both tiles
  CHECK(gs_check_index(&layer.call.w) == GS_INDEX);
}

}  // namespace

void test_bytes() {
  std::mt19937 random(11);
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    for (auto [n, m, n_in] : {std::tuple{1, 8, 8}, {1, 8, 40}, {2, 8, 48}, {2, 4, 20}, {4, 4, 4}, {4, 8, 32}, {1, 16, 48}, {4, 16, 32}, {3, 11, 33}, {1, 1, 5}})
      for (int n_out : {1, 15, 16, 35})
        for (int batch : {1, 2, 4, 7}) exact(random, isa, n_out, n, m, n_in, batch);
    exact(random, isa, 2, 1, 1, 1 << 17, 1);  // as many connections as a neuron may have
  }
  refusals();
}
