// Checks that cost O(1), made before every product.
#ifndef GOSSAMER_CHECK_H
#define GOSSAMER_CHECK_H

#include "kernels.h"

// Sizes, types and lengths of a matrix. `values` and `cols` may be null only where their used length is 0, or where
// need_values is false. *used receives the number of values in use.
gs_status gs_check_matrix(const gs_matrix& w, bool need_values, int64_t* used);

// A whole call; brings irrelevant strides (of a dimension of size 1) to the value the kernels expect.
gs_status gs_check_call(gs_call& call, gs_operation op);

// The places of a product over planes, O(columns + spans), and whether its layout has one.
gs_status gs_check_places(const gs_matrix& w, const gs_places& places, bool need_values);

// A [features, batch] input: pointer, strides, and that its last element is addressable. Brings strides of a dimension of size 1 to the
// value the kernels expect.
gs_status gs_check_panel(gs_panel& panel, int64_t features, int64_t batch);

#endif
