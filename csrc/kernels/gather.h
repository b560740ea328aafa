// Batch 1: the direct form. Columns are fetched with scalar loads (a hardware gather is slower on the processors
// measured) and combined eight at a time.
#ifndef GOSSAMER_GATHER_H
#define GOSSAMER_GATHER_H

#include "kernels.h"

namespace gs {
namespace GS_SET {

// call.batch == 1; csr, fanin or nm.
template <class T> gs_status gather_linear(const gs_call& call);
extern template gs_status gather_linear<float>(const gs_call& call);
extern template gs_status gather_linear<double>(const gs_call& call);

}  // namespace GS_SET
}  // namespace gs

#endif
