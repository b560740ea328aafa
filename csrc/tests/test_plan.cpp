// Steps of a plan against their definitions, on memory that ends where they say it does.
#include <algorithm>
#include <cmath>
#include <limits>

#include "gossamer_plan.h"
#include "testing.h"

namespace {

struct Image {  // planes that fill a memory to its last element
  gs_view view;
  int64_t size;
};

int64_t parts(int64_t n, int64_t phases) { return (n + phases - 1) / phases; }

Image image(int64_t memory, int64_t channels, int64_t height, int64_t width, int64_t phases_h, int64_t phases_w, int64_t border) {
  const int64_t pitch = parts(width, phases_w) + border, plane = (parts(height, phases_h) + border) * pitch;
  return {{memory, 0, plane, pitch, channels * plane, channels, height, width, phases_h, phases_w}, channels * plane * phases_h * phases_w};
}

int64_t place(const gs_view& v, int64_t c, int64_t y, int64_t x) {
  return v.at + (y % v.phases_h * v.phases_w + x % v.phases_w) * v.phase + c * v.plane + y / v.phases_h * v.pitch + x / v.phases_w;
}

gs_status run(const std::vector<gs_step>& steps, int64_t arena, const std::vector<int64_t>& sizes, const std::vector<float*>& external,
              int64_t batch, int64_t arenas, gs_parallel_for parallel) {
  const gs_plan plan = {steps.data(), static_cast<int64_t>(steps.size()), arena, sizes.data(), static_cast<int64_t>(sizes.size()), GS_ISA_AUTO};
  const gs_status status = gs_plan_prepare(&plan);
  if (status != GS_OK) return status;
  std::vector<Guarded<float>> rooms;
  for (int64_t a = 0; a < arenas; ++a) rooms.emplace_back(static_cast<size_t>(arena), 0);
  std::vector<float*> at;
  for (auto& room : rooms) std::fill_n(room.data(), arena, 0.f), at.push_back(room.data());
  const gs_plan_call call = {batch, external.data(), at.data(), arenas, 0, plan.n_steps, parallel};
  const gs_status done = gs_plan_run(&plan, &call);
  for (auto& room : rooms) CHECK(room.intact());
  return done;
}

// One step from external memory 0 to 1; wanted(c, y, x) is what it should give.
template <class F> void compare(gs_step step, const Image& x, const Image& out, std::mt19937& random, F wanted) {
  Guarded<float> given(static_cast<size_t>(x.size)), made(static_cast<size_t>(out.size));
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < x.size; ++i) given[static_cast<size_t>(i)] = normal(random);
  std::fill_n(made.data(), out.size, 7.f);
  step.x = x.view, step.out = out.view;
  for (gs_parallel_for parallel : {static_cast<gs_parallel_for>(nullptr), static_cast<gs_parallel_for>(scattered_for)})
    CHECK(run({step}, 0, {x.size, out.size}, {given.data(), made.data()}, 1, 1, parallel) == GS_OK);
  CHECK(given.intact() && made.intact());
  for (int64_t c = 0; c < out.view.channels; ++c)
    for (int64_t i = 0; i < out.view.height; ++i)
      for (int64_t j = 0; j < out.view.width; ++j) {
        const double found = made.data()[place(out.view, c, i, j)], want = wanted(given.data(), c, i, j);
        CHECK(std::abs(found - want) < 1e-5);
      }
}

void moves(std::mt19937& random) {
  for (int turn = 0; turn < 60; ++turn) {
    const auto up_to = [&](int n) { return static_cast<int64_t>(random() % static_cast<unsigned>(n)); };
    const Image x = image(1, 1 + up_to(3), 1 + up_to(9), 1 + up_to(30), 1 + up_to(2), 1 + up_to(2), up_to(2));
    const bool named = turn % 2;
    const int64_t height = named ? 1 + up_to(9) : x.view.height, width = named ? 1 + up_to(40) : x.view.width;
    const Image out = image(2, x.view.channels, height, width, 1 + up_to(3), 1 + up_to(3), up_to(2));
    std::vector<int32_t> rows, cols;
    for (int64_t i = 0; i < height; ++i) rows.push_back(static_cast<int32_t>(up_to(static_cast<int>(x.view.height) + 1) - 1));
    for (int64_t i = 0; i < width; ++i)  // every fourth time evenly, as far as there are columns
      cols.push_back(static_cast<int32_t>(turn % 4 == 1 ? std::min(2 * i, x.view.width - 1) : up_to(static_cast<int>(x.view.width) + 1) - 1));
    gs_step step = {};
    step.kind = GS_STEP_MOVE;
    if (named) step.rows = rows.data(), step.cols = cols.data();
    compare(step, x, out, random, [&](const float* given, int64_t c, int64_t i, int64_t j) {
      const int64_t y = named ? rows[static_cast<size_t>(i)] : i, z = named ? cols[static_cast<size_t>(j)] : j;
      return y < 0 || z < 0 ? 0. : given[place(x.view, c, y, z)];
    });
  }
}

std::vector<gs_window> windows(int64_t size, int64_t kernel, int64_t stride, int64_t border) {
  std::vector<gs_window> made;
  for (int64_t begin = -border; begin + kernel <= size + border; begin += stride) {
    const int64_t first = std::max<int64_t>(begin, 0), end = std::min(begin + kernel, size);
    made.push_back({static_cast<int32_t>(first), static_cast<int32_t>(end), static_cast<float>(end - first)});
  }
  return made;
}

void pools(std::mt19937& random) {
  for (int64_t width : {1, 3, 8, 19, 40})
    for (int64_t kernel : {1, 2, 3})
      for (int64_t stride : {1, 2, 3}) {
        if (kernel > width) continue;
        const auto high = windows(5, kernel, stride, kernel / 2), wide = windows(width, kernel, stride, kernel / 2);
        const Image x = image(1, 2, 5, width, 1, 1, width % 2);
        const Image out = image(2, 2, static_cast<int64_t>(high.size()), static_cast<int64_t>(wide.size()), 1, 1 + kernel % 2, 1);
        for (int64_t kind : {GS_STEP_MAX_POOL, GS_STEP_MEAN_POOL}) {
          gs_step step = {};
          step.kind = kind, step.windows_h = high.data(), step.windows_w = wide.data(), step.dilation_h = step.dilation_w = 1;
          compare(step, x, out, random, [&](const float* given, int64_t c, int64_t i, int64_t j) {
            const gs_window &h = high[static_cast<size_t>(i)], &w = wide[static_cast<size_t>(j)];
            double most = -std::numeric_limits<double>::infinity(), sum = 0;
            for (int64_t y = h.begin; y < h.end; ++y)
              for (int64_t z = w.begin; z < w.end; ++z) {
                const double v = given[place(x.view, c, y, z)];
                most = std::max(most, v), sum += v;
              }
            return kind == GS_STEP_MAX_POOL ? most : sum / (h.divisor * w.divisor);
          });
        }
      }
}

void maps(std::mt19937& random) {
  const float scale[] = {2, -1, .5f}, shift[] = {0, 1, -1};
  for (int64_t width : {1, 7, 8, 33}) {
    const Image x = image(1, 3, 5, width, 2, 2, 0), out = image(2, 3, 5, width, 2, 2, 1);
    gs_step step = {};
    step.kind = GS_STEP_MAP, step.scale = scale, step.shift = shift, step.activation = GS_RELU, step.more = x.view;
    compare(step, x, out, random, [&](const float* given, int64_t c, int64_t i, int64_t j) {
      const double v = given[place(x.view, c, i, j)];
      return std::max(0., scale[c] * v + shift[c] + v);
    });
  }
}

// A 3 x 3 convolution with zeros around, in and out by moves: three images, two at a time.
void convolution(std::mt19937& random) {
  constexpr int64_t kHeight = 5, kWidth = 11, kIn = 2, kOut = 3, kBatch = 3, kPitch = kWidth + 1, kPlane = (kHeight + 1) * kPitch, kGuard = 32;
  Layer layer = make_layer(random, GS_CSR, kOut, 9 * kIn, 1, 1, 1, false);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(layer.w.n_values));
  for (float& v : values) v = normal(random);
  layer.w.dtype = GS_F32, layer.w.values = values.data();
  std::vector<int32_t> columns;
  for (int64_t tap = 0; tap < 9; ++tap)
    for (int64_t c = 0; c < kIn; ++c) columns.push_back(static_cast<int32_t>(c * kPlane + (tap / 3 - 1) * kPitch + tap % 3 - 1));
  std::vector<uint8_t> inside(kPlane / 8 + 9);
  for (int64_t i = 0; i < kPlane; ++i)
    if (i / kPitch < kHeight && i % kPitch < kWidth) inside[static_cast<size_t>(i / 8)] |= static_cast<uint8_t>(1 << i % 8);
  const gs_span span = {0, 0, kPlane};
  const int64_t arena = 4 * kGuard + (kIn + kOut) * kPlane;
  const gs_view outer = {1, 0, kHeight * kWidth, kWidth, 0, kIn, kHeight, kWidth, 1, 1};
  gs_step enter = {}, conv = {}, leave = {};
  enter.x = outer, enter.out = {0, kGuard, kPlane, kPitch, 0, kIn, kHeight, kWidth, 1, 1};
  conv.kind = GS_STEP_CONV, conv.x = enter.out, conv.w = layer.w, conv.activation = GS_RELU;
  conv.out = {0, 3 * kGuard + kIn * kPlane, kPlane, kPitch, 0, kOut, kHeight, kWidth, 1, 1};
  conv.places = {9 * kIn, kOut, 0, 1, 1, 0, -kGuard, kIn * kPlane + kGuard, kOut * kPlane, static_cast<int64_t>(inside.size()), columns.data(), &span, inside.data()};
  leave.x = conv.out, leave.out = {2, 0, kHeight * kWidth, kWidth, 0, kOut, kHeight, kWidth, 1, 1};
  gs_call sized = {};
  sized.w = layer.w, sized.isa = GS_ISA_AUTO;
  size_t bytes = 0;
  CHECK(gs_conv_room(&sized, &conv.places, &bytes) == GS_OK);
  std::vector<char> room(bytes + 64);
  conv.room = room.data() + (64 - reinterpret_cast<uintptr_t>(room.data()) % 64) % 64;
  Guarded<float> x(kBatch * kIn * kHeight * kWidth), y(kBatch * kOut * kHeight * kWidth);
  for (size_t i = 0; i < x.size(); ++i) x[i] = normal(random);
  const std::vector<int64_t> sizes = {kIn * kHeight * kWidth, kOut * kHeight * kWidth};
  const std::vector<float*> memory = {x.data(), y.data()};
  std::vector<float> before;
  for (int64_t arenas : {1, 2}) {
    CHECK(run({enter, conv, leave}, arena, sizes, memory, kBatch, arenas, scattered_for) == GS_OK && x.intact() && y.intact());
    if (before.empty()) before.assign(y.data(), y.data() + y.size());
    CHECK(!std::memcmp(before.data(), y.data(), y.size() * sizeof(float)));
  }
  for (size_t at = 0; at < y.size(); ++at) {
    const int64_t i = static_cast<int64_t>(at), b = i / sizes[1], o = i % sizes[1] / (kHeight * kWidth), r = i / kWidth % kHeight, q = i % kWidth;
    double sum = 0;
    for (size_t k = 0; k < layer.row.size(); ++k) {
      const int64_t tap = layer.column[k] / kIn, c = layer.column[k] % kIn, u = r + tap / 3 - 1, v = q + tap % 3 - 1;
      if (layer.row[k] == o && u >= 0 && u < kHeight && v >= 0 && v < kWidth)
        sum += values[k] * x[static_cast<size_t>(((b * kIn + c) * kHeight + u) * kWidth + v)];
    }
    CHECK(std::abs(y[at] - std::max(0., sum)) < 1e-4);
  }
  const auto refused = [&](auto change) {
    gs_step bad = conv;
    change(bad);
    return run({enter, bad, leave}, arena, sizes, memory, 1, 1, nullptr) != GS_OK;
  };
  CHECK(refused([](gs_step& s) { s.x.at = 0; }));
  CHECK(refused([&](gs_step& s) { s.x.at = arena - kPlane; }));
  CHECK(refused([&](gs_step& s) { s.out.at = arena - kPlane; }));
  CHECK(refused([](gs_step& s) { s.out.plane = INT64_MAX; }));
  CHECK(refused([](gs_step& s) { s.room = nullptr; }));
  CHECK(refused([](gs_step& s) { s.places.spans = nullptr; }));
  CHECK(refused([](gs_step& s) { s.kind = 9; }));
  CHECK(run({enter, conv, leave}, arena, sizes, memory, 1, 2, failing_for) == GS_THREADS);
}

}  // namespace

void test_plan() {
  std::mt19937 random(5);
  moves(random);
  pools(random);
  maps(random);
  convolution(random);
  CHECK(gs_plan_prepare(nullptr) == GS_NULL && gs_plan_run(nullptr, nullptr) == GS_NULL);
}
