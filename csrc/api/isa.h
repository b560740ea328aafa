// Which instruction sets are compiled in and run here.
#ifndef GOSSAMER_ISA_H
#define GOSSAMER_ISA_H

#include "kernels.h"

// The kernels of a gs_isa_id (GS_ISA_AUTO: the best), or null where it is not compiled in or does not run here.
const gs_kernels* gs_kernels_for(int64_t isa);

#endif
