// Gradients of the values of a convolution: sampled products over planes, image after image in order. The zeros around an
// output gradient let sums run over all positions of a plane at once.
#include "conv_images.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kRun = 96;  // vectors of positions at a time: the gradients of a strip stay in the first cache level

// Connections beside the rows of a strip.
constexpr int side_by_side(int group) { return GS_VEC_BYTES == 64 && group >= 4 ? 16 / group : 8 / group; }

struct Run {
  const void *x, *grad;  // position 0
  int64_t grad_stride;   // from one row of the gradient to the next
  int64_t position, vectors, last;  // the first, how many, and the positions of the last vector
};

template <class T, int G, int J> GS_INLINE void sampled(const Run& run, int64_t row, const int32_t* off, int64_t stride, T* out) {
  constexpr int64_t L = Vec<T>::lanes;
  const T *x = static_cast<const T*>(run.x) + run.position, *dy = static_cast<const T*>(run.grad) + run.position + row * run.grad_stride;
  vec<T> acc[J * G] = {};
  for (int64_t v = 0; v < run.vectors; ++v) {
    vec<T> grad[G];
    const int64_t n = v + 1 < run.vectors ? L : run.last;
    if (n == L)
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) grad[g] = load<T>(dy + g * run.grad_stride + v * L);
    else
      for (int g = 0; g < G; ++g) grad[g] = load_part<T>(dy + g * run.grad_stride + v * L, n);
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) {
      const vec<T> in = n == L ? load<T>(x + off[j] + v * L) : load_part<T>(x + off[j] + v * L, n);
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g) acc[j * G + g] += in * grad[g];
    }
  }
  if constexpr (J * G % 4 == 0) {
#pragma GCC unroll 8
    for (int i = 0; i < J * G; i += 4) {
      const vec<T> four[4] = {acc[i], acc[i + 1], acc[i + 2], acc[i + 3]};
      add_sums(four, out + i / G * stride + i % G);
    }
  } else {
    for (int i = 0; i < J * G; ++i) out[i / G * stride + i % G] += sum<T>(acc[i]);
  }
}

// What is left of a strip, by falling powers of two.
template <class T, int G, int J> GS_INLINE void rest(const Run& run, int64_t row, const int32_t* off, int64_t n, int64_t stride, T* out) {
  if constexpr (J > 0) {
    if (n & J) {
      sampled<T, G, J>(run, row, off, stride, out);
      off += J, out += J * stride;
    }
    rest<T, G, J / 2>(run, row, off, n, stride, out);
  }
}

template <class T, int G> void strips(const Run& run, const Ready& ready, int64_t from, int64_t to, T* out) {
  constexpr int J = side_by_side(G);
  const Strip* all = room_at<Strip>(ready, ready.at_strips);
  const int32_t* offsets = room_at<int32_t>(ready, ready.at_offsets);
  for (int64_t s = from; s < to; ++s) {
    const int32_t* off = offsets + all[s].first;
    T* at = out + all[s].value;
    int64_t j = 0;
    for (; j + J <= all[s].count; j += J) sampled<T, G, J>(run, s * G, off + j, ready.stride, at + j * ready.stride);
    rest<T, G, J / 2>(run, s * G, off + j, all[s].count - j, ready.stride, at + j * ready.stride);
  }
}

template <class T> void strips(const Run& run, const Ready& ready, int64_t from, int64_t to, T* out) {
  switch (ready.group) {
    case 1: return strips<T, 1>(run, ready, from, to, out);
    case 2: return strips<T, 2>(run, ready, from, to, out);
    case 4: return strips<T, 4>(run, ready, from, to, out);
    default: if constexpr (GS_VEC_BYTES == 64) return strips<T, 8>(run, ready, from, to, out);
  }
}

// All positions of an image for strips from .. to.
template <class T> void positions(const Frame& frame, Run run, const Ready& ready, int64_t from, int64_t to, T* out) {
  const int64_t L = Vec<T>::lanes, held = frame_held(frame), vectors = ceil_div(held, L), runs = ceil_div(vectors, kRun);
  for (int64_t i = 0; i < runs; ++i) {
    const int64_t first = vectors * i / runs, end = vectors * (i + 1) / runs;
    run.position = first * L, run.vectors = end - first, run.last = least(L, held - (end - 1) * L);
    strips<T>(run, ready, from, to, out);
  }
}

// Sums of strips side by side to the values of blocks, [block][row][column].
template <class T> void to_blocks(const gs_matrix& w, const Ready& ready, const T* sums, T* out) {
  const Strip* strips = room_at<Strip>(ready, ready.at_strips);
  const int64_t wide = w.tile, per_row = w.group / ready.group;
  for (int64_t s = 0; s < ready.n_strips; ++s)
    for (int64_t c = 0; c < strips[s].count; ++c)
      for (int64_t g = 0; g < ready.group; ++g)
        out[((strips[s].first / wide + c / wide) * w.group + s % per_row * ready.group + g) * wide + c % wide] =
            sums[strips[s].value + c * ready.group + g];
}

template <class T> gs_status grad_values(const gs_images* call) {
  const Frame in = frame(call->input), out = frame(call->output);
  gs_matrix w = call->w;
  w.values = nullptr;
  const gs_places& places = call->places;
  int64_t bytes = 0;
  prepare_conv(T{}, &w, &places, nullptr, &bytes);
  char* at = static_cast<char*>(gs_call_scratch(static_cast<size_t>(bytes + bytes_of<T>(frame_size(in)) + bytes_of<T>(frame_size(out)))));
  if (!at) return GS_MEMORY;
  const Ready& ready = *reinterpret_cast<Ready*>(at);
  gs_status status = prepare_conv(T{}, &w, &places, at, &bytes);
  if (status != GS_OK) return status;
  at += bytes;
  T *x_planes = take_planes<T>(at, in), *grad_planes = take_planes<T>(at, out), *values = static_cast<T*>(call->out);
  T* sums = ready.n_values ? room_at<T>(ready, ready.at_values) : values;
  for (int64_t i = 0; i < w.n_values; ++i) values[i] = 0;
  for (int64_t i = 0; i < ready.n_values; ++i) sums[i] = 0;
  const int64_t cost = (ready.n_offsets / most(1, ready.n_strips) + 1) * ready.group * frame_held(out);
  for (int64_t n = 0; n < call->batch && status == GS_OK; ++n) {
    const T *x, *grad;
    status = entered<T>(call->parallel, in, call->x, n, call->batch, x_planes, &x);
    if (status == GS_OK) status = entered<T>(call->parallel, out, call->grad, n, call->batch, grad_planes, &grad);
    const Run run = {x, grad, out.plane, 0, 0, 0};
    if (status == GS_OK)
      status = for_items(*call, ready.n_strips, cost, [&](int64_t from, int64_t to) {
        positions<T>(out, run, ready, from, to, sums);
        return GS_OK;
      });
  }
  if (sums != values) to_blocks<T>(w, ready, sums, values);
  return status;
}

}  // namespace

gs_status conv_grad_values_f32(const gs_images* call) { return grad_values<float>(call); }
gs_status conv_grad_values_f64(const gs_images* call) { return grad_values<double>(call); }

}  // namespace GS_SET
}  // namespace gs
