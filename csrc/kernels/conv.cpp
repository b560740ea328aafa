// out = activation(W x + bias + residual) over the planes of one image. The sums of a strip of rows over a spot of positions
// stay in registers from the first connection to the last.
#include "conv_store.h"
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

template <class T, int G, int V, bool apart> void strips(const Job& job, const Spot& spot, int64_t from, int64_t to) {
  Mask<T, V> mask = {};
  if (spot.masked) expand<T, V>(spot, mask);
  const Strip* all = room_at<Strip>(*job.ready, job.ready->at_strips);
  for (int64_t s = from; s < to; ++s) {
    vec<T> acc[G][V] = {};
    add_up<T, G, V, apart>(job, spot, all[s], acc);
    each<G>([&](auto g) GS_INLINE_LAMBDA { store_spot<T, V>(*job.call, *job.places, spot, mask, s * G + g, acc[g]); });
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
    for (int64_t row = from * G; row < to * G; ++row) zero_tail<T>(*job.call, *job.places, spot, row);
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

template <class T> gs_status conv(const gs_call* call, const gs_places* places, const void* room) {
  const Ready& ready = *static_cast<const Ready*>(room);
  const gs_matrix& w = call->w;
  if (ready.mark != kReady || ready.n_out != w.n_out || ready.dtype != w.dtype || ready.narrow != w.narrow) return GS_SIZE;
  if (!ready.n_strips || !ready.n_spots) return GS_OK;
  if ((w.n_out - 1) * call->out_stride + ready.writes > places->out_end) return GS_SIZE;
  Job job = {call, places, &ready, ready.n_values ? room_at<T>(ready, ready.at_values) : call->w.values, 0, 0, false};
  const int64_t lanes = Vec<T>::lanes * spot_vectors(ready.group), count = ready.n_offsets / most(1, ready.n_strips);
  job.by_blocks = ready.group >= 4 || writes_more<T>(ready.n_strips * ready.group * ready.n_spots * lanes, w.n_in, count);
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
