// Images of whole batches and the planes of one, for the products of training.
#ifndef GOSSAMER_CONV_IMAGES_H
#define GOSSAMER_CONV_IMAGES_H

#include "conv.h"
#include "items.h"

namespace gs {
namespace GS_SET {

gs_conv_preparing conv_prepare_f32, conv_prepare_f64;
gs_convolving conv_f32, conv_f64;
inline gs_status prepare_conv(float, const gs_matrix* w, const gs_places* p, void* room, int64_t* bytes) { return conv_prepare_f32(w, p, room, bytes); }
inline gs_status prepare_conv(double, const gs_matrix* w, const gs_places* p, void* room, int64_t* bytes) { return conv_prepare_f64(w, p, room, bytes); }
inline gs_status run_conv(float, const gs_call* call, const gs_places* p, const void* room) { return conv_f32(call, p, room); }
inline gs_status run_conv(double, const gs_call* call, const gs_places* p, const void* room) { return conv_f64(call, p, room); }

// gs_planes in numbers: layouts/planes.py says the same.
struct Frame {
  gs_planes of;
  int64_t pitch, rows, plane, count, guard;
  int64_t pixels;  // of a whole image, all channels
  bool bare;       // an image in memory is its planes
};

GS_INLINE Frame frame(const gs_planes& p) {
  Frame f = {p, ceil_div(p.width, p.phase_columns) + p.border_columns, ceil_div(p.height, p.phase_rows) + p.border_rows, 0, 0, 0, 0, false};
  f.plane = f.rows * f.pitch, f.count = p.channels * p.phase_rows * p.phase_columns;
  f.guard = ceil_div(p.border_rows * f.pitch + p.border_columns + 15, 16) * 16;
  f.pixels = p.channels * p.height * p.width;
  f.bare = !p.border_rows && !p.border_columns && p.phase_rows == 1 && p.phase_columns == 1;
  return f;
}

constexpr int64_t kPast = 128;  // elements past the last position that the widest tile of vectors may read

GS_INLINE int64_t frame_size(const Frame& f) { return 2 * f.guard + f.count * f.plane + kPast; }

// Positions up to the last that holds a pixel.
GS_INLINE int64_t frame_held(const Frame& f) { return (f.rows - f.of.border_rows - 1) * f.pitch + f.pitch - f.of.border_columns; }

// Row y of channel c, one phase of columns: where its pixels lie from position 0 on.
GS_INLINE int64_t row_of(const Frame& f, int64_t c, int64_t y, int64_t phase) {
  return ((y % f.of.phase_rows * f.of.phase_columns + phase) * f.of.channels + c) * f.plane + y / f.of.phase_rows * f.pitch;
}

// Pixels of channels c0 .. c1 of an image to their places; what lies between stays as it is.
template <class T> void enter(const Frame& f, const T* image, T* planes, int64_t c0, int64_t c1) {
  const int64_t width = f.of.width, phases = f.of.phase_columns;
  for (int64_t c = c0; c < c1; ++c)
    for (int64_t y = 0; y < f.of.height; ++y) {
      const T* from = image + (c * f.of.height + y) * width;
      for (int64_t b = 0; b < phases; ++b) {
        T* to = planes + row_of(f, c, y, b);
        if (phases == 1) __builtin_memcpy(to, from, static_cast<size_t>(width) * sizeof(T));
        else
          for (int64_t x = b, i = 0; x < width; x += phases, ++i) to[i] = from[x];
      }
    }
}

// The way back.
template <class T> void leave(const Frame& f, const T* planes, T* image, int64_t c0, int64_t c1) {
  const int64_t width = f.of.width, phases = f.of.phase_columns;
  for (int64_t c = c0; c < c1; ++c)
    for (int64_t y = 0; y < f.of.height; ++y) {
      T* to = image + (c * f.of.height + y) * width;
      for (int64_t b = 0; b < phases; ++b) {
        const T* from = planes + row_of(f, c, y, b);
        if (phases == 1) __builtin_memcpy(to, from, static_cast<size_t>(width) * sizeof(T));
        else
          for (int64_t x = b, i = 0; x < width; x += phases, ++i) to[x] = from[i];
      }
    }
}

// A part of scratch memory, rounded up to whole lines.
template <class T> GS_INLINE int64_t bytes_of(int64_t n) { return ceil_div(n * static_cast<int64_t>(sizeof(T)), kLine) * kLine; }

template <class T> GS_INLINE T* take(char*& at, int64_t n) {
  T* part = reinterpret_cast<T*>(at);
  at += bytes_of<T>(n);
  return part;
}

// Memory for the planes of a frame, zeros where they have a border; returns position 0.
template <class T> GS_INLINE T* take_planes(char*& at, const Frame& f) {
  T* part = take<T>(at, frame_size(f));
  if (!f.bare) __builtin_memset(part, 0, static_cast<size_t>(frame_size(f)) * sizeof(T));
  return part + f.guard;
}

// Runs one(n, room, parallel) for every image: side by side where there are enough of them, each in scratch memory of its
// thread; else one after the other in `shared`, with the threads inside. `fill` makes the room of a thread ready.
template <class Call, class Fill, class One>
GS_INLINE gs_status each_image(const Call& call, int64_t cost, int64_t bytes, char* shared, Fill fill, One one) {
  if (call.batch >= call.threads && call.batch > 1)
    return for_items(call, call.batch, cost, [&](int64_t begin, int64_t end) {
      char* room = static_cast<char*>(gs_scratch(static_cast<size_t>(bytes)));
      if (!room) return GS_MEMORY;
      const auto ready = fill(room);
      gs_status status = GS_OK;
      for (int64_t n = begin; n < end && status == GS_OK; ++n) status = one(n, ready, static_cast<gs_parallel_for>(nullptr));
      return status;
    });
  const auto ready = fill(shared);
  gs_status status = GS_OK;
  for (int64_t n = 0; n < call.batch && status == GS_OK; ++n) status = one(n, ready, call.parallel);
  return status;
}

// Calls use(c0, c1) over parts of the planes of an image.
struct OnChannels {
  gs_parallel_for parallel;
};
template <class F> GS_INLINE gs_status on_channels(gs_parallel_for parallel, const Frame& f, F use) {
  return for_items(OnChannels{parallel}, f.of.channels, f.of.height * f.of.width / 4 + 1, [&](int64_t c0, int64_t c1) {
    use(c0, c1);
    return GS_OK;
  });
}

// The image itself where it is its planes and vectors that read past it read another image, else brought into `planes`.
template <class T>
GS_INLINE gs_status entered(gs_parallel_for parallel, const Frame& f, const void* images, int64_t n, int64_t batch, T* planes, const T** at) {
  const T* image = static_cast<const T*>(images) + n * f.pixels;
  *at = f.bare && n + 1 < batch && f.pixels >= kPast ? image : planes;
  return *at == image ? GS_OK : on_channels(parallel, f, [&](int64_t c0, int64_t c1) { enter<T>(f, image, planes, c0, c1); });
}

}  // namespace GS_SET
}  // namespace gs

#endif
