// Batch 1: the direct form. Inputs are fetched with scalar loads and combined eight at a time, or, of single connections, by the
// processor's gather. The additions are the same in the same order; which is faster depends on the processor (gs_gathers).
#ifndef GOSSAMER_GATHER_H
#define GOSSAMER_GATHER_H

#include "kernels.h"

namespace gs {
namespace GS_SET {

// call.batch == 1; csr, fanin or nm.
template <class T> gs_status gather_linear(const gs_call& call);
extern template gs_status gather_linear<float>(const gs_call& call);
extern template gs_status gather_linear<double>(const gs_call& call);

// The same in float32 with contiguous inputs, on this thread, in the form that is asked for: to measure both.
void gather_once(const gs_call& call, bool gathers);

}  // namespace GS_SET
}  // namespace gs

#endif
