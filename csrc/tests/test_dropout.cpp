// Leaky ReLU with dropout, against a second Philox written from the paper, and what it refuses.
#include <cmath>

#include "testing.h"

namespace {

struct Four {
  uint32_t word[4];
};

Four philox(Four c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = 0xd2511f53ull * c.word[0], b = 0xcd9e8d57ull * c.word[2];
    c = {{static_cast<uint32_t>(b >> 32) ^ c.word[1] ^ k0, static_cast<uint32_t>(b),
          static_cast<uint32_t>(a >> 32) ^ c.word[3] ^ k1, static_cast<uint32_t>(a)}};
    k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
  }
  return c;
}

// The known answers published with the generator.
void known_answers() {
  const Four zeros = philox({{0, 0, 0, 0}}, 0, 0), ones = philox({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u);
  CHECK(zeros.word[0] == 0x6627e8d5u && zeros.word[1] == 0xe169c58du && zeros.word[2] == 0xbc57ac4cu && zeros.word[3] == 0x9b00dbd8u);
  CHECK(ones.word[0] == 0x408f276du && ones.word[1] == 0x41c83b0eu && ones.word[2] == 0xa20bc7c6u && ones.word[3] == 0x6d5451fdu);
}

// The 16 bits that decide on number i: of 128 numbers, sixteen counters decide on eight times sixteen.
uint32_t bits(uint64_t seed, int64_t i) {
  const uint64_t counter = static_cast<uint64_t>(i / 128 * 16 + i % 16);
  const Four drawn = philox({{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0}}, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return drawn.word[i % 128 / 32] >> (i % 32 / 16 * 16) & 0xffffu;
}

template <class T> void both_ways(int64_t isa, int64_t n, int64_t threshold, double slope, gs_parallel_for parallel, bool in_place) {
  const uint64_t seed = 0x0123456789abcdefull + static_cast<uint64_t>(n);
  Guarded<T> x(n), y(n), grad(n), dx(n);
  Guarded<unsigned char> kept(n, 3);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(i % 5 - 2), grad[i] = static_cast<T>(i % 7 - 3);
  std::vector<T> given(x.data(), x.data() + n);
  gs_dropout call = {sizeof(T) == 4 ? GS_F32 : GS_F64, isa, n, threshold, slope, seed, x.data(), kept.data(),
                     in_place ? x.data() : y.data(), parallel};
  CHECK(gs_leaky_dropout(&call) == GS_OK);
  const T* out = static_cast<const T*>(call.out);
  call.x = grad.data(), call.out = dx.data(), call.seed = 0;
  CHECK(gs_leaky_dropout_backward(&call) == GS_OK);
  const double scale = threshold < 65536 ? 65536.0 / static_cast<double>(65536 - threshold) : 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool stays = bits(seed, i) >= static_cast<uint32_t>(threshold), positive = given[i] > 0;
    const T factor = stays ? static_cast<T>(positive ? scale : scale * slope) : 0;
    CHECK(out[i] == given[i] * factor && dx[i] == grad[i] * factor);
    CHECK(kept[i] == (stays ? (positive ? 1 : 2) : 0));
  }
  CHECK(x.intact() && y.intact() && grad.intact() && dx.intact() && kept.intact());
}

void not_numbers() {
  float x[4] = {NAN, INFINITY, -INFINITY, -0.0f}, y[4];
  uint8_t kept[4];
  gs_dropout call = {GS_F32, GS_ISA_AUTO, 4, 0, 0.5, 1, x, kept, y, nullptr};
  CHECK(gs_leaky_dropout(&call) == GS_OK);
  CHECK(std::isnan(y[0]) && y[1] == INFINITY && y[2] == -INFINITY && y[3] == 0);
}

void refusals() {
  float x[2] = {1, 2};
  uint8_t kept[2];
  const gs_dropout good = {GS_F32, GS_ISA_AUTO, 2, 100, 0.5, 1, x, kept, x, failing_for};
  for (auto run : {gs_leaky_dropout, gs_leaky_dropout_backward}) {
    gs_dropout call = good;
    CHECK(run(&call) == GS_OK);  // too little work to hand out
    CHECK(run(nullptr) == GS_NULL);
    call = good, call.dtype = GS_BF16;
    CHECK(run(&call) == GS_DTYPE);
    call = good, call.n = -1;
    CHECK(run(&call) == GS_SIZE);
    call = good, call.threshold = 65537;
    CHECK(run(&call) == GS_SIZE);
    call = good, call.threshold = -1;
    CHECK(run(&call) == GS_SIZE);
    call = good, call.n = INT64_MAX;
    CHECK(run(&call) == GS_OVERFLOW);
    call = good, call.x = nullptr;
    CHECK(run(&call) == GS_NULL);
    call = good, call.kept = nullptr;
    CHECK(run(&call) == GS_NULL);
    call = good, call.out = nullptr;
    CHECK(run(&call) == GS_NULL);
    call = good, call.isa = 99;
    CHECK(run(&call) == GS_ISA);
    call = {GS_F32, GS_ISA_AUTO, 0, 100, 0.5, 1, nullptr, nullptr, nullptr, nullptr};
    CHECK(run(&call) == GS_OK);
  }
}

}  // namespace

void test_dropout() {
  known_answers();
  for (int64_t isa = 0; isa < 4; ++isa) {
    if (gs_isa_available(static_cast<int32_t>(isa)) != GS_OK) continue;
    for (int64_t n : {0, 1, 15, 127, 128, 129, 1000})
      for (int64_t threshold : {0, 19661, 65535, 65536})
        for (gs_parallel_for parallel : {static_cast<gs_parallel_for>(nullptr), static_cast<gs_parallel_for>(scattered_for)}) {
          both_ways<float>(isa, n, threshold, -0.6, parallel, false), both_ways<double>(isa, n, threshold, 0.6, parallel, true);
          both_ways<float>(isa, n, threshold, 1.0, parallel, true), both_ways<double>(isa, n, threshold, 0.0, parallel, false);
        }
  }
  not_numbers();
  refusals();
}
