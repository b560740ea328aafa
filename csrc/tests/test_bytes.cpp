// Layouts that round inputs: those that are whole steps have exact sums, the same in every instruction set; what must be refused is.
#include <cmath>
#include <tuple>

#include "testing.h"

namespace {

struct Bytes {
  Layer layer;
  Guarded<int8_t> values{0};
  Guarded<unsigned char> cols{0};
  Guarded<float> scales{0};
  gs_call call = {};

  Bytes(std::mt19937& random, int layout, int n_out, int n, int m, int n_in) : layer(make_layer(random, layout, n_out, n_in, 1, n, m, false)) {
    values = Guarded<int8_t>(layer.row.size()), cols = Guarded<unsigned char>(layer.cols.size()), scales = Guarded<float>(n_out);
    for (size_t i = 0; i < cols.size(); ++i) cols[i] = layer.cols[i];
    for (size_t i = 0; i < values.size(); ++i) {
      const bool there = layer.row[i] < n_out;
      values[i] = static_cast<int8_t>(!there ? 0 : random() % 4 ? static_cast<int>(random() % 256) - 128 : -128);
    }
    for (int r = 0; r < n_out; ++r) scales[r] = r % 2 ? 0.5f : 2;
    call.w = layer.w;
    call.w.values = values.data(), call.w.cols = cols.data(), call.w.rows = layer.rows.data(), call.w.narrow = GS_I8, call.w.scales = scales.data();
  }

  std::vector<double> exact(const Guarded<float>& x, int batch) const {
    std::vector<double> sums(call.w.n_out * batch);
    for (size_t i = 0; i < layer.row.size(); ++i)
      for (int b = 0; b < batch && layer.row[i] < call.w.n_out; ++b)
        sums[layer.row[i] * batch + b] += values[i] * static_cast<double>(x[b * call.w.n_in + layer.column[i]]);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = static_cast<float>(sums[i]) * scales[i / batch];
    return sums;
  }
};

void exact(std::mt19937& random, int layout, int isa, int n_out, int n, int m, int n_in, int batch) {
  Bytes layer(random, layout, n_out, n, m, n_in);
  CHECK(gs_check_index(&layer.call.w) == GS_OK);
  Guarded<float> x(static_cast<size_t>(n_in) * batch), out(static_cast<size_t>(n_out) * batch), pieces(out.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % n_in ? static_cast<float>(random() % 255) - 127 : 127;  // so a step is 1
  layer.call.isa = isa, layer.call.batch = batch, layer.call.x = {x.data(), 1, n_in};
  layer.call.out = out.data(), layer.call.out_stride = batch;
  CHECK(gs_linear(&layer.call) == GS_OK);
  const std::vector<double> want = layer.exact(x, batch);
  bool good = true;
  for (size_t i = 0; i < want.size(); ++i) good = good && out[i] == static_cast<float>(want[i]);
  compared(GS_OP_LINEAR, layer.call);
  CHECK(good && out.intact() && x.intact() && layer.values.intact() && layer.cols.intact());
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

template <class Change> void refuses(gs_status expected, int layout, Change change) {
  std::mt19937 random(2);
  Bytes layer(random, layout, 3, 2, 4, 12);
  float x[12] = {1}, out[3];
  layer.call.isa = GS_ISA_AUTO;  // 0 is a set that not every machine has
  layer.call.batch = 1, layer.call.x = {x, 1, 12}, layer.call.out = out, layer.call.out_stride = 1;
  change(layer.call);
  CHECK(gs_linear(&layer.call) == expected);
}

void refusals(int layout) {
  refuses(GS_OK, layout, [](gs_call&) {});
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.tile = 17; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.tile = 5; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.per_row = 5; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.per_row = 0; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.group = 2; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_values -= 1; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_cols -= 1; });
  refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.dtype = GS_F64, c.w.narrow = 0; });
  refuses(GS_NULL, layout, [](gs_call& c) { c.w.scales = nullptr; });
  refuses(GS_NULL, layout, [](gs_call& c) { c.w.cols = nullptr; });
  std::mt19937 random(3);
  Bytes layer(random, layout, 3, 2, 4, 12);
  layer.cols[0] = layout == GS_NM_BYTES ? 8 : 0x40;  // past the tiles
  CHECK(gs_check_index(&layer.call.w) == GS_INDEX);
  if (layout == GS_NM_NIBBLES) return;
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.tile = 1, c.w.per_row = 1, c.w.n_in = (1 << 17) + 1; });  // sums may overflow
  refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.narrow = GS_BF16; });
  refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.narrow = 0; });
}

void bitmask_refusals() {
  const int layout = GS_BITMASK_BYTES;
  refuses(GS_OK, layout, [](gs_call&) {});
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.group = 2; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_in = (1 << 17) + 1; });  // sums may overflow
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_values -= 1; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_cols -= 1; });
  refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.narrow = GS_BF16; });
  refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.row_bytes = 2; });
  refuses(GS_NULL, layout, [](gs_call& c) { c.w.rows = nullptr; });
  refuses(GS_NULL, layout, [](gs_call& c) { c.w.cols = nullptr; });
  refuses(GS_NULL, layout, [](gs_call& c) { c.w.scales = nullptr; });
  std::mt19937 random(3);
  Bytes layer(random, layout, 4, 0, 0, 12);
  layer.cols[0] ^= 1;  // not what the pointers count
  CHECK(gs_check_index(&layer.call.w) == GS_INDEX);
  layer.cols[0] ^= 1, layer.cols[24] ^= 1, layer.cols[25] ^= 0x10;  // as many in the full row, but one past the inputs
  CHECK(gs_check_index(&layer.call.w) == GS_INDEX);
  layer.cols[24] ^= 1, layer.cols[25] ^= 0x10;
  CHECK(gs_check_index(&layer.call.w) == GS_OK);
}

void window_refusals() {
  const int layout = GS_WINDOW_BYTES;
  refuses(GS_OK, layout, [](gs_call&) {});
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_in = (1 << 17) + 1; });  // sums may overflow
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_values -= 1; });
  refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_cols -= 1; });
  refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.narrow = 0; });
  refuses(GS_NULL, layout, [](gs_call& c) { c.w.rows = nullptr; });
  std::mt19937 random(3);
  Bytes layer(random, layout, 4, 0, 0, 12);  // the fourth neuron has all twelve: 0 .. 3 in the first step
  for (int place : {1, 12, 254, 255}) {      // one that is there, one past the inputs, none, and one that fills up in front of others
    const unsigned char kept = layer.cols[12];
    layer.cols[12] = static_cast<unsigned char>(place);
    CHECK(gs_check_index(&layer.call.w) == GS_INDEX);
    layer.cols[12] = kept;
  }
  CHECK(gs_check_index(&layer.call.w) == GS_OK);
  layer.cols[16] = 0;  // a fifth neuron
  CHECK(gs_check_index(&layer.call.w) == GS_INDEX);
}

}  // namespace

void test_bytes() {
  std::mt19937 random(11);
  for (int layout : {GS_NM_BYTES, GS_NM_NIBBLE_BYTES})
    for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
      if (gs_isa_available(isa) != GS_OK) continue;
      for (auto [n, m, n_in] : {std::tuple{1, 8, 8}, {1, 8, 40}, {2, 8, 48}, {2, 4, 20}, {4, 4, 4}, {4, 8, 32}, {1, 16, 48}, {4, 16, 32}, {3, 11, 33}, {1, 1, 5}, {2, 16, 160}, {3, 16, 320}})
        for (int n_out : {1, 15, 16, 35})
          for (int batch : {1, 2, 4, 7}) exact(random, layout, isa, n_out, n, m, n_in, batch);
      exact(random, layout, isa, 2, 1, 1, 1 << 17, 1);  // as many connections as a neuron may have
    }
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa)
    for (int n_in : {1, 63, 64, 65, 129, 700})
      for (int n_out : {1, 15, 20, 37})
        for (int batch : {1, 2, 4, 7})
          for (int layout : {GS_BITMASK_BYTES, GS_WINDOW_BYTES})
            if (gs_isa_available(isa) == GS_OK) exact(random, layout, isa, n_out, 0, 0, n_in, batch);
  for (int layout : {GS_NM_BYTES, GS_NM_NIBBLES, GS_NM_NIBBLE_BYTES}) refusals(layout);
  bitmask_refusals();
  window_refusals();
}
