// What this library says about itself.
#include <string.h>

#include "isa.h"

namespace {

constexpr int kIsas = 4, kPerIsa = 48, kLength = 64;
char names[kIsas * kPerIsa][kLength];
int32_t count = -1;

void append(char* out, const char* a) { strncat(out, a, kLength - strlen(out) - 1); }

void add(int32_t* n, const char* op, const char* layout, const gs_kernel* entry, const char* isa) {
  static const char* const dtypes[kValueTypes] = {":float32:", ":float64:", ":float32-bfloat16:", ":float32-int8:"};
  for (int d = 0; d < kValueTypes; ++d) {
    if (!entry[d]) continue;
    char* out = names[(*n)++];
    out[0] = 0;
    append(out, op), append(out, ":"), append(out, layout), append(out, dtypes[d]), append(out, isa);
  }
}

// Fills the table once; the result is the same whoever does it.
int32_t fill() {
  static const char* const trained[] = {"csr", "fanin", "nm"};
  int32_t n = 0;
  for (int32_t isa = 0; isa < kIsas; ++isa) {
    const gs_kernels* k = gs_kernels_for(isa);
    if (!k) continue;
    const char* name = gs_isa_name(isa);
    for (const char* layout : trained) {
      add(&n, "linear", layout, k->linear, name);
      add(&n, "linear_grad_input", layout, k->grad_input, name);
      add(&n, "linear_grad_values", layout, k->grad_values, name);
    }
    add(&n, "linear", "nm_lanes", k->lanes, name);
    add(&n, "linear", "nm_bytes", k->nm_bytes, name);
    add(&n, "linear", "dense", k->dense, name);
    add(&n, "linear", "csr_bands", k->bands, name);
    add(&n, "linear", "block", k->block_linear, name);
    add(&n, "linear_grad_input", "block", k->block_grad_input, name);
    add(&n, "linear_grad_values", "block", k->block_grad_values, name);
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
