// A leaky ReLU and the dropout behind it in one pass over memory, which is what both cost. What became of a number is written
// down in a byte, so that the pass backward needs neither the number nor the random bits again.
#include "items.h"
#include "philox.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kBlock = 8 * kDraws;     // numbers that one draw of words decides on, 16 bits each
constexpr int64_t kBlockCost = 1024;   // in multiply-adds: what its memory costs
constexpr int64_t kResolution = 65536;

enum : uint8_t { kDropped = 0, kPositive = 1, kOther = 2 };

// What a number is multiplied by. Without a number that is kept there is no scale.
template <class T> struct Factors {
  T positive, other;
  GS_INLINE_MEMBER explicit Factors(const gs_dropout& call) {
    const double kept = static_cast<double>(kResolution - call.threshold);
    const double scale = call.threshold < kResolution ? static_cast<double>(kResolution) / kept : 0.0;
    positive = static_cast<T>(scale), other = static_cast<T>(scale * call.slope);
  }
};

// 16 bits for each number of a block: sixteen words decide on 32 numbers, their lower halves on the first sixteen.
GS_INLINE void draw(uint64_t seed, int64_t block, uint32_t (&bits)[kBlock]) {
  const Words drawn = philox(seed, static_cast<uint64_t>(block) * kDraws);
  for (int w = 0; w < 4; ++w) {
    uint32_t* out = bits + w * 2 * kDraws;
    for (int i = 0; i < kDraws; ++i) out[i] = drawn.word[w][i] & 0xffffu, out[kDraws + i] = drawn.word[w][i] >> 16;
  }
}

template <class T>
GS_INLINE void forward_block(const gs_dropout& call, Factors<T> by, int64_t block, const T* x, uint8_t* kept, T* out) {
  uint32_t bits[kBlock];
  draw(call.seed, block, bits);
  const uint32_t threshold = static_cast<uint32_t>(call.threshold);
#pragma GCC ivdep
  for (int i = 0; i < kBlock; ++i) {
    const T v = x[i], factor = v > 0 ? by.positive : by.other;
    const uint32_t sign = v > 0 ? kPositive : kOther;
    kept[i] = static_cast<uint8_t>(bits[i] >= threshold ? sign : kDropped);
    out[i] = v * (bits[i] >= threshold ? factor : static_cast<T>(0));
  }
}

template <class T> GS_INLINE void backward_block(const T* grad, const uint8_t* kept, Factors<T> by, T* out) {
#pragma GCC ivdep
  for (int i = 0; i < kBlock; ++i) {
    const T factor = kept[i] == kPositive ? by.positive : by.other;
    out[i] = grad[i] * (kept[i] == kDropped ? static_cast<T>(0) : factor);
  }
}

// Calls use(block, in, kept, out) for whole blocks; numbers of a last one that is not whole are copied there and back.
template <class T, class Use> GS_INLINE void each_block(const gs_dropout& call, int64_t begin, int64_t end, Use use) {
  const T* in = static_cast<const T*>(call.x);
  T* out = static_cast<T*>(call.out);
  const int64_t whole = call.n / kBlock;
  for (int64_t b = begin; b < end && b < whole; ++b) use(b, in + b * kBlock, call.kept + b * kBlock, out + b * kBlock);
  if (end <= whole) return;
  T numbers[kBlock] = {};
  uint8_t kept[kBlock] = {};
  const int64_t start = whole * kBlock, rest = call.n - start;
  for (int64_t i = 0; i < rest; ++i) numbers[i] = in[start + i], kept[i] = call.kept[start + i];
  use(whole, numbers, kept, numbers);
  for (int64_t i = 0; i < rest; ++i) out[start + i] = numbers[i], call.kept[start + i] = kept[i];
}

template <class T> gs_status run_forward(const gs_dropout* call) {
  const Factors<T> by(*call);
  return for_items(*call, (call->n + kBlock - 1) / kBlock, kBlockCost, [&](int64_t begin, int64_t end) {
    each_block<T>(*call, begin, end, [&](int64_t b, const T* x, uint8_t* kept, T* out) { forward_block<T>(*call, by, b, x, kept, out); });
    return GS_OK;
  });
}

template <class T> gs_status run_backward(const gs_dropout* call) {
  const Factors<T> by(*call);
  return for_items(*call, (call->n + kBlock - 1) / kBlock, kBlockCost, [&](int64_t begin, int64_t end) {
    each_block<T>(*call, begin, end, [&](int64_t, const T* grad, uint8_t* kept, T* out) { backward_block<T>(grad, kept, by, out); });
    return GS_OK;
  });
}

}  // namespace

gs_status dropout_f32(const gs_dropout* call) { return run_forward<float>(call); }
gs_status dropout_f64(const gs_dropout* call) { return run_forward<double>(call); }
gs_status dropout_backward_f32(const gs_dropout* call) { return run_backward<float>(call); }
gs_status dropout_backward_f64(const gs_dropout* call) { return run_backward<double>(call); }

}  // namespace GS_SET
}  // namespace gs
