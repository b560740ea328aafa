// Convolutions of one image and of batches against their definition, on memory that ends where they say it does.
#include <algorithm>
#include <cmath>
#include <limits>

#include "testing.h"

namespace {

constexpr int kChannels = 4, kHeight = 5, kWidth = 9, kPitch = kWidth + 1, kPlane = (kHeight + 1) * kPitch, kGuard = 32;
constexpr int kColumns = 9 * kChannels, kOut = 48, kPixels = kHeight * kWidth;

// Tables of a 3 x 3 convolution with a border of one zero, rows `step` pixels apart in the input and side by side in the output.
struct Tables {
  std::vector<int32_t> columns, plane_of;
  std::vector<gs_span> spans;
  std::vector<uint8_t> inside;

  Tables() {
    for (int tap = 0; tap < 9; ++tap)
      for (int c = 0; c < kChannels; ++c) columns.push_back(c * kPlane + (tap / 3 - 1) * kPitch + tap % 3 - 1), plane_of.push_back(c);
    spans.push_back({0, 0, kPlane});
    inside.assign((kPlane + 7) / 8 + 8, 0);
    for (int y = 0; y < kHeight; ++y)
      for (int x = 0; x < kWidth; ++x) inside[(y * kPitch + x) / 8] |= 1 << (y * kPitch + x) % 8;
  }
  gs_places places() const {
    return {kColumns, kOut, 0, static_cast<int64_t>(spans.size()), 1, 0, -kGuard, kChannels * kPlane + kGuard, kOut * kPlane,
            static_cast<int64_t>(inside.size()), columns.data(), spans.data(), inside.data()};
  }
};

template <class T> double pixel(const Guarded<T>& image, int c, int y, int x) {
  return y < 0 || x < 0 || y >= kHeight || x >= kWidth ? 0 : image.data()[(c * kHeight + y) * kWidth + x];
}

// [row][y][x] of the sums without bias.
template <class T> std::vector<double> convolved(const Layer& layer, const T* values, const Guarded<T>& image) {
  std::vector<double> sums(kOut * kPixels);
  for (size_t i = 0; i < layer.row.size(); ++i) {
    const int tap = static_cast<int>(layer.column[i]) / kChannels, c = static_cast<int>(layer.column[i]) % kChannels;
    for (int p = 0; p < kPixels; ++p)
      sums[layer.row[i] * kPixels + p] += values[i] * pixel(image, c, p / kWidth + tap / 3 - 1, p % kWidth + tap % 3 - 1);
  }
  return sums;
}

std::vector<Layer> layers(std::mt19937& random, bool wide) {
  std::vector<Layer> all = {make_layer(random, GS_CSR, kOut, kColumns, 1, 0, 0, wide), make_layer(random, GS_NM, kOut, kColumns, 1, 1, 4, false),
                            make_layer(random, GS_BLOCK, kOut, kColumns, 1, 6, 2, wide), make_layer(random, GS_BLOCK, kOut, kColumns, 1, 16, 4, wide),
                            make_layer(random, GS_BLOCK, kOut, kColumns, 1, 3, 1, wide)};
  for (int group : {1, 2, 4, 8, 16}) all.push_back(make_layer(random, GS_FANIN, kOut, kColumns, group, 5, 0, wide));
  return all;
}

template <class T> void fill(std::mt19937& random, Guarded<T>& numbers) {
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = normal(random);
}

template <class T> Guarded<T> planes_of(const Guarded<T>& image, int channels, int more) {
  Guarded<T> planes(static_cast<size_t>(2 * kGuard + channels * kPlane + more));
  std::fill_n(planes.data(), planes.size(), T{0});
  for (int i = 0; i < channels * kPixels; ++i)
    planes[kGuard + i / kPixels * kPlane + i % kPixels / kWidth * kPitch + i % kWidth] = image[i];
  return planes;
}

// One image: bias, residual, ReLU and border, with and without a room.
template <class T> void one_image(std::mt19937& random, Layer& layer, int isa) {
  Guarded<T> values(layer.row.size()), image(kChannels * kPixels), bias(kOut), more(kOut * kPixels), out(kOut * kPlane);
  fill(random, values), fill(random, image), fill(random, bias), fill(random, more);
  const Guarded<T> x = planes_of(image, kChannels, 0), residual = planes_of(more, kOut, 0);
  const Tables tables;
  const gs_places places = tables.places();
  gs_call call = {};
  call.w = layer.w, call.w.dtype = sizeof(T) == 4 ? GS_F32 : GS_F64, call.w.values = values.data(), call.isa = isa;
  call.w.rows = layer.rows.data(), call.w.cols = layer.cols.data();
  call.x.data = x.data() + kGuard, call.bias = bias.data(), call.residual = {residual.data() + kGuard, kPlane, 1};
  call.activation = GS_RELU, call.out = out.data(), call.out_stride = kPlane;
  const std::vector<double> sums = convolved(layer, values.data(), image);
  for (bool ready : {false, true})
    for (gs_parallel_for parallel : {static_cast<gs_parallel_for>(nullptr), static_cast<gs_parallel_for>(scattered_for)}) {
      std::fill_n(out.data(), out.size(), T{7});
      call.parallel = parallel;
      size_t bytes;
      CHECK(gs_conv_room(&call, &places, &bytes) == GS_OK);
      std::vector<unsigned char> memory(bytes + 64);
      void* room = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
      if (ready) CHECK(gs_conv_prepare(&call, &places, room) == GS_OK);
      CHECK(gs_conv(&call, &places, ready ? room : nullptr) == GS_OK);
      CHECK(out.intact());
      for (int i = 0; i < kOut * kPlane; ++i) {
        const int row = i / kPlane, y = i % kPlane / kPitch, c = i % kPitch;
        const bool inside = y < kHeight && c < kWidth;
        const int p = row * kPixels + y * kWidth + c;
        const double want = inside ? std::max(0., sums[p] + static_cast<double>(bias[row]) + static_cast<double>(more[p])) : 0;
        CHECK(std::abs(static_cast<double>(out[i]) - want) < 1e-4);
      }
    }
}

gs_images images_of(const Layer& layer, const Tables& tables, int isa, int64_t dtype, int batch) {
  gs_images call = {};
  call.w = layer.w, call.w.dtype = dtype, call.w.rows = layer.rows.data(), call.w.cols = layer.cols.data();
  call.isa = isa, call.batch = batch, call.threads = 1;
  call.input = {kChannels, kHeight, kWidth, 1, 1, 1, 1}, call.output = {kOut, kHeight, kWidth, 1, 1, 1, 1};
  call.places = tables.places(), call.plane_of = tables.plane_of.data();
  return call;
}

// A batch forwards and back; threads change no bit.
template <class T> void batches(std::mt19937& random, Layer& layer, int isa, int batch) {
  const size_t tail = 2;
  Guarded<T> values(layer.row.size() + tail), image(kChannels * kPixels), x(batch * kChannels * kPixels), grad(batch * kOut * kPixels);
  fill(random, values), fill(random, x), fill(random, grad);
  std::vector<double> y, dx(x.size()), dv(values.size());
  for (int n = 0; n < batch; ++n) {
    std::copy_n(x.data() + n * kChannels * kPixels, kChannels * kPixels, image.data());
    const std::vector<double> sums = convolved(layer, values.data(), image);
    y.insert(y.end(), sums.begin(), sums.end());
    for (size_t i = 0; i < layer.row.size(); ++i) {
      const int tap = static_cast<int>(layer.column[i]) / kChannels, c = static_cast<int>(layer.column[i]) % kChannels;
      for (int p = 0; p < kPixels; ++p) {
        const int from_y = p / kWidth + tap / 3 - 1, from_x = p % kWidth + tap % 3 - 1;
        if (from_y < 0 || from_x < 0 || from_y >= kHeight || from_x >= kWidth) continue;
        const double g = grad[(n * kOut + layer.row[i]) * kPixels + p];
        dv[i] += g * pixel(image, c, from_y, from_x);
        dx[(n * kChannels + c) * kPixels + from_y * kWidth + from_x] += g * static_cast<double>(values[i]);
      }
    }
  }
  const Tables tables;
  gs_images call = images_of(layer, tables, isa, sizeof(T) == 4 ? GS_F32 : GS_F64, batch);
  call.w.values = values.data(), call.w.n_values = static_cast<int64_t>(values.size()), call.x = x.data(), call.grad = grad.data();
  const auto compare = [&](gs_status (*run)(const gs_images*), const std::vector<double>& want) {
    Guarded<T> out(want.size()), again(want.size());
    call.out = out.data(), call.threads = 1, call.parallel = nullptr;
    CHECK(run(&call) == GS_OK);
    call.out = again.data(), call.threads = 8, call.parallel = scattered_for;
    CHECK(run(&call) == GS_OK);
    CHECK(out.intact() && again.intact() && !std::memcmp(out.data(), again.data(), want.size() * sizeof(T)));
    for (size_t i = 0; i < want.size(); ++i) CHECK(std::abs(static_cast<double>(out[i]) - want[i]) < 1e-3);
  };
  compare(gs_conv_images, y);
  compare(gs_conv_grad_input, dx);
  call.w.values = nullptr;
  compare(gs_conv_grad_values, dv);
  // An infinite pixel in a corner reaches the taps that read it, and no other.
  if (!batch) return;
  x[kWidth - 1] = std::numeric_limits<T>::infinity();
  Guarded<T> out(dv.size());
  call.out = out.data();
  CHECK(gs_conv_grad_values(&call) == GS_OK && out.intact());
  for (size_t i = 0; i < dv.size(); ++i) {
    const bool first = i < layer.row.size() && layer.column[i] % kChannels == 0;
    const int tap = first ? static_cast<int>(layer.column[i]) / kChannels : 0;
    const bool reads = first && tap / 3 <= 1 && tap % 3 >= 1;
    CHECK(std::isfinite(static_cast<double>(out[i])) == !reads);
    if (!reads) CHECK(std::abs(static_cast<double>(out[i]) - dv[i]) < 1e-3);
  }
}

void refusals(std::mt19937& random) {
  Layer layer = make_layer(random, GS_FANIN, kOut, kColumns, 4, kColumns, 0, true);  // every column is read
  Guarded<float> values(layer.row.size()), x(2 * kGuard + kChannels * kPlane), out(kOut * kPlane);
  const Tables tables;
  gs_call call = {};
  call.w = layer.w, call.w.values = values.data(), call.w.rows = layer.rows.data(), call.w.cols = layer.cols.data(), call.isa = GS_ISA_AUTO;
  call.x.data = x.data() + kGuard, call.out = out.data(), call.out_stride = kPlane;
  const auto refused = [&](const gs_places& places) { return gs_conv(&call, &places, nullptr); };
  const gs_places good = tables.places();
  gs_places p = good;
  CHECK(gs_conv(nullptr, &good, nullptr) == GS_NULL && gs_conv(&call, nullptr, nullptr) == GS_NULL);
  p = good, p.in_end -= kGuard; CHECK(refused(p) == GS_SIZE);
  p = good, p.in_begin = 0; CHECK(refused(p) == GS_SIZE);
  p = good, p.out_end -= 1; CHECK(refused(p) == GS_SIZE);
  p = good, p.n_inside = (kPlane + 7) / 8; CHECK(refused(p) == GS_SIZE);
  p = good, p.n_columns -= 1; CHECK(refused(p) == GS_SIZE);
  p = good, p.rows_of_group = kOut / 24; CHECK(refused(p) == GS_SIZE);  // a strip of four rows would lie in two groups
  p = good, p.group_step = INT64_MAX / 2; CHECK(refused(p) == GS_SIZE);
  p = good, p.columns = nullptr; CHECK(refused(p) == GS_NULL);
  std::vector<int32_t> far = tables.columns;
  far[reinterpret_cast<int32_t*>(layer.cols.data())[0]] = INT32_MAX;
  p = good, p.columns = far.data(); CHECK(refused(p) == GS_SIZE);
  const gs_span outside = {0, kPlane * (kOut - 1), kPlane + 1};
  p = good, p.spans = &outside; CHECK(refused(p) == GS_SIZE);
  std::vector<unsigned char> memory(1 << 16);
  CHECK(gs_conv(&call, &good, memory.data()) == GS_SIZE);  // no room of ours
  reinterpret_cast<int32_t*>(layer.cols.data())[3] = kColumns;
  CHECK(refused(good) == GS_INDEX);
  reinterpret_cast<int32_t*>(layer.cols.data())[3] = -1;
  CHECK(refused(good) == GS_INDEX);
  reinterpret_cast<int32_t*>(layer.cols.data())[3] = 0;

  gs_images images = images_of(layer, tables, GS_ISA_AUTO, GS_F32, 1);
  images.w.values = values.data(), images.x = x.data(), images.grad = x.data(), images.out = out.data();
  CHECK(gs_conv_images(&images) == GS_OK);
  std::vector<int32_t> plane_of = tables.plane_of;
  plane_of[0] = kChannels;
  gs_images wrong = images;
  wrong.plane_of = plane_of.data(); CHECK(gs_conv_grad_input(&wrong) == GS_INDEX);
  wrong = images, wrong.input.border_columns = 2; CHECK(gs_conv_images(&wrong) == GS_SIZE);
  wrong = images, wrong.output.channels = 1; CHECK(gs_conv_images(&wrong) == GS_SIZE);
  wrong = images, wrong.input.channels = INT32_MAX; CHECK(gs_conv_images(&wrong) == GS_OVERFLOW);
  wrong = images, wrong.threads = 0; CHECK(gs_conv_images(&wrong) == GS_SIZE);
  wrong = images, wrong.x = nullptr; CHECK(gs_conv_images(&wrong) == GS_NULL);
  wrong = images, wrong.w.narrow = GS_BF16; CHECK(gs_conv_images(&wrong) == GS_DTYPE);
}

}  // namespace

void test_conv() {
  std::mt19937 random(15);
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    for (Layer& layer : layers(random, isa % 2 == 1)) {
      one_image<float>(random, layer, isa), one_image<double>(random, layer, isa);
      batches<float>(random, layer, isa, 1), batches<float>(random, layer, isa, 3), batches<double>(random, layer, isa, 2);
    }
    Layer dense = make_layer(random, GS_DENSE, kOut, kColumns, 1, 0, 0, false);
    one_image<float>(random, dense, isa);
  }
  refusals(random);
}
