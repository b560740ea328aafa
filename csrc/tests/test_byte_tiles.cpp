// tile_bytes and shared_tile_bytes: exact sums in every form and instruction set, for any shape, batch and memory order, cut for threads
// or not; a sample that is not finite spoils itself alone. What must be refused is.
#include <cmath>
#include <tuple>

#include "testing.h"

namespace {

struct ByteTiles {
  std::vector<int32_t> pointers = {0};
  std::vector<uint16_t> columns, rows;
  Guarded<int8_t> values{0};
  std::vector<float> scales;
  std::vector<int> weight;  // [n_out][n_in]
  gs_matrix w = {};

  // tile: width of the tiles, or 0 and groups with k inputs each
  ByteTiles(std::mt19937& random, int n_out, int n_in, int tile, int group, int k) : scales(n_out), weight(static_cast<size_t>(n_out) * n_in) {
    for (int r = 0; r < n_out; ++r) scales[r] = r % 2 ? 0.5f : 2;
    if (tile) fill_tiles(random, n_out, n_in, tile);
    else fill_groups(random, n_out, n_in, group, k);
    w = {tile ? GS_TILE_BYTES : GS_SHARED_TILE_BYTES, GS_F32, n_out, n_in, tile ? 1 : group, tile ? 0 : k, tile, static_cast<int64_t>(rows.size()),
         static_cast<int64_t>(values.size()), static_cast<int64_t>(columns.size()), tile ? 4 : 2, 2, values.data(),
         tile ? static_cast<void*>(pointers.data()) : rows.data(), columns.data(), GS_I8, scales.data()};
  }
  static int draw(std::mt19937& random) { return random() % 4 ? static_cast<int>(random() % 256) - 128 : -128; }
  void fill_tiles(std::mt19937& random, int n_out, int n_in, int tile) {
    std::vector<int8_t> all;
    for (int r = 0; r < n_out; r += 16) {
      for (int c = 0; c < n_in; c += tile) {
        if (r % 48 == 16 || !(random() % 3)) continue;
        columns.push_back(static_cast<uint16_t>(c / tile));
        for (int m = 0; m < 16 * tile; ++m) {
          const int row = r + m / tile, col = c + m % tile;
          const bool there = row < n_out && col < n_in;
          all.push_back(static_cast<int8_t>(there ? draw(random) : 0));
          if (there) weight[row * n_in + col] = all.back();
        }
      }
      pointers.push_back(static_cast<int32_t>(columns.size()));
    }
    keep(all);
  }
  void fill_groups(std::mt19937& random, int n_out, int n_in, int group, int k) {
    std::vector<int8_t> all;
    for (int r = 0; r < n_out / group; ++r) {
      if (r % 3 == 1) continue;
      rows.push_back(static_cast<uint16_t>(r));
      const size_t first = columns.size();
      for (int c = 0, left = k; left; ++c)
        if (random() % static_cast<unsigned>(n_in - c) < static_cast<unsigned>(left)) columns.push_back(static_cast<uint16_t>(c)), --left;
      for (int i = 0; i < (k + 63) / 64 * 64 * group; ++i) {
        const int input = i / (64 * group) * 64 + i % 64, row = r * group + i / 64 % group;
        all.push_back(static_cast<int8_t>(input < k ? draw(random) : 0));
        if (input < k) weight[row * n_in + columns[first + input]] = all.back();
      }
    }
    keep(all);
  }
  void keep(const std::vector<int8_t>& all) {
    values = Guarded<int8_t>(all.size());
    for (size_t i = 0; i < all.size(); ++i) values[i] = all[i];
  }
};

void exact(std::mt19937& random, int isa, int n_out, int n_in, int tile, int group, int k, int batch) {
  const ByteTiles layer(random, n_out, n_in, tile, group, k);
  CHECK(gs_check_index(&layer.w) == GS_OK);
  Guarded<float> x(static_cast<size_t>(n_in) * batch), turned(x.size()), out(static_cast<size_t>(n_out) * batch), other(out.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % n_in ? static_cast<float>(random() % 255) - 127 : 127;  // so a step is 1
  for (size_t i = 0; i < x.size(); ++i) turned[i % n_in * batch + i / n_in] = x[i];
  gs_call call = {};
  call.w = layer.w, call.isa = isa, call.batch = batch, call.x = {x.data(), 1, n_in}, call.out = out.data(), call.out_stride = batch;
  CHECK(gs_linear(&call) == GS_OK && out.intact());
  bool good = true;
  for (int r = 0; r < n_out; ++r)
    for (int b = 0; b < batch; ++b) {
      int sum = 0;
      for (int i = 0; i < n_in; ++i) sum += layer.weight[r * n_in + i] * static_cast<int>(x[b * n_in + i]);
      good = good && out[r * batch + b] == static_cast<float>(sum) * layer.scales[r];
    }
  CHECK(good);
  compared(GS_OP_LINEAR, call);
  call.out = other.data(), call.parallel = scattered_for, call.x = {turned.data(), batch, 1};
  CHECK(gs_linear(&call) == GS_OK && other.intact() && std::memcmp(out.data(), other.data(), out.size() * sizeof(float)) == 0);
  x[n_in - 1] = INFINITY, call.x = {x.data(), 1, n_in};
  CHECK(gs_linear(&call) == GS_OK && x.intact() && layer.values.intact());
  for (int i = 0; i < n_out * batch; ++i) good = good && (i % batch ? other[i] == out[i] : std::isnan(other[i]));
  CHECK(good);
}

template <class Change> void refuses(gs_status expected, int tile, Change change) {
  std::mt19937 random(5);
  const ByteTiles layer(random, 32, 70, tile, 16, 3);
  float x[140] = {}, out[64];
  gs_call call = {};
  call.w = layer.w, call.isa = GS_ISA_AUTO, call.batch = 2, call.x = {x, 2, 1}, call.out = out, call.out_stride = 2;
  change(call);
  CHECK(gs_linear(&call) == expected);
}

void refusals() {
  for (int tile : {64, 32, 0}) {
    refuses(GS_OK, tile, [](gs_call&) {});
    refuses(GS_DTYPE, tile, [](gs_call& c) { c.x_narrow = GS_BF16; });
    refuses(GS_DTYPE, tile, [](gs_call& c) { c.w.narrow = 0; });
    refuses(GS_DTYPE, tile, [](gs_call& c) { c.w.narrow = GS_BF16; });
    refuses(GS_SIZE, tile, [](gs_call& c) { c.w.group = 8; });
    refuses(GS_SIZE, tile, [](gs_call& c) { c.w.n_values -= 1; });
    refuses(GS_SIZE, tile, [](gs_call& c) { c.w.n_cols -= 1; });
    refuses(GS_NULL, tile, [](gs_call& c) { c.w.rows = nullptr; });
    refuses(GS_NULL, tile, [](gs_call& c) { c.w.scales = nullptr; });
  }
  refuses(GS_SIZE, 64, [](gs_call& c) { c.w.tile = 48; });
  refuses(GS_SIZE, 64, [](gs_call& c) { c.w.n_in = (1 << 17) + 1; });  // sums may overflow
  refuses(GS_SIZE, 0, [](gs_call& c) { c.w.n_in = 1 << 18, c.w.per_row = (1 << 17) + 1; });
  refuses(GS_SIZE, 0, [](gs_call& c) { c.w.per_row = 71; });
  std::mt19937 random(5);
  ByteTiles whole(random, 32, 70, 32, 0, 0), groups(random, 32, 70, 0, 16, 3);
  whole.columns.back() = 3, groups.columns.back() = 70;  // past the last tile, past the last input
  CHECK(gs_check_index(&whole.w) == GS_INDEX && gs_check_index(&groups.w) == GS_INDEX);
}

}  // namespace

void test_byte_tiles() {
  std::mt19937 random(17);
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    for (int batch : {1, 3, 7, 9, 17, 40, 64, 67}) {
      for (int tile : {32, 64})
        for (auto [n_out, n_in] : {std::tuple{1, 1}, {35, 70}, {50, 129}}) exact(random, isa, n_out, n_in, tile, 0, 0, batch);
      for (auto [n_out, group, n_in, k] : {std::tuple{16, 16, 1, 1}, {64, 16, 90, 65}, {96, 32, 70, 64}, {64, 32, 9, 0}})
        exact(random, isa, n_out, n_in, 0, group, k, batch);
    }
  }
  refusals();
}
