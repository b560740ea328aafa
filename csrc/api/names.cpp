// What this library says about itself.
#include <string.h>

#include "isa.h"

namespace {

constexpr int kIsas = 4, kLength = 64;
char names[2 * kIsas * kOperations * kLayouts * kValueTypes][kLength];  // of products and of convolutions
int32_t count = -1;

const char* const kOperationNames[kOperations] = {"linear", "linear_grad_input", "linear_grad_values"};
const char* const kConvolutionNames[kOperations] = {"conv", "conv_grad_input", "conv_grad_values"};
const char* const kLayoutNames[] = {"csr", "fanin", "nm", "nm_lanes", "dense", "block", "csr_bands", "nm_bytes", "tiles", "shared_tiles", "csr_halves", "bitmask",
                                    "nm_nibbles", "nm_nibble_bytes", "tile_bytes", "shared_tile_bytes", "bitmask_bytes", "fanin_bytes", "window_bytes"};
static_assert(sizeof kLayoutNames / sizeof *kLayoutNames == kLayouts, "one name a layout");
const char* const kTypeNames[kValueTypes] = {"float32", "float64", "float32-bfloat16", "float32-int8", "float32-float16"};

void append(char* out, const char* a) { strncat(out, a, kLength - strlen(out) - 1); }

void name(int32_t n, const char* operation, int layout, int type, int isa) {
  char* out = names[n];
  out[0] = 0;
  append(out, operation), append(out, ":"), append(out, kLayoutNames[layout]), append(out, ":");
  append(out, kTypeNames[type]), append(out, ":"), append(out, gs_isa_name(isa));
}

// Fills the table once; the result is the same whoever does it.
int32_t fill() {
  int32_t n = 0;
  for (int isa = 0; isa < kIsas; ++isa) {
    const gs_kernels* kernels = gs_kernels_for(isa);
    for (int i = 0; kernels && i < kOperations * kLayouts * kValueTypes; ++i) {
      const int type = i % kValueTypes, layout = i / kValueTypes % kLayouts, operation = i / kValueTypes / kLayouts;
      if (kernels->products[operation][layout][type]) name(n++, kOperationNames[operation], layout, type, isa);
      if (type <= GS_F64 && kernels->products[GS_OP_GRAD_VALUES][layout][type]) name(n++, kConvolutionNames[operation], layout, type, isa);
    }
  }
  return n;
}

}  // namespace

extern "C" {

int32_t gs_kernel_count(void) {
  if (__atomic_load_n(&count, __ATOMIC_ACQUIRE) < 0) __atomic_store_n(&count, fill(), __ATOMIC_RELEASE);
  return count;
}

const char* gs_kernel_name(int32_t i) { return i < 0 || i >= gs_kernel_count() ? nullptr : names[i]; }

int32_t gs_abi_version(void) { return GS_ABI_VERSION; }

const char* gs_status_text(gs_status status) {
  switch (status) {
    case GS_OK: return "no error";
    case GS_NULL: return "a needed pointer is null";
    case GS_SIZE: return "a size, stride or length does not fit the others";
    case GS_LAYOUT: return "unknown layout, or the operation is not defined on it";
    case GS_DTYPE: return "element or index type not available for this layout";
    case GS_ISA: return "instruction set not compiled in, or not supported by this processor";
    case GS_MEMORY: return "scratch memory could not be had";
    case GS_INDEX: return "an index is out of range, not ascending, or row pointers are not monotone";
    case GS_OVERFLOW: return "a product of sizes does not fit";
    case GS_THREADS: return "the parallel_for that was passed in reported an error";
    case GS_NOT_FINITE: return "a score is NaN or infinite";
  }
  return "unknown status";
}

}
