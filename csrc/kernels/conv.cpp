// out = activation(W x + bias + residual) over the planes of one image. The sums of a strip of rows over a spot of positions
// stay in registers from the first connection to the last.
#include "apart.h"
#include "conv.h"
#include "epilogue.h"
#include "items.h"

namespace gs {
namespace GS_SET {
namespace {

struct Job {
  const gs_call* call;
  const gs_places* places;
  const Ready* ready;
  const void* values;
  int64_t block;    // strips that work on a spot before the next
  int64_t blocks;   // of all strips
  bool by_blocks;   // all spots for a block of strips, then the next; else all blocks for a spot
};

// Bits of positions as lanes that are kept.
template <class T> struct Lanes;
template <> struct Lanes<float> { typedef int32_t type __attribute__((vector_size(GS_VEC_BYTES))); typedef int32_t one; };
template <> struct Lanes<double> { typedef int64_t type __attribute__((vector_size(GS_VEC_BYTES))); typedef int64_t one; };

template <class T, int V> struct Mask {
  typename Lanes<T>::type lanes[V];
};

template <class T, int V> GS_INLINE void expand(const Spot& spot, Mask<T, V>& mask) {
  typedef typename Lanes<T>::one one;
  constexpr int64_t L = Vec<T>::lanes;
  typename Lanes<T>::type bit;
  for (int64_t i = 0; i < L; ++i) bit[i] = one(1) << i;
  each<V>([&](auto v) GS_INLINE_LAMBDA {
    const one kept = static_cast<one>(spot.inside[v * L / 64] >> (v * L % 64));
    mask.lanes[v] = ((typename Lanes<T>::type{} + kept) & bit) != 0;
  });
}

template <class T> GS_INLINE vec<T> keep(vec<T> v, typename Lanes<T>::type lanes) {
  return (vec<T>)((typename Lanes<T>::type)v & lanes);
}

// One vector of inputs: `n` of them where they lie apart, all lanes where they are neighbours.
template <class T, bool apart> GS_INLINE vec<T> inputs(const T* p, int64_t step, int64_t n, bool last) {
  if constexpr (!apart) return load<T>(p);
  if (step == 2 && !last) return load_second(p);
  vec<T> v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i * step];
  return v;
}

template <class T, int G, int V, bool apart>
GS_INLINE void add_up(const Job& job, const Spot& spot, const Strip& strip, vec<T> (&acc)[G][V]) {
  constexpr int64_t L = Vec<T>::lanes;
  const int64_t step = apart ? job.places->step : 1, stride = job.ready->stride;
  const T* x = static_cast<const T*>(job.call->x.data) + spot.in;
  const int32_t* off = room_at<int32_t>(*job.ready, job.ready->at_offsets) + strip.first;
  const T* w = static_cast<const T*>(job.values) + strip.value;
  for (int64_t j = 0; j < strip.count; ++j, w += stride) {
    const T* p = x + off[j];
    const auto in = [&](int v) {
      return inputs<T, apart>(p + v * L * step, step, v + 1 < V ? L : spot.held - v * L, v + 1 == V);
    };
    // Whichever are fewer stay in registers, beside the sums and one of the others.
    if constexpr (V < G) {
      vec<T> held[V];
      each<V>([&](auto v) GS_INLINE_LAMBDA { held[v] = in(v); });
      each<G>([&](auto g) GS_INLINE_LAMBDA {
        const vec<T> weight = splat<T>(w[g]);
        each<V>([&](auto v) GS_INLINE_LAMBDA { acc[g][v] += held[v] * weight; });
      });
    } else {
      vec<T> held[G];
      each<G>([&](auto g) GS_INLINE_LAMBDA { held[g] = splat<T>(w[g]); });
      each<V>([&](auto v) GS_INLINE_LAMBDA {
        const vec<T> x = in(v);
        each<G>([&](auto g) GS_INLINE_LAMBDA { acc[g][v] += x * held[g]; });
      });
    }
  }
}

template <class T, int V> GS_INLINE void load_more(const T* p, int64_t split, int64_t size, vec<T> (&y)[V]) {
  constexpr int64_t L = Vec<T>::lanes;
  if (!split) {
    vec<T> more[V];
    load_row<T, V>(p, size, more);
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] += more[v]; });
    return;
  }
  each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] += load_split<T>(p + v * L / 2, split, least(L, size - v * L)); });
}

// Scale, bias, residual, activation and border of one row, and its place in memory.
template <class T, int V> GS_INLINE void store_spot(const Job& job, const Spot& spot, const Mask<T, V>& mask, int64_t row, vec<T> (&y)[V]) {
  const gs_call& call = *job.call;
  constexpr int64_t L = Vec<T>::lanes;
  const int64_t split = job.places->split;
  const T *bias = static_cast<const T*>(call.bias), *scale = scales<T>(call.w), *more = static_cast<const T*>(call.residual.data);
  if (scale)
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] *= splat<T>(scale[row]); });
  if (bias)
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] += splat<T>(bias[row]); });
  if (more) load_more<T, V>(more + row * call.residual.feature_stride + spot.out, split, spot.size, y);
  activate<T, V>(call.activation, call.slope, y);
  if (spot.masked)
    each<V>([&](auto v) GS_INLINE_LAMBDA { y[v] = keep<T>(y[v], mask.lanes[v]); });
  T* out = static_cast<T*>(call.out) + row * call.out_stride + spot.out;
  if (!split) return store_row<T, V>(out, spot.size, y);
  each<V>([&](auto v) GS_INLINE_LAMBDA { store_split<T>(out + v * L / 2, split, y[v], least(L, spot.size - v * L)); });
}

template <class T> void zero_tail(const Job& job, const Spot& spot, int64_t row) {
  const int64_t split = job.places->split, size = spot.size;
  T* out = static_cast<T*>(job.call->out) + row * job.call->out_stride + spot.out;
  if (!split)
    for (int64_t i = size; i < size + spot.tail; ++i) out[i] = 0;
  else
    for (int64_t i = size; i < size + spot.tail; ++i) out[i % 2 * split + i / 2] = 0;
}

template <class T, int G, int V, bool apart> void strips(const Job& job, const Spot& spot, int64_t from, int64_t to) {
  Mask<T, V> mask = {};
  if (spot.masked) expand<T, V>(spot, mask);
  const Strip* all = room_at<Strip>(*job.ready, job.ready->at_strips);
  for (int64_t s = from; s < to; ++s) {
    vec<T> acc[G][V] = {};
    add_up<T, G, V, apart>(job, spot, all[s], acc);
    each<G>([&](auto g) GS_INLINE_LAMBDA { store_spot<T, V>(job, spot, mask, s * G + g, acc[g]); });
  }
}

template <class T, int G, bool apart> void on_spot(const Job& job, const Spot& spot, int64_t from, int64_t to) {
  constexpr int64_t most_vectors = spot_vectors(G);
  switch (spot.vectors) {
    case 0: break;
    case 1: strips<T, G, 1, apart>(job, spot, from, to); break;
    case 2: if constexpr (most_vectors >= 2) strips<T, G, 2, apart>(job, spot, from, to); break;
    case 3: if constexpr (most_vectors >= 3) strips<T, G, 3, apart>(job, spot, from, to); break;
    case 4: if constexpr (most_vectors >= 4) strips<T, G, 4, apart>(job, spot, from, to); break;
    case 5: if constexpr (most_vectors >= 5) strips<T, G, 5, apart>(job, spot, from, to); break;
    case 6: if constexpr (most_vectors >= 6) strips<T, G, 6, apart>(job, spot, from, to); break;
    case 7: if constexpr (most_vectors >= 7) strips<T, G, 7, apart>(job, spot, from, to); break;
    default: if constexpr (most_vectors >= 8) strips<T, G, 8, apart>(job, spot, from, to); break;
  }
  if (spot.tail)
    for (int64_t row = from * G; row < to * G; ++row) zero_tail<T>(job, spot, row);
}

template <class T, bool apart> void on_spot(const Job& job, const Spot& spot, int64_t from, int64_t to) {
  switch (job.ready->group) {
    case 1: return on_spot<T, 1, apart>(job, spot, from, to);
    case 2: return on_spot<T, 2, apart>(job, spot, from, to);
    case 4: return on_spot<T, 4, apart>(job, spot, from, to);
    default: if constexpr (GS_VEC_BYTES == 64) return on_spot<T, 8, apart>(job, spot, from, to);
  }
}

template <class T> void cells(const Job& job, int64_t begin, int64_t end) {
  const Ready& ready = *job.ready;
  const Spot* spots = room_at<Spot>(ready, ready.at_spots);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t spot = job.by_blocks ? i % ready.n_spots : i / job.blocks;
    const int64_t from = (job.by_blocks ? i / ready.n_spots : i % job.blocks) * job.block, to = least(from + job.block, ready.n_strips);
    if (job.places->step == 1) on_spot<T, false>(job, spots[spot], from, to);
    else on_spot<T, true>(job, spots[spot], from, to);
  }
}

// Whether the memory of outputs limits a layer, not that of inputs: it has more than a cache holds of them, each of few inputs.
// Then a few planes are written from end to end; else all of them get one spot, whose inputs stay in cache.
template <class T> bool writes_more(const Ready& ready, int64_t n_in, int64_t count, int64_t lanes) {
  constexpr int64_t cache = 1 << 19, few = 4, narrow = 32;  // bytes; connections of a strip; columns of the matrix
  const int64_t bytes = ready.n_strips * ready.group * ready.n_spots * lanes * static_cast<int64_t>(sizeof(T));
  return bytes > cache && (count <= few || n_in <= narrow);
}

template <class T> gs_status conv(const gs_call* call, const gs_places* places, const void* room) {
  const Ready& ready = *static_cast<const Ready*>(room);
  const gs_matrix& w = call->w;
  if (ready.mark != kReady || ready.n_out != w.n_out || ready.dtype != w.dtype || ready.narrow != w.narrow) return GS_SIZE;
  if (!ready.n_strips || !ready.n_spots) return GS_OK;
  if ((w.n_out - 1) * call->out_stride + ready.writes > places->out_end) return GS_SIZE;
  Job job = {call, places, &ready, ready.n_values ? room_at<T>(ready, ready.at_values) : call->w.values, 0, 0, false};
  const int64_t lanes = Vec<T>::lanes * spot_vectors(ready.group), count = ready.n_offsets / most(1, ready.n_strips);
  job.by_blocks = ready.group >= 4 || writes_more<T>(ready, w.n_in, count, lanes);
  job.block = job.by_blocks ? 4 : 16;
  job.blocks = ceil_div(ready.n_strips, job.block);
  return for_items(*call, job.blocks * ready.n_spots, (count + 8) * ready.group * lanes * job.block, [&](int64_t begin, int64_t end) {
    cells<T>(job, begin, end);
    return GS_OK;
  });
}

}  // namespace

gs_status conv_f32(const gs_call* call, const gs_places* places, const void* room) { return conv<float>(call, places, room); }
gs_status conv_f64(const gs_call* call, const gs_places* places, const void* room) { return conv<double>(call, places, room); }

}  // namespace GS_SET
}  // namespace gs
