// out = activation(W x + bias + residual) over the planes of one image that is rounded to int8 first: in steps of its largest
// magnitude, as the samples of a linear layer are (quantize.h). Sums are exact integers.
#include "conv_bytes.h"
#include "conv_store.h"
#include "items.h"
#include "quantize.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kPart = 1 << 14;  // elements that are rounded at a time

struct Job {
  const gs_call* call;
  const gs_places* places;
  const ReadyBytes* ready;
  const uint8_t* x;  // position 0 of the planes of bytes
  bool shifted;
  float step;        // what one of them stands for
  int64_t block, blocks;  // shares that work on a spot before the next; blocks of all of them
  bool by_blocks;         // all spots for a block, then the next; else all blocks for a spot
};

template <class F> GS_INLINE gs_status for_parts(const gs_call& call, int64_t n, const F& run) {
  return for_items(call, ceil_div(n, kPart), kPart / 8, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) run(part * kPart, least(kPart, n - part * kPart));
    return GS_OK;
  });
}

// The bits of the largest magnitude of an image.
gs_status largest_of(const gs_call& call, int64_t n, int32_t* largest) {
  *largest = 0;
  return for_parts(call, n, [&](int64_t from, int64_t count) {
    const int32_t found = largest_magnitude(static_cast<const float*>(call.x.data) + from, count);
    int32_t before = __atomic_load_n(largest, __ATOMIC_RELAXED);
    while (found > before && !__atomic_compare_exchange_n(largest, &before, found, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  });
}

// Planes of bytes of an image, with borders of zeros around them.
gs_status round_image(const gs_call& call, Job& job, uint8_t* planes) {
  const ReadyBytes& ready = *job.ready;
  const uint8_t shift = job.shifted ? 128 : 0;
  int32_t largest;
  gs_status status = largest_of(call, ready.image, &largest);
  if (status != GS_OK) return status;
  const Scale scale = scale_of(largest);
  job.step = scale.step, job.x = planes + ready.before;
  __builtin_memset(planes, shift, static_cast<size_t>(ready.before));
  __builtin_memset(planes + ready.before + ready.image, shift, static_cast<size_t>(ready.past + kPositions));
  if (scale.inverse == 0) {
    __builtin_memset(planes + ready.before, shift, static_cast<size_t>(ready.image));
    return GS_OK;
  }
  return for_parts(call, ready.image, [&](int64_t from, int64_t count) {
    int8_t* q = reinterpret_cast<int8_t*>(planes + ready.before + from);
    to_steps(static_cast<const float*>(call.x.data) + from, count, scale.inverse, shift, q);
  });
}

template <int V> void finish(const Job& job, const Spot& spot, int64_t row, int64_t rows, const Sums& sums) {
  constexpr int64_t L = Vec<float>::lanes;
  Mask<float, V> mask = {};
  if (spot.masked) expand<float, V>(spot, mask);
  for (int64_t r = 0; r < rows; ++r) {
    vec<float> y[V];
    each<V>([&](auto v) GS_INLINE_LAMBDA {
      i32v whole;
      __builtin_memcpy(&whole, sums[r] + v * L, sizeof whole);
      y[v] = __builtin_convertvector(whole, vec<float>) * splat<float>(job.step);
    });
    store_spot<float, V>(*job.call, *job.places, spot, mask, row + r, y);
    if (spot.tail) zero_tail<float>(*job.call, *job.places, spot, row + r);
  }
}

void on_spot(const Job& job, const Spot& spot, int64_t from, int64_t to) {
  const ReadyBytes& ready = *job.ready;
  const Share* shares = room_at<Share>(ready, ready.at_shares);
  Sums sums;
  for (int64_t s = from; s < to; ++s) {
    const Share& share = shares[s];
    const int64_t row = s * ready.group;
    const Quads quads = {job.x + spot.in, room_at<int32_t>(ready, ready.at_offsets) + share.first * 4,
                         room_at<int32_t>(ready, ready.at_words) + share.first * ready.group,
                         room_at<int32_t>(ready, ready.at_firsts) + row, share.count, ready.group, job.places->step, spot.held};
    if (spot.vectors) add_bytes(quads, job.shifted, sums);
    switch (spot.vectors) {
      case 0: for (int64_t r = 0; spot.tail && r < ready.group; ++r) zero_tail<float>(*job.call, *job.places, spot, row + r); break;
      case 1: finish<1>(job, spot, row, ready.group, sums); break;
      case 2: finish<2>(job, spot, row, ready.group, sums); break;
      case 3: finish<3>(job, spot, row, ready.group, sums); break;
      case 4: finish<4>(job, spot, row, ready.group, sums); break;
#if GS_VEC_BYTES == 16
      case 5: finish<5>(job, spot, row, ready.group, sums); break;
      case 6: finish<6>(job, spot, row, ready.group, sums); break;
      case 7: finish<7>(job, spot, row, ready.group, sums); break;
      default: finish<8>(job, spot, row, ready.group, sums); break;
#endif
    }
  }
}

void cells(const Job& job, int64_t begin, int64_t end) {
  const ReadyBytes& ready = *job.ready;
  const Spot* spots = room_at<Spot>(ready, ready.at_spots);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t spot = job.by_blocks ? i % ready.n_spots : i / job.blocks;
    const int64_t from = (job.by_blocks ? i / ready.n_spots : i % job.blocks) * job.block;
    on_spot(job, spots[spot], from, least(from + job.block, ready.n_shares));
  }
}

#if GS_MASKS
bool byte_products() { return gs_has_byte_products(); }
#else
constexpr bool byte_products() { return false; }
#endif

}  // namespace

gs_status conv_bytes(const gs_call* call, const gs_places* places, const void* room) {
  const ReadyBytes& ready = *static_cast<const ReadyBytes*>(room);
  const gs_matrix& w = call->w;
  if (ready.mark != kReadyBytes || ready.n_out != w.n_out || ready.n_columns != places->n_columns || ready.group != w.group) return GS_SIZE;
  if (ready.image != places->in_begin + places->in_end || ready.before != -places->in_begin) return GS_SIZE;
  if (!ready.n_shares || !ready.n_spots) return GS_OK;
  if ((w.n_out - 1) * call->out_stride + ready.writes > places->out_end) return GS_SIZE;
  uint8_t* planes = static_cast<uint8_t*>(gs_call_scratch(static_cast<size_t>(ready.before + ready.image + ready.past + kPositions)));
  if (!planes) return GS_MEMORY;
  Job job = {call, places, &ready, nullptr, byte_products(), 0, 0, 0, false};
  const gs_status status = round_image(*call, job, planes);
  if (status != GS_OK) return status;
  const int64_t count = w.per_row;
  job.by_blocks = ready.group >= 4 || writes_more<float>(w.n_out * ready.n_spots * kPositions, w.n_in, count / 4);
  job.block = most(1, (job.by_blocks ? 16 : 32) / ready.group);
  job.blocks = ceil_div(ready.n_shares, job.block);
  return for_items(*call, job.blocks * ready.n_spots, (count / 4 + 8) * ready.group * kPositions * job.block, [&](int64_t begin, int64_t end) {
    cells(job, begin, end);
    return GS_OK;
  });
}

}  // namespace GS_SET
}  // namespace gs
