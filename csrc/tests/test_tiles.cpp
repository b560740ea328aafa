// tiles and shared_tiles: on a matrix unit, where there is one, and emulated, to the bit; over any bits, for any shape, batch and
// memory order, cut for threads or not, and handed on as bfloat16 in a chain. What must be refused is.
#include <cmath>
#include <tuple>

#include "testing.h"

namespace {

constexpr int kWildest = 3;

// Numbers by how wild they are: tame; up to any normal size; any bits at all but infinities and NaN; any bits at all.
float draw(std::mt19937& random, int wild) {
  if (!wild) return static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
  uint32_t bits = static_cast<uint32_t>(random());
  if (wild == 1) bits = (bits & 0x807fffffu) | (64 + random() % 100) << 23;
  if (wild == 2 && (bits & 0x7f800000u) == 0x7f800000u) bits ^= 0x40000000u;
  if (wild == kWildest && random() % 4) return draw(random, 0);
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

uint16_t half(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  return static_cast<uint16_t>(bits >> 16 | (number != number ? 0x40 : 0));
}

struct Tiles {
  std::vector<int32_t> pointers = {0};
  std::vector<uint16_t> columns, rows;
  Guarded<uint16_t> values{0};
  gs_matrix w = {};

  Tiles(std::mt19937& random, int layout, int n_out, int n_in, int group, int k, int wild) {
    if (layout == GS_TILES) fill_tiles(random, n_out, n_in);
    else fill_groups(random, n_out, n_in, group, k);
    const size_t tiles = layout == GS_TILES ? columns.size() : rows.size() * ((k + 31) / 32) * (group / 16);
    values = Guarded<uint16_t>(tiles * 512);
    for (size_t i = 0; i < values.size(); ++i) values[i] = half(draw(random, wild));
    if (layout == GS_SHARED_TILES) blank(group, k);
    w = {layout, GS_F32, n_out, n_in, layout == GS_TILES ? 1 : group, layout == GS_TILES ? 0 : k, 0, static_cast<int64_t>(rows.size()),
         static_cast<int64_t>(values.size()), static_cast<int64_t>(columns.size()), layout == GS_TILES ? 4 : 2, 2, values.data(),
         layout == GS_TILES ? static_cast<void*>(pointers.data()) : rows.data(), columns.data(), GS_BF16, nullptr};
  }
  void fill_tiles(std::mt19937& random, int n_out, int n_in) {
    for (int r = 0; r < (n_out + 15) / 16; ++r) {
      for (int c = 0; c < (n_in + 31) / 32; ++c)
        if (r % 3 != 1 && random() % 3) columns.push_back(static_cast<uint16_t>(c));
      pointers.push_back(static_cast<int32_t>(columns.size()));
    }
  }
  void fill_groups(std::mt19937& random, int n_out, int n_in, int group, int k) {
    for (int r = 0; r < n_out / group; ++r) {
      if (r % 3 == 1) continue;
      rows.push_back(static_cast<uint16_t>(r));
      for (int c = 0, left = k; left; ++c)
        if (random() % static_cast<unsigned>(n_in - c) < static_cast<unsigned>(left)) columns.push_back(static_cast<uint16_t>(c)), --left;
    }
  }
  // Zeros behind the k inputs of a group.
  void blank(int group, int k) {
    const size_t steps = (k + 31) / 32;
    for (size_t i = 0; i < values.size(); ++i)
      if (static_cast<int>(i / (512 * (group / 16)) % steps * 32 + i % 32) >= k) values[i] = 0;
  }
};

bool same(const Guarded<float>& a, const Guarded<float>& b) {
  bool good = a.size() == b.size();
  for (size_t i = 0; good && i < a.size(); ++i) good = std::memcmp(&a[i], &b[i], 4) == 0 || (a[i] != a[i] && b[i] != b[i]);
  return good;
}

Guarded<float> product(const Tiles& layer, int isa, int batch, const std::vector<float>& x, bool feature_major, gs_parallel_for parallel) {
  const int n_in = static_cast<int>(layer.w.n_in);
  Guarded<float> in(x.size()), out(static_cast<size_t>(layer.w.n_out) * batch);
  for (int i = 0; i < n_in; ++i)
    for (int b = 0; b < batch; ++b) in[feature_major ? i * batch + b : b * n_in + i] = x[i * batch + b];
  gs_call call = {};
  call.w = layer.w, call.isa = isa, call.batch = batch, call.parallel = parallel;
  call.x = {in.data(), feature_major ? batch : 1, feature_major ? 1 : n_in};
  call.out = out.data(), call.out_stride = batch;
  CHECK(gs_linear(&call) == GS_OK && out.intact() && in.intact() && layer.values.intact());
  compared(GS_OP_LINEAR, call);
  return out;
}

// Sums of tame numbers against double.
bool right(const Tiles& layer, int batch, const std::vector<float>& x, const Guarded<float>& out) {
  const gs_matrix& w = layer.w;
  std::vector<double> y(static_cast<size_t>(w.n_out) * batch);
  const auto add = [&](int64_t row, int64_t col, uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    for (int b = 0; b < batch && row < w.n_out && col < w.n_in; ++b) y[row * batch + b] += static_cast<double>(value) * x[col * batch + b];
  };
  const int64_t steps = (w.per_row + 31) / 32;
  for (int64_t i = 0; w.layout == GS_SHARED_TILES && i < w.n_values; ++i) {
    const int64_t place = i / (512 * (w.group / 16)) / steps, input = i / (512 * (w.group / 16)) % steps * 32 + i % 32;
    const int64_t row = layer.rows[place] * w.group + i / 512 % (w.group / 16) * 16 + i % 512 / 32;
    if (input < w.per_row) add(row, layer.columns[place * w.per_row + input], layer.values[i]);
  }
  for (size_t r = 0; w.layout == GS_TILES && r + 1 < layer.pointers.size(); ++r)
    for (int32_t t = layer.pointers[r]; t < layer.pointers[r + 1]; ++t)
      for (int m = 0; m < 512; ++m) add(r * 16 + m / 32, layer.columns[t] * 32 + m % 32, layer.values[t * 512 + m]);
  bool good = true;
  for (size_t i = 0; i < y.size(); ++i) good = good && std::fabs(out[i] - y[i]) <= 1e-5 * (1 + w.n_in);
  return good;
}

void agree(std::mt19937& random, int layout, int n_out, int n_in, int group, int k, int batch, int wild) {
  const Tiles layer(random, layout, n_out, n_in, group, k, wild);
  CHECK(gs_check_index(&layer.w) == GS_OK);
  std::vector<float> x(static_cast<size_t>(n_in) * batch);
  for (float& number : x) {
    number = draw(random, wild);
    const uint32_t bits = static_cast<uint32_t>(half(number)) << 16;
    if (!wild) std::memcpy(&number, &bits, 4);  // so that double sums need no rounding of inputs
  }
  const Guarded<float> first = product(layer, gs_isa(), batch, x, false, nullptr);
  CHECK(wild || right(layer, batch, x, first));
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    for (bool feature_major : {false, true}) {
      CHECK(same(first, product(layer, isa, batch, x, feature_major, nullptr)));
      CHECK(same(first, product(layer, isa, batch, x, feature_major, scattered_for)));
    }
  }
}

// Three layers that hand bfloat16 on give what they give one by one.
void chains(std::mt19937& random, int isa, int batch) {
  const Tiles a(random, GS_SHARED_TILES, 96, 70, 32, 33, 0), b(random, GS_TILES, 50, 96, 1, 0, 0), c(random, GS_TILES, 9, 50, 1, 0, 0);
  std::vector<float> x(static_cast<size_t>(70) * batch);
  for (float& number : x) number = draw(random, 1) * 1e-3f;
  std::vector<gs_layer> layers = {{a.w, nullptr, GS_RELU, 0}, {b.w, nullptr, GS_SILU, 0}, {c.w, nullptr, GS_IDENTITY, 0}};
  size_t bytes = 0;
  CHECK(gs_chain_workspace(layers.data(), 3, batch, &bytes) == GS_OK);
  Guarded<float> room(bytes / 4), out(static_cast<size_t>(9) * batch);
  gs_chain chain = {layers.data(), 3, isa, batch, batch, 1, batch, batch, room.data(), bytes, nullptr};
  CHECK(gs_chain_forward(&chain, x.data(), nullptr, out.data()) == GS_OK && room.intact() && out.intact());
  std::vector<float> in = x;
  for (const gs_layer& layer : layers) {
    std::vector<float> y(static_cast<size_t>(layer.w.n_out) * batch);
    gs_call call = {};
    call.w = layer.w, call.isa = isa, call.batch = batch, call.activation = layer.activation;
    call.x = {in.data(), batch, 1}, call.out = y.data(), call.out_stride = batch;
    CHECK(gs_linear(&call) == GS_OK);
    in = y;
  }
  CHECK(std::memcmp(in.data(), out.data(), in.size() * 4) == 0);
}

template <class Change> void refuses(gs_status expected, int layout, Change change) {
  std::mt19937 random(5);
  const Tiles layer(random, layout, 32, 40, 16, 3, 0);
  float x[80] = {}, out[64];
  gs_call call = {};
  call.w = layer.w, call.isa = GS_ISA_AUTO, call.batch = 2, call.x = {x, 2, 1}, call.out = out, call.out_stride = 2;
  change(call);
  CHECK(gs_linear(&call) == expected);
}

void refusals() {
  for (int layout : {GS_TILES, GS_SHARED_TILES}) {
    refuses(GS_OK, layout, [](gs_call&) {});
    refuses(GS_OK, layout, [](gs_call& c) { c.x_narrow = c.out_narrow = GS_BF16; });
    refuses(GS_DTYPE, layout, [](gs_call& c) { c.x_narrow = GS_I8; });
    refuses(GS_DTYPE, layout, [](gs_call& c) { c.out_narrow = GS_F64; });
    refuses(GS_SIZE, layout, [](gs_call& c) { c.x_narrow = GS_BF16, c.x.feature_stride = 1, c.x.batch_stride = 40; });
    refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.narrow = 0; });
    refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.narrow = GS_I8; });
    refuses(GS_DTYPE, layout, [](gs_call& c) { c.w.dtype = GS_F64, c.w.narrow = 0; });
    refuses(GS_SIZE, layout, [](gs_call& c) { c.w.group = 8; });
    refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_values -= 1; });
    refuses(GS_SIZE, layout, [](gs_call& c) { c.w.n_cols -= 1; });
    refuses(GS_NULL, layout, [](gs_call& c) { c.w.rows = nullptr; });
    refuses(GS_NULL, layout, [](gs_call& c) { c.w.cols = nullptr; });
  }
  refuses(GS_SIZE, GS_SHARED_TILES, [](gs_call& c) { c.w.per_row = 41; });
  std::mt19937 random(5);
  Tiles whole(random, GS_TILES, 32, 40, 1, 0, 0), groups(random, GS_SHARED_TILES, 32, 40, 16, 3, 0);
  whole.columns.back() = 2, groups.columns.back() = 40;  // past the last tile, past the last input
  CHECK(gs_check_index(&whole.w) == GS_INDEX && gs_check_index(&groups.w) == GS_INDEX);
  const float values[4] = {}, x[2] = {};
  float out[2];
  gs_call dense = {};
  dense.w = {GS_DENSE, GS_F32, 2, 2, 1, 0, 0, 0, 4, 0, 0, 0, values, nullptr, nullptr, 0, nullptr};
  dense.isa = GS_ISA_AUTO, dense.batch = 1, dense.x = {x, 1, 1}, dense.out = out, dense.out_stride = 1, dense.x_narrow = GS_BF16;
  CHECK(gs_linear(&dense) == GS_DTYPE);
}

}  // namespace

void test_tiles() {
  std::mt19937 random(13);
  for (int wild = 0; wild <= kWildest; ++wild) {
    for (auto [n_out, n_in] : {std::tuple{1, 1}, {16, 32}, {35, 70}, {50, 129}})
      for (int batch : {1, 2, 15, 16, 17, 40, 64, 80, 100}) agree(random, GS_TILES, n_out, n_in, 1, 0, batch, wild);
    for (auto [groups, group, n_in, k] : {std::tuple{1, 16, 1, 1}, {4, 16, 40, 33}, {3, 32, 70, 64}, {2, 32, 9, 0}})
      for (int batch : {1, 2, 16, 31, 33, 65, 100}) agree(random, GS_SHARED_TILES, groups * group, n_in, group, k, batch, wild);
  }
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa)
    for (int batch : {1, 7, 33, 100})
      if (gs_isa_available(isa) == GS_OK) chains(random, isa, batch);
  refusals();
}
