// Gradients of the values of a convolution: sampled products over planes, image after image in order. The zeros around an
// output gradient let sums run over all positions of a plane at once.
#include "conv_images.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kRun = 96;  // vectors of positions at a time: the gradients of a strip stay in the first cache level

// Connections beside the rows of a strip.
constexpr int beside(int group) { return GS_VEC_BYTES == 64 && group >= 4 ? 16 / group : 8 / group; }

struct Run {
  const void *x, *grad;         // position 0 of the first image
  int64_t x_image, grad_image;  // from one image to the next
  int64_t images;               // whose sums are kept in registers together
  int64_t grad_stride;          // from one row of the gradient to the next
  int64_t position, vectors;    // the first, and how many
  int64_t part;                 // positions after them that do not fill a vector
};

// acc[j * G + g] += x[off[j]] * grad[g], vectors of positions that `get` reads.
template <class T, int G, int J, class Get>
GS_INLINE void add_products(const T* x, const int32_t* off, const T* dy, int64_t stride, vec<T> (&acc)[J * G], Get get) {
  vec<T> grad[G];
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) grad[g] = get(dy + g * stride);
#pragma GCC unroll 8
  for (int j = 0; j < J; ++j) {
    const vec<T> in = get(x + off[j]);
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) acc[j * G + g] += in * grad[g];
  }
}

template <class T, int G, int J> GS_INLINE void sampled(const Run& run, int64_t row, const int32_t* off, int64_t stride, T* out) {
  constexpr int64_t L = Vec<T>::lanes;
  const T *x = static_cast<const T*>(run.x) + run.position, *dy = static_cast<const T*>(run.grad) + run.position + row * run.grad_stride;
  vec<T> acc[J * G] = {};
  for (int64_t i = 0; i < run.images; ++i, x += run.x_image, dy += run.grad_image) {
    for (int64_t v = 0; v < run.vectors; ++v)
      add_products<T, G, J>(x + v * L, off, dy + v * L, run.grad_stride, acc, [](const T* p) { return load<T>(p); });
    if (run.part)
      add_products<T, G, J>(x + run.vectors * L, off, dy + run.vectors * L, run.grad_stride, acc,
                            [&](const T* p) { return load_part<T>(p, run.part); });
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
  constexpr int J = beside(G);
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

// Vectors of positions of a plane, the last of which may be one that the zeros of the border fill up.
template <class T> int64_t whole_vectors(const Frame& f) {
  const int64_t L = Vec<T>::lanes, up = ceil_div(frame_held(f), L);
  return up * L <= f.plane ? up : frame_held(f) / L;
}

// All positions of the images of a run for strips from .. to.
template <class T> void positions(const Frame& f, Run run, const Ready& ready, int64_t from, int64_t to, T* out) {
  const int64_t L = Vec<T>::lanes, vectors = whole_vectors<T>(f), runs = most(1, ceil_div(vectors, kRun));
  for (int64_t i = 0; i < runs; ++i) {
    const int64_t first = vectors * i / runs, end = vectors * (i + 1) / runs;
    run.position = first * L, run.vectors = end - first, run.part = i + 1 < runs ? 0 : most(0, frame_held(f) - end * L);
    strips<T>(run, ready, from, to, out);
  }
}

// The same for pixels alone, row by row: what lies beside them is multiplied by nothing, where `positions` has zeros.
template <class T> void pixels(const Frame& f, Run run, const Ready& ready, int64_t from, int64_t to, T* out) {
  run.vectors = f.of.width / Vec<T>::lanes, run.part = f.of.width % Vec<T>::lanes;
  for (int64_t y = 0; y < f.of.height; ++y) {
    run.position = y * f.pitch;
    strips<T>(run, ready, from, to, out);
  }
}

template <class T> bool any_nan(const T* numbers, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    if (numbers[i] != numbers[i]) return true;
  return false;
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

// Images n .. n + count of one operand, side by side: where they are, or brought into `planes`.
template <class T>
gs_status side_by_side(const gs_images& call, const Frame& f, const void* images, int64_t n, int64_t count, T* planes, const T** at, int64_t* apart) {
  gs_status status = entered<T>(call.parallel, f, images, n, call.batch, planes, at);
  *apart = *at == planes ? frame_size(f) : f.pixels;
  for (int64_t i = 1; i < count && status == GS_OK && *at == planes; ++i) {
    const T* image = static_cast<const T*>(images) + (n + i) * f.pixels;
    status = on_channels(call.parallel, f, [&](int64_t c0, int64_t c1) { enter<T>(f, image, planes + i * *apart, c0, c1); });
  }
  return status;
}

// Images that are summed up together: as many as make a run of positions, by the sizes alone. The last image of a batch that
// is read where it is, is brought into planes, and so comes alone.
template <class T> int64_t together(const gs_images& call, const Frame& in, const Frame& out, int64_t n) {
  const int64_t rest = call.batch - n, count = least(rest, most(1, kRun / 2 / most(1, whole_vectors<T>(out))));
  return count == rest && count > 1 && (in.bare || out.bare) ? count - 1 : count;
}

// Runs add(run, from, to) for all images and strips, images in order.
template <class T, class Add>
gs_status all_images(const gs_images& call, const Frame& in, const Frame& out, const Ready& ready, T* x_planes, T* grad_planes, Add add) {
  const int64_t cost = (ready.n_offsets / most(1, ready.n_strips) + 1) * ready.group * frame_held(out);
  gs_status status = GS_OK;
  for (int64_t n = 0, count; n < call.batch && status == GS_OK; n += count) {
    count = together<T>(call, in, out, n);
    const T *x, *grad;
    Run run = {nullptr, nullptr, 0, 0, count, out.plane, 0, 0, 0};
    status = side_by_side<T>(call, in, call.x, n, count, x_planes, &x, &run.x_image);
    if (status == GS_OK) status = side_by_side<T>(call, out, call.grad, n, count, grad_planes, &grad, &run.grad_image);
    run.x = x, run.grad = grad;
    if (status == GS_OK)
      status = for_items(call, ready.n_strips, cost * count, [&](int64_t from, int64_t to) {
        add(run, from, to);
        return GS_OK;
      });
  }
  return status;
}

template <class T> gs_status grad_values(const gs_images* call) {
  const Frame in = frame(call->input), out = frame(call->output);
  gs_matrix w = call->w;
  w.values = nullptr;
  int64_t bytes = 0;
  prepare_conv(T{}, &w, &call->places, nullptr, &bytes);
  const int64_t most_images = most(1, together<T>(*call, in, out, 0)), of_x = frame_size(in) * most_images, of_grad = frame_size(out) * most_images;
  char* at = static_cast<char*>(gs_call_scratch(static_cast<size_t>(bytes + bytes_of<T>(of_x) + bytes_of<T>(of_grad))));
  if (!at) return GS_MEMORY;
  const Ready& ready = *reinterpret_cast<Ready*>(at);
  gs_status status = prepare_conv(T{}, &w, &call->places, at, &bytes);
  if (status != GS_OK) return status;
  at += bytes;
  T *x_planes = take<T>(at, of_x), *grad_planes = take<T>(at, of_grad), *values = static_cast<T*>(call->out);
  if (!in.bare) __builtin_memset(x_planes, 0, static_cast<size_t>(of_x) * sizeof(T));
  if (!out.bare) __builtin_memset(grad_planes, 0, static_cast<size_t>(of_grad) * sizeof(T));
  T* sums = ready.n_values ? room_at<T>(ready, ready.at_values) : values;
  for (int64_t i = 0; i < w.n_values; ++i) values[i] = 0;
  const int64_t n_sums = ready.n_values ? ready.n_values : w.n_values;
  const auto add_up = [&](void (*add)(const Frame&, Run, const Ready&, int64_t, int64_t, T*)) {
    for (int64_t i = 0; i < n_sums; ++i) sums[i] = 0;
    return all_images<T>(*call, in, out, ready, x_planes + in.guard, grad_planes + out.guard, [&](const Run& run, int64_t from, int64_t to) {
      add(out, run, ready, from, to, sums);
    });
  };
  status = add_up(positions<T>);
  // An infinite or NaN pixel times a zero beside the gradient's pixels is NaN: those sums have to be made without the zeros.
  if (status == GS_OK && any_nan(sums, n_sums)) status = add_up(pixels<T>);
  if (sums != values) to_blocks<T>(w, ready, sums, values);
  return status;
}

}  // namespace

gs_status conv_grad_values_f32(const gs_images* call) { return grad_values<float>(call); }
gs_status conv_grad_values_f64(const gs_images* call) { return grad_values<double>(call); }

}  // namespace GS_SET
}  // namespace gs
