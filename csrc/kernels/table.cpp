// The kernels of one instruction set, for csrc/api.
#include "kernels.h"
#include "vec.h"

// Those of the 256-bit set as well, which the 512-bit set runs for small batches, and those for a matrix unit.
#define GS_DECLARE(type, name)       \
  namespace gs {                     \
  namespace GS_SET { type name; }    \
  namespace avx2 { type name; }      \
  namespace amx { type name; }       \
  }
#define GS_PRODUCT(function, operation, layouts, types, small) GS_DECLARE(gs_product, function)
#define GS_TYPED(name, type, small) GS_DECLARE(type, name##_f32) GS_DECLARE(type, name##_f64)
#define GS_UNTYPED(name, type, small) GS_DECLARE(type, name)
#include "kernels.inc"

#define GS_BATCH_own(function, bytes) gs::GS_SET::function
#if defined(GS_HAS_amx)
#define GS_BATCH_unit(function, bytes) by_unit<gs::GS_SET::function, gs::amx::function>
#else
#define GS_BATCH_unit GS_BATCH_own
#endif
#if GS_VEC_BYTES == 64
#define GS_BATCH_half(function, bytes) by_batch<gs::GS_SET::function, gs::avx2::function, GS_VEC_BYTES / 2 / (bytes)>
#define GS_BATCH_whole(function, bytes) by_batch<gs::GS_SET::function, gs::avx2::function, GS_VEC_BYTES / (bytes)>
#else
#define GS_BATCH_half GS_BATCH_own
#define GS_BATCH_whole GS_BATCH_own
#endif

namespace {

#if GS_VEC_BYTES == 64
template <auto wide, auto narrow, int64_t most, class... More> gs_status by_batch(const gs_call* call, More... more) {
  return (call->batch <= most ? narrow : wide)(call, more...);
}
#endif

#if defined(GS_HAS_amx)
template <auto plain, auto unit, class Call> gs_status by_unit(const Call* call) {
  return (gs_matrix_unit() == GS_MATRIX_GRANTED ? unit : plain)(call);
}
#endif

constexpr gs_product* kProducts[] = {
#define GS_PRODUCT(function, operation, layouts, types, small) GS_BATCH_##small(function, gs_bits types == gs_bits(GS_F64) ? 8 : 4),
#include "kernels.inc"
};

constexpr gs_kernels make() {
  gs_kernels all = {};
  for (int row = 0; row < static_cast<int>(sizeof kRows / sizeof *kRows); ++row)
    for (int layout = 0; layout < 32; ++layout)
      for (int type = 0; type < 32; ++type) {
        if (!(kRows[row].layouts >> layout & kRows[row].types >> type & 1)) continue;
        gs_product*& place = all.products[kRows[row].operation][layout][type];
        if (place) __builtin_trap();  // two rows for one product: does not compile
        place = kProducts[row];
      }
#define GS_TYPED(name, type, small) all.name[0] = GS_BATCH_##small(name##_f32, 4), all.name[1] = GS_BATCH_##small(name##_f64, 8);
#define GS_UNTYPED(name, type, small) all.name = GS_BATCH_##small(name, 4);
#include "kernels.inc"
  return all;
}

}  // namespace

#define GS_JOIN_(a, b) a##b
#define GS_JOIN(a, b) GS_JOIN_(a, b)
extern "C" constexpr gs_kernels GS_JOIN(gs_kernels_, GS_SET) = make();
