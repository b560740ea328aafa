// The convolution of a batch of images: each into planes, through the product of one image, and back.
#include "conv_images.h"

namespace gs {
namespace GS_SET {
namespace {

template <class T> gs_status images(const gs_images* call) {
  const Frame in = frame(call->input), out = frame(call->output);
  const gs_places& places = call->places;
  int64_t bytes = 0;
  prepare_conv(T{}, &call->w, &places, nullptr, &bytes);
  const int64_t planes = bytes_of<T>(frame_size(in)) + bytes_of<T>(frame_size(out));
  char* room = static_cast<char*>(gs_call_scratch(static_cast<size_t>(bytes + planes)));
  if (!room) return GS_MEMORY;
  const gs_status status = prepare_conv(T{}, &call->w, &places, room, &bytes);
  if (status != GS_OK) return status;
  struct Memory {
    T *in, *out;
  };
  const auto fill = [&](char* at) {
    T* first = take_planes<T>(at, in);
    return Memory{first, take_planes<T>(at, out)};
  };
  const auto one = [&](int64_t n, const Memory& memory, gs_parallel_for parallel) {
    const T* x;
    gs_status done = entered<T>(parallel, in, call->x, n, call->batch, memory.in, &x);
    if (done != GS_OK) return done;
    T* image = static_cast<T*>(call->out) + n * out.pixels;
    gs_call product = {};
    product.w = call->w, product.x.data = x, product.bias = call->bias, product.parallel = parallel;
    product.out = out.bare ? image : memory.out, product.out_stride = out.plane;
    done = run_conv(T{}, &product, &places, room);
    if (done != GS_OK || out.bare) return done;
    return on_channels(parallel, out, [&](int64_t c0, int64_t c1) { leave<T>(out, memory.out, image, c0, c1); });
  };
  const int64_t cost = connections(call->w) * call->w.group * most(1, call->w.layout == GS_BLOCK ? call->w.tile : 1) * out.plane;
  return each_image(*call, cost, planes, room + bytes, fill, one);
}

}  // namespace

gs_status conv_images_f32(const gs_images* call) { return images<float>(call); }
gs_status conv_images_f64(const gs_images* call) { return images<double>(call); }

}  // namespace GS_SET
}  // namespace gs
