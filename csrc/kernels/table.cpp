// The kernels of one instruction set, for csrc/api.
#include "kernels.h"
#include "vec.h"

namespace gs {
namespace GS_SET {
gs_status linear_f32(const gs_call* call);
gs_status linear_f64(const gs_call* call);
gs_status grad_input_f32(const gs_call* call);
gs_status grad_input_f64(const gs_call* call);
gs_status grad_values_f32(const gs_call* call);
gs_status grad_values_f64(const gs_call* call);
gs_status lanes_f32(const gs_call* call);
gs_status nm_bytes_f32(const gs_call* call);
gs_status dense_f32(const gs_call* call);
gs_status bands_f32(const gs_call* call);
gs_status bands_f64(const gs_call* call);
gs_status grad_input_transposed_f32(const gs_call* call, const gs_transposed* t, void* room);
gs_status grad_input_transposed_f64(const gs_call* call, const gs_transposed* t, void* room);
void transpose(const gs_matrix* w, const gs_transposed* t);
gs_status block_linear_f32(const gs_call* call);
gs_status block_linear_f64(const gs_call* call);
gs_status block_grad_input_f32(const gs_call* call);
gs_status block_grad_input_f64(const gs_call* call);
gs_status block_grad_values_f32(const gs_call* call);
gs_status block_grad_values_f64(const gs_call* call);
template <class T> void to_dense(const gs_matrix* w, int64_t r0, int64_t r1, void* dense);
template <class T> void from_dense(const gs_matrix* w, int64_t r0, int64_t r1, const void* dense, void* values);
template <class T> gs_status grow_in_buckets(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen);
template <class T>
gs_status grow_above(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t* counts, int64_t* found);
template <class T> gs_status grow_best(void* scores, int64_t* positions, int64_t n, int64_t k, double* least);
gs_status dropout_f32(const gs_dropout* call);
gs_status dropout_f64(const gs_dropout* call);
gs_status dropout_backward_f32(const gs_dropout* call);
gs_status dropout_backward_f64(const gs_dropout* call);
}  // namespace GS_SET
}  // namespace gs

// A vector that a batch leaves half empty costs what a full one does. So in the 512-bit set batches that half a vector holds, or
// where the lanes of every vector are added up a whole one, run the kernels of the 256-bit set (benchmarks/isa.py).
#if GS_VEC_BYTES == 64
namespace {

enum Type { f32 = GS_F32, f64 = GS_F64 };
enum Most { half = GS_VEC_BYTES / 2, whole = GS_VEC_BYTES };

template <auto kernel, auto entry, Type type, Most most, class... More> gs_status by_batch(const gs_call* call, More... more) {
  const bool small = call->batch <= most / (type == f64 ? 8 : 4);
  return (small ? (gs_kernels_avx2.*entry)[type] : kernel)(call, more...);
}

}  // namespace
#define GS_BY_BATCH(entry, type, most) by_batch<gs::GS_SET::entry##_##type, &gs_kernels::entry, type, most>
#else
#define GS_BY_BATCH(entry, type, most) gs::GS_SET::entry##_##type
#endif

#define GS_JOIN_(a, b) a##b
#define GS_JOIN(a, b) GS_JOIN_(a, b)
#define GS_LINEAR(entry) GS_BY_BATCH(entry, f32, half), GS_BY_BATCH(entry, f64, half), GS_BY_BATCH(entry, f32, half), GS_BY_BATCH(entry, f32, half)

extern "C" const gs_kernels GS_JOIN(gs_kernels_, GS_SET) = {
    {GS_LINEAR(linear)},
    {GS_BY_BATCH(grad_input, f32, half), GS_BY_BATCH(grad_input, f64, half)},
    {GS_BY_BATCH(grad_values, f32, whole), GS_BY_BATCH(grad_values, f64, whole)},
    {gs::GS_SET::lanes_f32, nullptr, gs::GS_SET::lanes_f32, gs::GS_SET::lanes_f32},
    {nullptr, nullptr, nullptr, gs::GS_SET::nm_bytes_f32},
    {gs::GS_SET::dense_f32, nullptr, gs::GS_SET::dense_f32, gs::GS_SET::dense_f32},
    {GS_LINEAR(bands)},
    {GS_LINEAR(block_linear)},
    {GS_BY_BATCH(block_grad_input, f32, half), GS_BY_BATCH(block_grad_input, f64, half)},
    {GS_BY_BATCH(block_grad_values, f32, whole), GS_BY_BATCH(block_grad_values, f64, whole)},
    {GS_BY_BATCH(grad_input_transposed, f32, half), GS_BY_BATCH(grad_input_transposed, f64, half)},
    gs::GS_SET::transpose,
    {gs::GS_SET::to_dense<float>, gs::GS_SET::to_dense<double>},
    {gs::GS_SET::from_dense<float>, gs::GS_SET::from_dense<double>},
    {gs::GS_SET::grow_in_buckets<float>, gs::GS_SET::grow_in_buckets<double>},
    {gs::GS_SET::grow_above<float>, gs::GS_SET::grow_above<double>},
    {gs::GS_SET::grow_best<float>, gs::GS_SET::grow_best<double>},
    {gs::GS_SET::dropout_f32, gs::GS_SET::dropout_f64},
    {gs::GS_SET::dropout_backward_f32, gs::GS_SET::dropout_backward_f64},
};
