// Batch 1 of the block layout: the direct form, in which a vector runs along the values as they are stored.
#ifndef GOSSAMER_BLOCK_COLUMN_H
#define GOSSAMER_BLOCK_COLUMN_H

#include "kernels.h"

namespace gs {
namespace GS_SET {

// call.batch == 1; block.
template <class T> gs_status block_column(const gs_call& call);
extern template gs_status block_column<float>(const gs_call& call);
extern template gs_status block_column<double>(const gs_call& call);

}  // namespace GS_SET
}  // namespace gs

#endif
