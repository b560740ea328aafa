// Values to their places in a dense matrix and back, fingerprints, and what both refuse.
#include <utility>

#include "testing.h"

namespace {

template <class T> void there_and_back(const Layer& layer, gs_parallel_for parallel) {
  gs_matrix w = layer.w;
  w.rows = layer.rows.data(), w.cols = layer.cols.data(), w.dtype = sizeof(T) == 4 ? GS_F32 : GS_F64;
  const size_t n = layer.row.size(), tail = 3, places = static_cast<size_t>(w.n_out * w.n_in);
  Guarded<T> values(n + tail), dense(places), back(n + tail);
  std::vector<T> want(places, static_cast<T>(-1));
  for (size_t i = 0; i < places; ++i) dense[i] = -1;
  for (size_t i = 0; i < n + tail; ++i) values[i] = static_cast<T>(i + 1);
  for (size_t i = 0; i < n; ++i) want[layer.row[i] * w.n_in + layer.column[i]] = values[i];
  w.values = values.data(), w.n_values = static_cast<int64_t>(n + tail);
  CHECK(gs_to_dense(&w, dense.data(), parallel) == GS_OK);
  for (size_t i = 0; i < places; ++i) CHECK(dense[i] == want[i]);
  w.values = nullptr;
  CHECK(gs_from_dense(&w, dense.data(), back.data(), parallel) == GS_OK);
  for (size_t i = 0; i < n + tail; ++i) CHECK(back[i] == (i < n ? values[i] : 0));
  CHECK(values.intact() && dense.intact() && back.intact());
}

void refusals() {
  const int32_t pointer[3] = {0, 2, 3};
  const uint16_t columns[3] = {0, 3, 1};
  float values[3] = {1, 2, 3}, dense[8];
  const gs_matrix good = {GS_CSR, GS_F32, 2, 4, 1, 0, 0, 0, 3, 3, 4, 2, values, pointer, columns, 0, nullptr};
  gs_matrix w = good;
  CHECK(gs_to_dense(&w, dense, failing_for) == GS_OK);  // too little work to hand out
  CHECK(gs_to_dense(nullptr, dense, nullptr) == GS_NULL && gs_from_dense(nullptr, dense, values, nullptr) == GS_NULL);
  CHECK(gs_to_dense(&w, nullptr, nullptr) == GS_NULL && gs_from_dense(&w, nullptr, values, nullptr) == GS_NULL);
  CHECK(gs_from_dense(&w, dense, nullptr, nullptr) == GS_NULL);
  w = good, w.values = nullptr;
  CHECK(gs_to_dense(&w, dense, nullptr) == GS_NULL);
  w = good, w.narrow = GS_BF16;
  CHECK(gs_to_dense(&w, dense, nullptr) == GS_DTYPE);
  w = good, w.layout = GS_CSR_BANDS;
  CHECK(gs_to_dense(&w, dense, nullptr) == GS_LAYOUT);
  w = good, w.n_values = 2;
  CHECK(gs_to_dense(&w, dense, nullptr) == GS_SIZE);
}

void fingerprints() {
  std::mt19937 random(4);
  uint64_t first, other;
  for (int bytes : {0, 1, 7, 8, 63, 64, 65, 200}) {
    Guarded<unsigned char> data(bytes, 3);
    for (int i = 0; i < bytes; ++i) data[i] = static_cast<unsigned char>(random());
    CHECK(gs_fingerprint(data.data(), bytes, &first) == GS_OK);
    for (int i = 0; i < bytes; ++i) {  // any changed byte changes it, and put back it is as before
      data[i] ^= 1;
      CHECK(gs_fingerprint(data.data(), bytes, &other) == GS_OK && other != first);
      data[i] ^= 1;
    }
    CHECK(gs_fingerprint(data.data(), bytes, &other) == GS_OK && other == first);
  }
  CHECK(gs_fingerprint(nullptr, 0, &first) == GS_OK);
  CHECK(gs_fingerprint(nullptr, 1, &first) == GS_NULL && gs_fingerprint("a", 1, nullptr) == GS_NULL);
  CHECK(gs_fingerprint("a", -1, &first) == GS_SIZE);
}

}  // namespace

void test_dense() {
  std::mt19937 random(9);
  for (bool wide : {false, true})
    for (gs_parallel_for parallel : {static_cast<gs_parallel_for>(nullptr), static_cast<gs_parallel_for>(scattered_for)}) {
      std::vector<Layer> layers = {make_layer(random, GS_CSR, 9, 700, 1, 0, 0, wide), make_layer(random, GS_FANIN, 6, 4, 1, 0, 0, wide),
                                   make_layer(random, GS_NM, 11, 24, 1, 2, 4, false), make_layer(random, GS_BLOCK, 12, 33, 1, 6, 3, wide)};
      for (int group : {1, 2, 4, 8, 16}) layers.push_back(make_layer(random, GS_FANIN, 70 * group, 90, group, 31, 0, wide));
      for (const Layer& layer : layers) there_and_back<float>(layer, parallel), there_and_back<double>(layer, parallel);
    }
  refusals();
  fingerprints();
}
