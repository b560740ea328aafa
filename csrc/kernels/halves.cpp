// out = activation(W x + bias + residual) for csr_halves: values and inputs are rounded to float16. Up to 16 connections of a row,
// counted from its start, are added up in float16, the even and the odd ones apart, and their sum to a float32 one. Forward only.
// An output whose sum is not finite, be it that an input or a sum leaves the range of float16, is computed again from the inputs
// as they came, in double. Bits depend neither on the instruction set nor on what else is in the batch.
#include "epilogue.h"
#include "items.h"
#include "rows.h"

#if defined(__AVX512BW__) && ((defined(__clang__) && __clang_major__ >= 14) || (!defined(__clang__) && __GNUC__ >= 12))
#define GS_HALVES 1
#define GS_HALF_PRODUCTS __attribute__((target("avx512fp16")))
#else
#define GS_HALVES 0
#endif

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kTogether = 16;                // connections that are added up in float16
constexpr int64_t kLanes = 32, kMost = 128;      // samples of a vector of float16, and of a tile
constexpr int64_t kPacked = 1 << 20;             // bytes that the inputs of a tile may take, where one vector allows
constexpr int64_t kFeatures = 16;                // brought into order at a time

// The number of float16 bits.
GS_INLINE float wide(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest < 0x400) return (sign ? -1.0f : 1.0f) * static_cast<float>(rest) * 0x1p-24f;
  const uint32_t bits = sign | (rest < 0x7c00 ? (rest << 13) + 0x38000000u : 0x7f800000u | (rest << 13));
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}

// The float16 nearest to s, ties to even. What leaves its range is infinite. The sign of zero is lost.
GS_INLINE float rounded(double s) {
  int64_t bits;
  __builtin_memcpy(&bits, &s, sizeof bits);
  const double size = __builtin_fabs(s);
  const int64_t near = (bits + (1ll << 41) - 1 + (bits >> 42 & 1)) & ~((1ll << 42) - 1);  // ten bits of fraction
  double normal;
  __builtin_memcpy(&normal, &near, sizeof normal);
  const double small = (s + 0x1.8p28) - 0x1.8p28;  // a multiple of 2^-24
  const double large = size >= 65520 ? s * __builtin_inf() : normal;
  return static_cast<float>(size < 0x1p-14 ? small : size == size ? large : s);
}

// Inputs begin .. begin + n of a tile, side by side.
template <class Use> GS_INLINE void in_order(const gs_call& call, const Tile& tile, int64_t width, Use use) {
  alignas(64) float some[kFeatures * kMost];
  const Tile whole = {tile.begin, tile.size, static_cast<int>(width / Vec<float>::lanes)};
  for (int64_t i = 0; i < call.w.n_in; i += kFeatures) {
    const int64_t end = least(call.w.n_in, i + kFeatures);
    pack_tile<float>(call.x, i, end, whole, some);
    use(i * width, (end - i) * width, static_cast<const float*>(some));
  }
}

// Any processor: float16 numbers are held as floats. A product of two is exact in double, and what a sum in double rounds off is
// never what decides how the sum rounds to float16.
struct Portable {
  typedef float Input;

  static void convert(const gs_call& call, const Tile& tile, int64_t width, Input* out) {
    in_order(call, tile, width, [&](int64_t at, int64_t n, const float* x) {
      for (int64_t i = 0; i < n; ++i) out[at + i] = rounded(x[i]);
    });
  }

  template <class I>
  static void row(const Input* x, int64_t width, const I* col, const uint16_t* w, int64_t n, float* sums) {
    for (int64_t b = 0; b < width; ++b) sums[b] = 0;
    for (int64_t from = 0; from < n; from += kTogether) {
      float part[2][kMost] = {};
      for (int64_t j = from; j < least(n, from + kTogether); ++j) {
        const float* in = x + col[j] * width;
        const double value = wide(w[j]);
        float* to = part[(j - from) % 2];
        for (int64_t b = 0; b < width; ++b) to[b] = rounded(value * in[b] + to[b]);
      }
      for (int64_t b = 0; b < width; ++b) sums[b] += rounded(static_cast<double>(part[0][b]) + part[1][b]);
    }
  }
};

#if GS_HALVES
struct Fast {
  typedef uint16_t Input;

  static void convert(const gs_call& call, const Tile& tile, int64_t width, Input* out) {
    in_order(call, tile, width, [&](int64_t at, int64_t n, const float* x) {
      for (int64_t i = 0; i < n; i += 16)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + at + i), _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    });
  }

  GS_HALF_PRODUCTS GS_INLINE __m512h value(uint16_t w) { return _mm512_castsi512_ph(_mm512_set1_epi16(static_cast<short>(w))); }

  // Sums of a row for V vectors of samples.
  template <int V, class I>
  GS_HALF_PRODUCTS static void vectors(const Input* x, const I* col, const uint16_t* w, int64_t n, float* out) {
    __m512 sums[V][2];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[v][0] = sums[v][1] = _mm512_setzero_ps();
    for (int64_t j = 0; j < n;) {
      const int64_t end = least(n, j + kTogether);
      __m512h even[V], odd[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) even[v] = odd[v] = _mm512_setzero_ph();
      for (; j + 2 <= end; j += 2) {
        const Input *p = x + col[j] * (V * kLanes), *q = x + col[j + 1] * (V * kLanes);
        const __m512h first = value(w[j]), second = value(w[j + 1]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          even[v] = _mm512_fmadd_ph(_mm512_loadu_ph(p + v * kLanes), first, even[v]);
          odd[v] = _mm512_fmadd_ph(_mm512_loadu_ph(q + v * kLanes), second, odd[v]);
        }
      }
      if (j < end) {
        const Input* p = x + col[j] * (V * kLanes);
        const __m512h last = value(w[j++]);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) even[v] = _mm512_fmadd_ph(_mm512_loadu_ph(p + v * kLanes), last, even[v]);
      }
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const __m512i both = _mm512_castph_si512(_mm512_add_ph(even[v], odd[v]));
        sums[v][0] = _mm512_add_ps(sums[v][0], _mm512_cvtph_ps(_mm512_castsi512_si256(both)));
        sums[v][1] = _mm512_add_ps(sums[v][1], _mm512_cvtph_ps(_mm512_extracti64x4_epi64(both, 1)));
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      _mm512_storeu_ps(out + v * kLanes, sums[v][0]);
      _mm512_storeu_ps(out + v * kLanes + 16, sums[v][1]);
    }
  }

  template <class I>
  static void row(const Input* x, int64_t width, const I* col, const uint16_t* w, int64_t n, float* sums) {
    switch (width / kLanes) {
      case 1: return vectors<1, I>(x, col, w, n, sums);
      case 2: return vectors<2, I>(x, col, w, n, sums);
      case 3: return vectors<3, I>(x, col, w, n, sums);
      default: return vectors<4, I>(x, col, w, n, sums);
    }
  }
};
#endif

// Sums that are not finite, from inputs as they came.
template <class I>
GS_INLINE void repair(const gs_call& call, const Tile& tile, const I* col, const uint16_t* w, int64_t n, float* sums) {
  const float* x = static_cast<const float*>(call.x.data) + tile.begin * call.x.batch_stride;
  vec<float> none = {};  // a lane of NaN where a sum is not finite; those past the tile are of zeros
  for (int64_t b = 0; b < tile.size; b += Vec<float>::lanes) none += load<float>(sums + b) * 0;
  if (sum<float>(none) == 0) return;
  for (int64_t b = 0; b < tile.size; ++b) {
    if (sums[b] * 0 == 0) continue;
    double total = 0;
    for (int64_t j = 0; j < n; ++j) total += static_cast<double>(wide(w[j])) * x[col[j] * call.x.feature_stride + b * call.x.batch_stride];
    sums[b] = static_cast<float>(total);
  }
}

template <class How, class I>
void rows(const gs_call& call, const Tile& tile, int64_t width, const typename How::Input* packed, int64_t r0, int64_t r1) {
  constexpr int64_t lanes = Vec<float>::lanes;
  const uint16_t* values = static_cast<const uint16_t*>(call.w.values);
  int64_t active = 0;
  for (int64_t r = r0; r < r1; ++r) {
    const Row row = row_at(call.w, r, active);
    const I* col = static_cast<const I*>(call.w.cols) + row.first;
    alignas(64) float sums[kMost];
    How::template row<I>(packed, width, col, values + row.first, row.count, sums);
    repair(call, tile, col, values + row.first, row.count, sums);
    for (int64_t b = 0; b < tile.size; b += lanes) {
      vec<float> y[1][1] = {{load<float>(sums + b)}};
      add_block<float, 1, 1>(call, {tile.begin + b, least(lanes, tile.size - b), 1}, r, 1, true, true, y);
    }
  }
}

// Samples of a tile: fewer where there are many inputs. What a sample gives does not depend on it.
int64_t widest(const gs_call& call) {
  int64_t width = least(kMost, ceil_div(call.batch, kLanes) * kLanes);
  while (width > kLanes && width * call.w.n_in * 2 > kPacked) width = ceil_div(width / 2, kLanes) * kLanes;
  return width;
}

// Items are (batch tile, row) pairs, tile outermost.
template <class How> gs_status items(const gs_call& call, int64_t begin, int64_t end) {
  typedef typename How::Input Input;
  const int64_t n_out = call.w.n_out, most_width = widest(call);
  Input* packed = static_cast<Input*>(gs_scratch(call.w.n_in * most_width * sizeof(Input)));
  if (!packed) return GS_MEMORY;
  while (begin < end) {
    const int64_t r0 = begin % n_out, r1 = least(n_out, r0 + (end - begin)), first = begin / n_out * most_width;
    const Tile tile = {first, least(most_width, call.batch - first), 0};
    const int64_t width = ceil_div(tile.size, kLanes) * kLanes;
    How::convert(call, tile, width, packed);
    if (call.w.col_bytes == 2) rows<How, uint16_t>(call, tile, width, packed, r0, r1);
    else rows<How, int32_t>(call, tile, width, packed, r0, r1);
    begin += r1 - r0;
  }
  return GS_OK;
}

gs_status some(const gs_call& call, int64_t begin, int64_t end) {
#if GS_HALVES
  if (gs_has_half_products()) return items<Fast>(call, begin, end);
#endif
  return items<Portable>(call, begin, end);
}

}  // namespace

gs_status halves_f32(const gs_call* call) {
  const gs_matrix& w = call->w;
  const int64_t width = widest(*call), cost = (connections(w) / most(1, w.n_out) + 8) * least(call->batch, width) / 2;
  return for_items(*call, ceil_div(call->batch, width) * w.n_out, cost, [&](int64_t begin, int64_t end) { return some(*call, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
