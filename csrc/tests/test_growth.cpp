// Growth against a sort of all free units; guard bytes, threads, refusals.
#include <algorithm>
#include <cmath>

#include "testing.h"

namespace {

struct Case {
  int rows, cols, h, w, bucket;
};

// A gradient with many ties and a few taken positions; what a sort would choose.
template <class T> struct Tile {
  Guarded<T> gradient;
  std::vector<int64_t> taken;
  std::vector<double> score;
  gs_scores tile;

  Tile(std::mt19937& random, const Case& c, int isa, int64_t first)
      : gradient(static_cast<size_t>(c.rows) * c.cols * c.h * c.w), score(c.rows * c.cols) {
    const int width = c.cols * c.w;
    for (size_t i = 0; i < gradient.size(); ++i) {
      gradient[i] = static_cast<T>(static_cast<int>(random() % 41) - 20) / 4;
      score[i / width / c.h * c.cols + i % width / c.w] += std::fabs(static_cast<double>(gradient[i]));
    }
    for (size_t u = 0; u < score.size(); ++u)
      if (random() % 4 == 0) taken.push_back(first + static_cast<int64_t>(u)), score[u] = -1;
    tile = {sizeof(T) == 8 ? GS_F64 : GS_F32, isa, c.rows, c.cols, c.h, c.w, first, static_cast<int64_t>(taken.size()),
            gradient.data(), taken.data(), scattered_for, 0, {}, nullptr};
  }

  // The k best of units [begin, end), ascending, as positions.
  std::vector<int64_t> best(int64_t begin, int64_t end, int64_t k) const {
    std::vector<int64_t> order;
    for (int64_t u = begin; u < end; ++u) order.push_back(u);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[a] > score[b]; });
    order.resize(k);
    std::sort(order.begin(), order.end());
    for (int64_t& u : order) u += tile.first;
    return order;
  }
  int64_t free_in(int64_t begin, int64_t end) const {
    return std::count_if(score.begin() + begin, score.begin() + end, [](double s) { return s >= 0; });
  }
};

template <class T> void in_buckets(std::mt19937& random, const Case& c, int isa) {
  Tile<T> t(random, c, isa, 1000);
  const int64_t units = t.score.size();
  Guarded<int64_t> want(units / c.bucket);
  std::vector<int64_t> expected;
  for (int64_t b = 0; b < units / c.bucket; ++b) {
    want[b] = static_cast<int64_t>(random() % (t.free_in(b * c.bucket, (b + 1) * c.bucket) + 1));
    for (int64_t position : t.best(b * c.bucket, (b + 1) * c.bucket, want[b])) expected.push_back(position);
  }
  Guarded<int64_t> chosen(expected.size());
  CHECK(gs_grow_in_buckets(&t.tile, c.bucket, want.data(), chosen.data(), chosen.size()) == GS_OK);
  CHECK(std::equal(expected.begin(), expected.end(), chosen.data()));
  CHECK(t.gradient.intact() && want.intact() && chosen.intact());
}

template <class T> void of_layer(std::mt19937& random, const Case& c, int isa) {
  Tile<T> t(random, c, isa, 7);
  const int64_t units = t.score.size(), k = t.free_in(0, units) / 3;
  Guarded<T> scores(units);
  Guarded<int64_t> positions(units);
  int64_t found = -1;
  double least = -1;
  const std::vector<int64_t> expected = t.best(0, units, k);
  CHECK(gs_grow_above(&t.tile, -0.5, scores.data(), positions.data(), units, &found) == GS_OK);
  CHECK(found == t.free_in(0, units));
  CHECK(gs_grow_best(t.tile.dtype, isa, scores.data(), positions.data(), found, k, &least) == GS_OK);
  CHECK(std::equal(expected.begin(), expected.end(), positions.data()));
  CHECK(k == 0 || least == static_cast<double>(*std::min_element(scores.data(), scores.data() + k)));
  CHECK(t.gradient.intact() && scores.intact() && positions.intact());
}

// Rows that are made here choose what the same rows in memory choose: of small integers, exact in every order.
template <class T> void of_factors(std::mt19937& random, const Case& c, int isa, int batch) {
  const int high = c.rows * c.h, width = c.cols * c.w, panel = 64 / sizeof(T), panels = (width + panel - 1) / panel;
  Guarded<T> outputs(static_cast<size_t>(batch) * high), inputs(static_cast<size_t>(panels) * batch * panel);
  Tile<T> t(random, c, isa, 30);
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i] = static_cast<int>(random() % 7) - 3;
  for (int b = 0; b < batch; ++b)
    for (int i = 0; i < panels * panel; ++i)
      inputs[(static_cast<size_t>(i / panel) * batch + b) * panel + i % panel] = i < width ? static_cast<int>(random() % 7) - 3 : 0;
  for (int r = 0; r < high; ++r)
    for (int i = 0; i < width; ++i) {
      T& sum = t.gradient[static_cast<size_t>(r) * width + i] = 0;
      for (int b = 0; b < batch; ++b)
        sum += outputs[static_cast<size_t>(b) * high + r] * inputs[(static_cast<size_t>(i / panel) * batch + b) * panel + i % panel];
    }
  gs_scores made = t.tile;
  made.gradient = nullptr, made.batch = batch, made.outputs = {outputs.data(), 1, high}, made.inputs = inputs.data();
  std::vector<int64_t> want(t.score.size() / c.bucket);
  int64_t total = 0;
  for (size_t b = 0; b < want.size(); ++b)
    total += want[b] = t.free_in(static_cast<int64_t>(b) * c.bucket, static_cast<int64_t>(b + 1) * c.bucket) / 2;
  Guarded<int64_t> chosen(total), expected(total);
  CHECK(gs_grow_in_buckets(&made, c.bucket, want.data(), chosen.data(), total) == GS_OK);
  CHECK(gs_grow_in_buckets(&t.tile, c.bucket, want.data(), expected.data(), total) == GS_OK);
  CHECK(std::equal(expected.data(), expected.data() + total, chosen.data()));
  CHECK(outputs.intact() && inputs.intact() && chosen.intact());
  if (!batch) return;
  outputs[0] = INFINITY;
  CHECK(gs_grow_in_buckets(&made, c.bucket, want.data(), chosen.data(), total) == GS_NOT_FINITE);
}

template <class Change> void refuses(gs_status expected, Change change) {
  float gradient[6] = {1, -2, 3, 4, 5, 6}, scores[6];
  int64_t taken[1] = {0}, want[2] = {1, 1}, positions[6], found;
  gs_scores tile = {GS_F32, GS_ISA_AUTO, 2, 3, 1, 1, 0, 1, gradient, taken, nullptr, 0, {}, nullptr};
  change(tile, gradient, want);
  CHECK(gs_grow_in_buckets(&tile, 3, want, positions, 2) == expected);
  if (want[0] != 1) return;  // wanted numbers concern buckets alone
  change(tile, gradient, want);  // the first call has overwritten it
  CHECK(gs_grow_above(&tile, 0, scores, positions, 6, &found) == expected);
}

// The caller's pool failed: said so. Enough work that the pool is asked.
void threads() {
  std::vector<float> gradient(64 * 4096), scores(gradient.size());
  std::vector<int64_t> want(64), positions(gradient.size());
  int64_t found;
  const gs_scores tile = {GS_F32, GS_ISA_AUTO, 64, 4096, 1, 1, 0, 0, gradient.data(), nullptr, failing_for, 0, {}, nullptr};
  CHECK(gs_grow_in_buckets(&tile, 4096, want.data(), nullptr, 0) == GS_THREADS);
  CHECK(gs_grow_above(&tile, 0, scores.data(), positions.data(), scores.size(), &found) == GS_THREADS);
}

void refusals() {
  refuses(GS_OK, [](gs_scores&, float*, int64_t*) {});
  refuses(GS_DTYPE, [](gs_scores& t, float*, int64_t*) { t.dtype = 2; });
  refuses(GS_ISA, [](gs_scores& t, float*, int64_t*) { t.isa = 17; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.rows = -1; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.cols = 0; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.h = 0; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.first = -1; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.n_taken = 7; });
  refuses(GS_OVERFLOW, [](gs_scores& t, float*, int64_t*) { t.rows = INT64_MAX / 2; });
  refuses(GS_OVERFLOW, [](gs_scores& t, float*, int64_t*) { t.w = INT64_MAX / 4; });
  refuses(GS_NULL, [](gs_scores& t, float*, int64_t*) { t.gradient = nullptr, t.batch = 1; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.gradient = nullptr, t.batch = -1; });
  refuses(GS_SIZE, [](gs_scores& t, float*, int64_t*) { t.gradient = nullptr, t.outputs.batch_stride = -1; });
  refuses(GS_OVERFLOW, [](gs_scores& t, float*, int64_t*) { t.gradient = nullptr, t.batch = INT64_MAX / 4; });
  refuses(GS_NULL, [](gs_scores& t, float*, int64_t*) { t.taken = nullptr; });
  refuses(GS_SIZE, [](gs_scores&, float*, int64_t* want) { want[0] = 2, want[1] = 1; });  // another sum
  refuses(GS_SIZE, [](gs_scores&, float*, int64_t* want) { want[0] = 4, want[1] = -2; });
  refuses(GS_NOT_FINITE, [](gs_scores&, float* gradient, int64_t*) { gradient[0] = NAN; });  // taken, but seen
  refuses(GS_NOT_FINITE, [](gs_scores&, float* gradient, int64_t*) { gradient[5] = -INFINITY; });
  float scores[2] = {1, 2};
  int64_t positions[2] = {0, 1}, found;
  double least;
  gs_scores tile = {GS_F32, GS_ISA_AUTO, 1, 2, 1, 1, 0, 0, scores, nullptr, nullptr, 0, {}, nullptr};
  CHECK(gs_grow_in_buckets(nullptr, 1, positions, positions, 0) == GS_NULL);
  CHECK(gs_grow_in_buckets(&tile, 0, positions, positions, 1) == GS_SIZE);
  CHECK(gs_grow_above(&tile, 0, scores, positions, 1, &found) == GS_SIZE);
  CHECK(gs_grow_above(&tile, NAN, scores, positions, 2, &found) == GS_SIZE);
  CHECK(gs_grow_above(&tile, 0, scores, positions, 2, nullptr) == GS_NULL);
  CHECK(gs_grow_best(GS_F32, GS_ISA_AUTO, scores, positions, 2, 3, &least) == GS_SIZE);
  CHECK(gs_grow_best(GS_F32, GS_ISA_AUTO, nullptr, positions, 2, 1, &least) == GS_NULL);
  CHECK(gs_grow_best(GS_F32, 17, scores, positions, 2, 1, &least) == GS_ISA);
  CHECK(gs_grow_best(2, GS_ISA_AUTO, scores, positions, 2, 1, &least) == GS_DTYPE);
}

}  // namespace

void test_growth() {
  std::mt19937 random(5);
  const Case cases[] = {{1, 1, 1, 1, 1}, {5, 3, 1, 1, 3},   {4, 24, 1, 1, 8},   {3, 37, 2, 1, 37},
                        {6, 40, 4, 1, 4}, {2, 33, 2, 2, 33}, {2, 2100, 1, 1, 2100}, {9, 200, 1, 3, 100},
                        {3, 12, 1, 1, 4},   {2, 64, 1, 1, 4},   {30, 40, 1, 1, 2}};
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    for (const Case& c : cases) {
      in_buckets<float>(random, c, isa), in_buckets<double>(random, c, isa);
      of_layer<float>(random, c, isa), of_layer<double>(random, c, isa);
      for (int batch : {0, 1, 5}) of_factors<float>(random, c, isa, batch), of_factors<double>(random, c, isa, batch);
    }
  }
  refusals();
  threads();
}
