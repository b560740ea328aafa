// Gradients of the input of a convolution, image by image. Rows alone: the transposed matrix through the product of one image,
// whose columns are (row, tap) pairs. Strips of rows: for a strip and a tap its gradients are loaded once, and every channel
// costs a load, a product a row and a store in a tile of all channels that stays in cache.
#include "conv_images.h"

namespace gs {
namespace GS_SET {
namespace {

// The matrix with columns by the plane that they read, and by their tap: as strips of the same rows.
struct Resolved {
  const Ready *by_plane, *by_tap;
  int64_t taps;
  const int32_t* shifts;  // [taps] elements from a position of the input to the one that a tap reads, within a plane
};

int64_t taps_of(const gs_images& call) {
  const int64_t inner = call.input.channels * call.places.rows_of_group / most(1, call.w.n_out);
  return inner ? call.w.n_in / inner : 0;
}

// Tables of w.n_in columns each: the tap of a column, then shifts of taps.
void fill_tables(const gs_images& call, const Frame& in, int64_t taps, int32_t* tap_of, int32_t* shifts) {
  const int64_t inner = taps ? call.w.n_in / taps : 0;
  for (int64_t i = 0; i < call.w.n_in; ++i) tap_of[i] = static_cast<int32_t>(i / inner);
  for (int64_t t = 0; t < taps; ++t)
    shifts[t] = static_cast<int32_t>(call.places.columns[t * inner] - call.plane_of[t * inner] * in.plane);
}

gs_places table_places(const gs_images& call, const int32_t* columns, int64_t step) {
  gs_places places = call.places;
  places.n_spans = 0, places.columns = columns, places.group_step = step, places.inside = nullptr;
  return places;
}

// --- rows alone ------------------------------------------------------------------------------------------------------------

// W^T as csr, of 32-bit pointers and columns row * taps + tap.
template <class T> struct Transposed {
  int32_t *starts, *columns, *offsets;  // [planes + 1], [connections], [rows * taps]
  T* values;
};

template <class T> void transpose(const Resolved& r, const T* values, const Frame& in, const Frame& out, Transposed<T>& t) {
  const Strip* strips = room_at<Strip>(*r.by_plane, r.by_plane->at_strips);
  const int32_t *plane = room_at<int32_t>(*r.by_plane, r.by_plane->at_offsets), *tap = room_at<int32_t>(*r.by_tap, r.by_tap->at_offsets);
  const int64_t rows = r.by_plane->n_strips;
  for (int64_t i = 0; i <= in.count; ++i) t.starts[i] = 0;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = strips[row].first; i < strips[row].first + strips[row].count; ++i) ++t.starts[plane[i] + 1];
  for (int64_t i = 0; i < in.count; ++i) t.starts[i + 1] += t.starts[i];
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t j = 0; j < strips[row].count; ++j) {
      const int64_t i = strips[row].first + j;
      const int32_t to = t.starts[plane[i]]++;
      t.columns[to] = static_cast<int32_t>(row * r.taps + tap[i]);
      t.values[to] = values[strips[row].value + j * r.by_plane->stride];
    }
  for (int64_t i = in.count; i > 0; --i) t.starts[i] = t.starts[i - 1];
  t.starts[0] = 0;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < r.taps; ++k) t.offsets[row * r.taps + k] = static_cast<int32_t>(row * out.plane - r.shifts[k]);
}

// --- strips of rows --------------------------------------------------------------------------------------------------------

constexpr int tile_of(int group) { return GS_VEC_BYTES < 64 ? (group == 2 ? 4 : 2) : 16 / group; }

template <class T, int G, int V>
void tile(const Resolved& r, const T* values, const T* grad, int64_t plane, int64_t position, T* sums) {
  constexpr int64_t L = Vec<T>::lanes;
  const Ready& ready = *r.by_plane;
  const Strip* strips = room_at<Strip>(ready, ready.at_strips);
  const int32_t *planes = room_at<int32_t>(ready, ready.at_offsets), *taps = room_at<int32_t>(*r.by_tap, r.by_tap->at_offsets);
  for (int64_t s = 0; s < ready.n_strips; ++s) {
    const int64_t end = strips[s].first + strips[s].count;
    const T* w = values + strips[s].value;
    for (int64_t i = strips[s].first; i < end;) {
      const int32_t tap = taps[i];
      const T* from = grad + s * G * plane + position - r.shifts[tap];
      vec<T> dy[G][V];
#pragma GCC unroll 8
      for (int g = 0; g < G; ++g)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) dy[g][v] = load<T>(from + g * plane + v * L);
      do {
        T* to = sums + planes[i] * (V * L);
        vec<T> acc[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[v] = load<T>(to + v * L);
#pragma GCC unroll 8
        for (int g = 0; g < G; ++g) {
          const vec<T> weight = splat<T>(w[g]);
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) acc[v] += dy[g][v] * weight;
        }
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store<T>(to + v * L, acc[v]);
        w += ready.stride;
      } while (++i < end && taps[i] == tap);
    }
  }
}

// Spots spot0 .. spot1 of all planes of the input; `sums` has room for a vector tile of every plane.
template <class T, int G> void spots(const Resolved& r, const T* values, const T* grad, const Frame& in, const Frame& out,
                                     int64_t begin, int64_t end, T* sums, T* planes) {
  constexpr int V = tile_of(G);
  constexpr int64_t L = Vec<T>::lanes;
  const int64_t held = frame_held(in);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t position = i * V * L, size = least(V * L, held - position);
    for (int64_t k = 0; k < in.count * V * L; ++k) sums[k] = 0;
    if (size > (V / 2) * L) tile<T, G, V>(r, values, grad, out.plane, position, sums);
    else if constexpr (V > 1) tile<T, G, V / 2>(r, values, grad, out.plane, position, sums);
    const int64_t width = size > (V / 2) * L ? V * L : V / 2 * L;
    for (int64_t c = 0; c < in.count; ++c)
      __builtin_memcpy(planes + c * in.plane + position, sums + c * width, static_cast<size_t>(size) * sizeof(T));
  }
}

template <class T> void spots(const Resolved& r, const T* values, const T* grad, const Frame& in, const Frame& out, int64_t begin,
                              int64_t end, T* sums, T* planes) {
  switch (r.by_plane->group) {
    case 2: return spots<T, 2>(r, values, grad, in, out, begin, end, sums, planes);
    case 4: return spots<T, 4>(r, values, grad, in, out, begin, end, sums, planes);
    default: if constexpr (GS_VEC_BYTES == 64) return spots<T, 8>(r, values, grad, in, out, begin, end, sums, planes);
  }
}

// --- both ------------------------------------------------------------------------------------------------------------------

// Whether every read of the output gradient stays in its planes.
bool reads_inside(const Frame& in, const Frame& out, const Resolved& r) {
  for (int64_t t = 0; t < r.taps; ++t)
    if (r.shifts[t] > out.guard || frame_held(in) - r.shifts[t] > out.plane + out.guard) return false;
  return true;
}

template <class T> struct Memory {
  T *grad, *planes, *sums;
};

template <class T> struct Work {
  const gs_images* call;
  Frame in, out;
  Resolved resolved;
  const T* values;
  gs_matrix matrix;     // the transposed one, of rows alone
  gs_places places;     // its
  gs_span span;         // theirs
  const char* product;  // it, ready; or null
};

template <class T> gs_status one_image(const Work<T>& work, int64_t n, const Memory<T>& memory, gs_parallel_for parallel) {
  const gs_images& call = *work.call;
  const Frame &in = work.in, &out = work.out;
  const T* grad;
  gs_status status = entered<T>(parallel, out, call.grad, n, call.batch, memory.grad, &grad);
  T* image = static_cast<T*>(call.out) + n * in.pixels;
  T* planes = in.bare ? image : memory.planes;
  if (status == GS_OK && work.product) {
    gs_call product = {};
    product.w = work.matrix, product.x.data = grad, product.out = planes, product.out_stride = in.plane, product.parallel = parallel;
    status = run_conv(T{}, &product, &work.places, work.product);
  } else if (status == GS_OK) {
    const int64_t wide = tile_of(static_cast<int>(work.resolved.by_plane->group)) * Vec<T>::lanes;
    const int64_t cost = work.resolved.by_plane->n_offsets * work.resolved.by_plane->group * wide;
    status = for_items(OnChannels{parallel}, ceil_div(frame_held(in), wide), cost, [&](int64_t begin, int64_t end) {
      T* sums = parallel ? static_cast<T*>(gs_scratch(static_cast<size_t>(in.count * wide) * sizeof(T))) : memory.sums;
      if (!sums) return GS_MEMORY;
      spots<T>(work.resolved, work.values, grad, in, out, begin, end, sums, planes);
      return GS_OK;
    });
  }
  if (status != GS_OK || in.bare) return status;
  return on_channels(parallel, in, [&](int64_t c0, int64_t c1) { leave<T>(in, planes, image, c0, c1); });
}

// Bytes of what a call needs beside its operands.
struct Needs {
  int64_t by_plane, by_tap;  // the matrix, resolved twice
  int64_t tables;            // of taps and shifts
  int64_t rows;              // connections of rows alone; 0 where rows share them
  int64_t turned;            // the transposed matrix, and it once more when it is ready
  int64_t planes;            // of one image, and a tile
};

template <class T> Needs needs_of(const gs_images& call, const Frame& in, const Frame& out, int64_t taps) {
  const gs_matrix& w = call.w;
  Needs needs = {};
  const gs_places places = table_places(call, nullptr, 0);
  gs_matrix bare = w;
  bare.values = nullptr;
  prepare_conv(T{}, &w, &places, nullptr, &needs.by_plane);
  prepare_conv(T{}, &bare, &places, nullptr, &needs.by_tap);
  needs.tables = bytes_of<int32_t>(w.n_in) + bytes_of<int32_t>(taps);
  const int64_t share = w.layout == GS_FANIN || w.layout == GS_BLOCK ? w.group : 1;
  if (share % 2) {
    needs.rows = connections(w) * share * (w.layout == GS_BLOCK ? w.tile : 1);
    needs.turned = bytes_of<int32_t>(in.count + 1) + 2 * bytes_of<int32_t>(needs.rows) + bytes_of<T>(needs.rows) +
                   bytes_of<int32_t>(w.n_out * taps) + bytes_of<Ready>(1) + bytes_of<Strip>(in.count) +
                   bytes_of<Spot>(ceil_div(frame_held(in), Vec<T>::lanes) + 1);
  }
  needs.planes = bytes_of<T>(frame_size(out)) + bytes_of<T>(frame_size(in)) + bytes_of<T>(in.count * 8 * Vec<T>::lanes);
  return needs;
}

// Tables, and the matrix by planes and by taps.
template <class T> gs_status resolve(Work<T>& work, const Needs& needs, int64_t taps, char*& at) {
  const gs_images& call = *work.call;
  int32_t *tap_of = take<int32_t>(at, call.w.n_in), *shifts = take<int32_t>(at, taps);
  fill_tables(call, work.in, taps, tap_of, shifts);
  const gs_places by_plane = table_places(call, call.plane_of, taps ? call.w.n_in / taps : 0), by_tap = table_places(call, tap_of, 0);
  gs_matrix bare = call.w;
  bare.values = nullptr;
  int64_t bytes;
  gs_status status = prepare_conv(T{}, &call.w, &by_plane, at, &bytes);
  if (status == GS_OK) status = prepare_conv(T{}, &bare, &by_tap, at + needs.by_plane, &bytes);
  const Ready& ready = *reinterpret_cast<const Ready*>(at);
  work.resolved = {&ready, reinterpret_cast<const Ready*>(at + needs.by_plane), taps, shifts};
  work.values = ready.n_values ? room_at<T>(ready, ready.at_values) : static_cast<const T*>(call.w.values);
  at += needs.by_plane + needs.by_tap;
  return status == GS_OK && !reads_inside(work.in, work.out, work.resolved) ? GS_SIZE : status;
}

// The transposed matrix of rows alone, made ready.
template <class T> gs_status turn(Work<T>& work, int64_t rows, char*& at) {
  const Frame &in = work.in, &out = work.out;
  Transposed<T> t;
  t.starts = take<int32_t>(at, in.count + 1), t.columns = take<int32_t>(at, rows);
  t.offsets = take<int32_t>(at, work.call->w.n_out * work.resolved.taps), t.values = take<T>(at, rows);
  transpose<T>(work.resolved, work.values, in, out, t);
  gs_matrix& w = work.matrix;
  w.layout = GS_CSR, w.dtype = work.call->w.dtype, w.n_out = in.count, w.n_in = work.call->w.n_out * work.resolved.taps, w.group = 1;
  w.n_values = w.n_cols = rows, w.row_bytes = w.col_bytes = 4, w.values = t.values, w.rows = t.starts, w.cols = t.columns;
  gs_places& p = work.places;
  work.span = {0, 0, frame_held(in)};
  p.n_columns = w.n_in, p.rows_of_group = in.count, p.n_spans = 1, p.step = 1, p.columns = t.offsets, p.spans = &work.span;
  p.in_begin = -out.guard, p.in_end = out.count * out.plane + out.guard, p.out_end = in.count * in.plane;
  int64_t bytes = 0;
  const gs_status status = prepare_conv(T{}, &w, &p, at, &bytes);
  work.product = at;
  at += bytes;
  return status;
}

template <class T> gs_status grad_input(const gs_images* call) {
  Work<T> work = {};
  work.call = call, work.in = frame(call->input), work.out = frame(call->output);
  const int64_t taps = taps_of(*call);
  const Needs needs = needs_of<T>(*call, work.in, work.out, taps);
  char* at = static_cast<char*>(gs_call_scratch(static_cast<size_t>(needs.by_plane + needs.by_tap + needs.tables + needs.turned + needs.planes)));
  if (!at) return GS_MEMORY;
  gs_status status = resolve<T>(work, needs, taps, at);
  if (status == GS_OK && work.resolved.by_plane->group == 1) status = turn<T>(work, needs.rows, at);
  if (status != GS_OK) return status;
  const auto fill = [&](char* memory) {
    T *grad = take_planes<T>(memory, work.out), *first = take_planes<T>(memory, work.in);
    return Memory<T>{grad, first, reinterpret_cast<T*>(memory)};
  };
  const auto one = [&](int64_t n, const Memory<T>& memory, gs_parallel_for parallel) { return one_image<T>(work, n, memory, parallel); };
  const Ready& ready = *work.resolved.by_plane;
  return each_image(*call, ready.n_offsets * ready.group * work.in.plane, needs.planes, at, fill, one);
}

}  // namespace

gs_status conv_grad_input_f32(const gs_images* call) { return grad_input<float>(call); }
gs_status conv_grad_input_f64(const gs_images* call) { return grad_input<double>(call); }

}  // namespace GS_SET
}  // namespace gs
