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

#define GS_JOIN_(a, b) a##b
#define GS_JOIN(a, b) GS_JOIN_(a, b)

extern "C" const gs_kernels GS_JOIN(gs_kernels_, GS_SET) = {
    {gs::GS_SET::linear_f32, gs::GS_SET::linear_f64, gs::GS_SET::linear_f32, gs::GS_SET::linear_f32},
    {gs::GS_SET::grad_input_f32, gs::GS_SET::grad_input_f64},
    {gs::GS_SET::grad_values_f32, gs::GS_SET::grad_values_f64},
    {gs::GS_SET::lanes_f32, nullptr, gs::GS_SET::lanes_f32, gs::GS_SET::lanes_f32},
    {nullptr, nullptr, nullptr, gs::GS_SET::nm_bytes_f32},
    {gs::GS_SET::dense_f32},
    {gs::GS_SET::bands_f32, gs::GS_SET::bands_f64, gs::GS_SET::bands_f32, gs::GS_SET::bands_f32},
    {gs::GS_SET::block_linear_f32, gs::GS_SET::block_linear_f64, gs::GS_SET::block_linear_f32, gs::GS_SET::block_linear_f32},
    {gs::GS_SET::block_grad_input_f32, gs::GS_SET::block_grad_input_f64},
    {gs::GS_SET::block_grad_values_f32, gs::GS_SET::block_grad_values_f64},
    {gs::GS_SET::grad_input_transposed_f32, gs::GS_SET::grad_input_transposed_f64},
    gs::GS_SET::transpose,
    {gs::GS_SET::to_dense<float>, gs::GS_SET::to_dense<double>},
    {gs::GS_SET::from_dense<float>, gs::GS_SET::from_dense<double>},
    {gs::GS_SET::grow_in_buckets<float>, gs::GS_SET::grow_in_buckets<double>},
    {gs::GS_SET::grow_above<float>, gs::GS_SET::grow_above<double>},
    {gs::GS_SET::grow_best<float>, gs::GS_SET::grow_best<double>},
    {gs::GS_SET::dropout_f32, gs::GS_SET::dropout_f64},
    {gs::GS_SET::dropout_backward_f32, gs::GS_SET::dropout_backward_f64},
};
