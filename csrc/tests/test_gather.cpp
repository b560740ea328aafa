// One sample: inputs fetched by loads and by gathers give the same bits, in every layout, column and value type, for rows of every
// length; and what is forced is what is taken.
#include <cmath>

#include "testing.h"

namespace {

constexpr int kInputs = 41;

// csr rows of 0, 1, .. 40 connections, in an order in which neighbours differ.
template <class I> struct Rows {
  std::vector<int32_t> rows = {0};
  Guarded<I> cols{0};

  explicit Rows(std::mt19937& random) {
    std::vector<int> flat;
    for (int r = 0; r < kInputs; ++r) {
      const int count = r * 17 % kInputs;
      for (int c = 0, left = count; left; ++c)
        if (static_cast<int>(random() % (kInputs - c)) < left) flat.push_back(c), --left;
      rows.push_back(static_cast<int32_t>(flat.size()));
    }
    cols = Guarded<I>(flat.size());
    for (size_t i = 0; i < flat.size(); ++i) cols[i] = static_cast<I>(flat[i]);
  }
};

// One product both ways. Values of `bytes` each are random bits that are numbers, x may hold any.
template <class T> void same(std::mt19937& random, gs_matrix w, int isa, gs_dtype narrow, const std::vector<T>& inputs) {
  const size_t bytes = narrow == GS_I8 ? 1 : narrow == GS_BF16 ? 2 : sizeof(T);
  Guarded<unsigned char> values(w.n_values * bytes, bytes);
  for (int64_t i = 0; i < w.n_values; ++i) {
    const float v = static_cast<float>(random() % 2001) / 1000 - 1;
    const T wide = static_cast<T>(v) / 3;
    if (narrow == GS_I8) values[i] = static_cast<unsigned char>(random());
    else std::memcpy(values.data() + i * bytes, reinterpret_cast<const char*>(narrow == GS_BF16 ? static_cast<const void*>(&v) : &wide) + (narrow == GS_BF16 ? 2 : 0), bytes);
  }
  Guarded<T> x(inputs.size()), scales(w.n_out), loads(w.n_out), gathers(w.n_out);
  for (size_t i = 0; i < inputs.size(); ++i) x[i] = inputs[i];
  for (size_t r = 0; r < scales.size(); ++r) scales[r] = static_cast<T>(0.3 + 0.1 * (r % 5));
  w.dtype = sizeof(T) == 4 ? GS_F32 : GS_F64, w.values = values.data(), w.narrow = narrow, w.scales = scales.data();
  gs_call call = {};
  call.w = w, call.isa = isa, call.batch = 1, call.x = {x.data(), 1, 1}, call.out_stride = 1;
  CHECK(gs_fetch_by(GS_FETCH_LOADS) == GS_OK && gs_fetched_by() == GS_FETCH_LOADS);
  call.out = loads.data();
  CHECK(gs_linear(&call) == GS_OK);
  CHECK(gs_fetch_by(GS_FETCH_GATHERS) == GS_OK && gs_fetched_by() == GS_FETCH_GATHERS);
  call.out = gathers.data();
  CHECK(gs_linear(&call) == GS_OK);
  CHECK(std::memcmp(loads.data(), gathers.data(), w.n_out * sizeof(T)) == 0);
  CHECK(loads.intact() && gathers.intact() && x.intact() && values.intact());
}

template <class T> void every_type(std::mt19937& random, const gs_matrix& w, int isa) {
  std::vector<T> x(w.n_in);
  for (T& v : x) v = static_cast<T>(random() % 2001) / 1000 - 1;
  same<T>(random, w, isa, static_cast<gs_dtype>(0), x);
  if (sizeof(T) == 4) {
    same<T>(random, w, isa, GS_BF16, x);
    same<T>(random, w, isa, GS_I8, x);
  }
  x[0] = INFINITY, x[w.n_in - 1] = static_cast<T>(-0.0);
  same<T>(random, w, isa, static_cast<gs_dtype>(0), x);
}

template <class I> void every_length(std::mt19937& random, int isa) {
  const Rows<I> rows(random);
  const int64_t used = static_cast<int64_t>(rows.cols.size());
  const gs_matrix w = {GS_CSR, 0, kInputs, kInputs, 1, 0, 0, 0, used, used, 4, sizeof(I), nullptr, rows.rows.data(), rows.cols.data(), 0, nullptr};
  CHECK(gs_check_index(&w) == GS_OK);
  every_type<float>(random, w, isa);
  every_type<double>(random, w, isa);
}

void other_layouts(std::mt19937& random, int isa) {
  for (bool wide : {false, true}) {
    for (int k : {0, 1, 7, 8, 17, 40}) {
      const Layer fanin = make_layer(random, GS_FANIN, 11, 70, 1, k, 0, wide);
      every_type<float>(random, fanin.w, isa);
      every_type<double>(random, fanin.w, isa);
    }
    const Layer groups = make_layer(random, GS_FANIN, 12, 70, 4, 9, 0, wide);
    every_type<float>(random, groups.w, isa);
  }
  const Layer nm = make_layer(random, GS_NM, 9, 1600, 1, 3, 5, false);
  every_type<float>(random, nm.w, isa);
}

}  // namespace

void test_gather() {
  std::mt19937 random(21);
  CHECK(gs_fetch_by(-2) == GS_SIZE && gs_fetch_by(2) == GS_SIZE);
  CHECK(gs_fetch_by(GS_FETCH_AUTO) == GS_OK);
  const int32_t found = gs_fetched_by();
  CHECK(found == GS_FETCH_LOADS || found == GS_FETCH_GATHERS);
  if (gs_isa_available(GS_ISA_AVX2) != GS_OK) {
    CHECK(found == GS_FETCH_LOADS && gs_fetch_by(GS_FETCH_GATHERS) == GS_ISA);
    return;
  }
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    every_length<uint16_t>(random, isa);
    every_length<int32_t>(random, isa);
    other_layouts(random, isa);
  }
  CHECK(gs_fetch_by(GS_FETCH_AUTO) == GS_OK && gs_fetched_by() == found);
}
