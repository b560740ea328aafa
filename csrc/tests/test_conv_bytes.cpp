// Constant fan-in of bytes: images and samples that are whole steps have exact sums, the same in every instruction set.
#include <cmath>
#include <tuple>

#include "testing.h"

namespace {

constexpr int kRows = 7, kPitch = 23, kPlane = kRows * kPitch, kGuard = 48, kColumns = 30, kOut = 64;

struct Bytes {
  Layer layer;
  Guarded<int8_t> values{0};
  Guarded<float> scales{0}, bias{0};
  gs_call call = {};

  Bytes(std::mt19937& random, int n_out, int n_in, int group, int k, bool wide) : layer(make_layer(random, GS_FANIN, n_out, n_in, group, k, 0, wide)) {
    values = Guarded<int8_t>(layer.row.size()), scales = Guarded<float>(n_out), bias = Guarded<float>(n_out);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int8_t>(random() % 4 ? static_cast<int>(random() % 256) - 128 : -128);
    for (int r = 0; r < n_out; ++r) scales[r] = r % 2 ? 0.5f : 2, bias[r] = static_cast<float>(r % 5) - 2;
    call.w = layer.w, call.w.layout = GS_FANIN_BYTES, call.w.dtype = GS_F32, call.w.narrow = GS_I8;
    call.w.values = values.data(), call.w.scales = scales.data(), call.w.rows = layer.rows.data(), call.w.cols = layer.cols.data();
  }
};

// Planes of one image, whose surroundings are no numbers: they count as zeros. A column lies anywhere near a position.
struct Image {
  int channels;
  Guarded<float> x;
  std::vector<int32_t> columns;
  std::vector<gs_span> spans;
  std::vector<uint8_t> inside;
  int64_t step, split;

  Image(std::mt19937& random, int64_t each, bool apart) : channels(5), x(2 * kGuard + 5 * kPlane + 16), step(each), split(apart ? kPlane : 0) {
    for (size_t i = 0; i < x.size(); ++i) x[i] = NAN;
    for (int i = 0; i < channels * kPlane; ++i) x[kGuard + i] = static_cast<float>(random() % 255) - 127;
    x[kGuard] = 127;  // so a step is 1
    for (int c = 0; c < kColumns; ++c) columns.push_back(static_cast<int32_t>(c % channels * kPlane + static_cast<int>(random() % 49) - 24));
    if (step == 1) spans.push_back({0, 0, kPlane});
    else
      for (int y = 0; y < 3; ++y) spans.push_back({y * 2 * kPitch, y * kPitch, 11});
    for (const gs_span& span : spans)
      for (int byte = 0; byte < (span.length + 7) / 8; ++byte) inside.push_back(static_cast<uint8_t>(random()));
    inside.resize(inside.size() + 8);
  }
  gs_places places() const {
    return {kColumns, kOut, 0, static_cast<int64_t>(spans.size()), step, split, -kGuard, channels * kPlane + kGuard,
            kOut * (split ? 2 : 1) * kPlane, static_cast<int64_t>(inside.size()), columns.data(), spans.data(), inside.data()};
  }
  double at(int64_t i) const { return i < 0 || i >= channels * kPlane ? 0 : x.data()[kGuard + i]; }
};

// Every position of every span, by the definition.
void same(const Bytes& bytes, const Image& image, const Guarded<float>& out, int64_t stride) {
  std::vector<double> weight(kOut * kColumns);
  for (size_t i = 0; i < bytes.layer.row.size(); ++i) weight[bytes.layer.row[i] * kColumns + bytes.layer.column[i]] += bytes.values.data()[i];
  bool good = true;
  size_t bits = 0;
  for (const gs_span& span : image.spans) {
    for (int64_t i = 0; i < span.length; ++i)
      for (int r = 0; r < kOut; ++r) {
        double sum = 0;
        for (int c = 0; c < kColumns; ++c) sum += weight[r * kColumns + c] * (weight[r * kColumns + c] ? image.at(span.in + i * image.step + image.columns[c]) : 0);
        const bool kept = image.inside[bits + i / 8] >> (i % 8) & 1;
        const double want = kept ? std::max(0., sum * bytes.scales.data()[r] + bytes.bias.data()[r]) : 0;
        good = good && out.data()[r * stride + span.out + (image.split ? i % 2 * image.split + i / 2 : i)] == static_cast<float>(want);
      }
    bits += (span.length + 7) / 8;
  }
  CHECK(good);
}

void image(std::mt19937& random, int isa, int group, int k, int64_t step, bool apart) {
  Bytes bytes(random, kOut, kColumns, group, k, group % 3 == 1);
  Image planes(random, step, apart);
  const gs_places places = planes.places();
  const int64_t stride = (apart ? 2 : 1) * kPlane;
  Guarded<float> out(kOut * stride), pieces(out.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = pieces[i] = 7;
  gs_call call = bytes.call;
  call.isa = isa, call.x.data = planes.x.data() + kGuard, call.bias = bytes.bias.data(), call.activation = GS_RELU;
  call.out = out.data(), call.out_stride = stride;
  CHECK(gs_conv(&call, &places, nullptr) == GS_OK);
  CHECK(out.intact() && planes.x.intact() && bytes.values.intact());
  same(bytes, planes, out, stride);
  size_t size;
  CHECK(gs_conv_room(&call, &places, &size) == GS_OK);
  std::vector<unsigned char> memory(size + 64);
  void* room = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
  call.out = pieces.data(), call.parallel = scattered_for;
  CHECK(gs_conv(&call, &places, room) == GS_SIZE);  // nothing is ready there
  CHECK(gs_conv_prepare(&call, &places, room) == GS_OK);
  CHECK(gs_conv(&call, &places, room) == GS_OK);
  CHECK(pieces.intact() && std::memcmp(out.data(), pieces.data(), out.size() * sizeof(float)) == 0);
  planes.x[kGuard + kPlane] = INFINITY;
  call.activation = GS_IDENTITY;
  CHECK(gs_conv(&call, &places, room) == GS_OK);
  if (planes.inside[0] & 1) CHECK(std::isnan(pieces[0]) && std::isnan(pieces[(kOut - 1) * stride]));
}

void sample(std::mt19937& random, int isa, int group, int k, int n_in, int batch) {
  const int n_out = 2 * group;
  Bytes bytes(random, n_out, n_in, group, k, group % 3 == 1);
  Guarded<float> x(static_cast<size_t>(n_in) * batch), out(static_cast<size_t>(n_out) * batch);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % n_in ? static_cast<float>(random() % 255) - 127 : 127;
  gs_call call = bytes.call;
  call.isa = isa, call.batch = batch, call.x = {x.data(), 1, n_in}, call.out = out.data(), call.out_stride = batch;
  CHECK(gs_check_index(&call.w) == GS_OK);
  CHECK(gs_linear(&call) == GS_OK);
  std::vector<double> sums(n_out * batch);
  for (size_t i = 0; i < bytes.layer.row.size(); ++i)
    for (int b = 0; b < batch; ++b) sums[bytes.layer.row[i] * batch + b] += bytes.values[i] * static_cast<double>(x[b * n_in + bytes.layer.column[i]]);
  bool good = true;
  for (size_t i = 0; i < sums.size(); ++i) good = good && out[i] == static_cast<float>(sums[i]) * bytes.scales[i / batch];
  compared(GS_OP_LINEAR, call);
  CHECK(good && out.intact() && x.intact() && bytes.values.intact());
}

template <class Change> void refuses(gs_status expected, Change change) {
  std::mt19937 random(2);
  Bytes bytes(random, kOut, kColumns, 4, 6, true);
  Image planes(random, 1, false);
  gs_places places = planes.places();
  std::vector<float> out(kOut * kPlane);
  bytes.call.isa = GS_ISA_AUTO, bytes.call.x.data = planes.x.data() + kGuard, bytes.call.out = out.data(), bytes.call.out_stride = kPlane;
  change(bytes, places);
  CHECK(gs_conv(&bytes.call, &places, nullptr) == expected);
}

void refusals() {
  refuses(GS_OK, [](Bytes&, gs_places&) {});
  refuses(GS_INDEX, [](Bytes& b, gs_places&) { reinterpret_cast<int32_t*>(b.layer.cols.data())[5] = kColumns; });
  refuses(GS_INDEX, [](Bytes& b, gs_places&) { reinterpret_cast<int32_t*>(b.layer.cols.data())[5] = -1; });
  refuses(GS_INDEX, [](Bytes& b, gs_places&) { reinterpret_cast<int32_t*>(b.layer.rows.data())[0] = kOut / 4; });
  refuses(GS_INDEX, [](Bytes& b, gs_places&) { reinterpret_cast<int32_t*>(b.layer.rows.data())[1] = reinterpret_cast<int32_t*>(b.layer.rows.data())[0]; });
  refuses(GS_SIZE, [](Bytes&, gs_places& p) { p.in_begin = -8; });
  refuses(GS_SIZE, [](Bytes&, gs_places& p) { p.in_end = 3 * kPlane; });
  refuses(GS_SIZE, [](Bytes&, gs_places& p) { p.in_end = kGuard - 1; });
  refuses(GS_SIZE, [](Bytes&, gs_places& p) { p.rows_of_group = 2; });
  refuses(GS_SIZE, [](Bytes&, gs_places& p) { p.out_end -= 1; });
  refuses(GS_SIZE, [](Bytes& b, gs_places&) { b.call.w.per_row = (1 << 17) + 1, b.call.w.n_in = 1 << 18; });
  refuses(GS_DTYPE, [](Bytes& b, gs_places&) { b.call.w.narrow = GS_BF16; });
  refuses(GS_DTYPE, [](Bytes& b, gs_places&) { b.call.w.dtype = GS_F64, b.call.w.narrow = 0; });
  refuses(GS_NULL, [](Bytes& b, gs_places&) { b.call.w.scales = nullptr; });
}

}  // namespace

void test_conv_bytes() {
  std::mt19937 random(58);
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    for (int group : {1, 2, 4, 8, 16, 32}) {
      for (int k : {1, 6, 30}) image(random, isa, group, k, 1, false);
      image(random, isa, group, 7, 2, true);
      for (auto [k, n_in, batch] : {std::tuple{1, 1, 1}, {9, 40, 3}, {300, 301, 5}}) sample(random, isa, group, k, n_in, batch);
    }
  }
  refusals();
}
