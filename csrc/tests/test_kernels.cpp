// kernels.inc as a whole: every row was compared with a reference in every set, and the library names it.
#include <set>
#include <string>

#include "testing.h"

namespace {

bool seen[GS_ISA_NEON + 1][kOperations][kLayouts][kValueTypes];

template <class Use> void each_product(Use use) {
  for (const gs_row& row : kRows)
    for (int layout = 0; layout < kLayouts; ++layout)
      for (int type = 0; type < kValueTypes; ++type)
        if (row.layouts >> layout & row.types >> type & 1) use(row.operation, layout, type);
}

}  // namespace

bool has(gs_operation operation, int64_t layout, int64_t type) {
  bool found = false;
  each_product([&](gs_operation o, int64_t l, int64_t t) { found = found || (o == operation && l == layout && t == type); });
  return found;
}

void compared(gs_operation operation, const gs_call& call) {
  seen[call.isa][operation][call.w.layout][call.w.narrow ? call.w.narrow : call.w.dtype] = true;
}

void test_kernels() {
  int32_t count = 0;
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa) {
    if (gs_isa_available(isa) != GS_OK) continue;
    each_product([&](gs_operation operation, int layout, int type) {
      ++count;
      if (!seen[isa][operation][layout][type])
        std::printf("not compared: operation %d, layout %d, type %d, %s\n", operation, layout, type, gs_isa_name(isa)), ++failures;
    });
    for (int layout = 0; layout < kLayouts; ++layout)  // convolutions: three products of two types, all compared in test_conv
      count += has(GS_OP_GRAD_VALUES, layout, GS_F32) ? 6 : 0;
  }
  CHECK(gs_kernel_count() == count);
  CHECK(!gs_kernel_name(-1) && !gs_kernel_name(count));
  std::set<std::string> names;
  for (int32_t i = 0; i < count; ++i) names.insert(gs_kernel_name(i));
  CHECK(static_cast<int32_t>(names.size()) == count);
  const std::string best = gs_isa_name(gs_isa());
  for (const char* name : {"linear:csr:float32:", "linear:nm:float64:", "linear_grad_input:fanin:float64:", "linear_grad_values:block:float32:",
                           "linear:nm_lanes:float32-bfloat16:", "linear:nm_bytes:float32-int8:", "linear:fanin_bytes:float32-int8:", "linear:tiles:float32-bfloat16:", "linear:shared_tiles:float32-bfloat16:", "linear:nm_nibbles:float32:", "linear:bitmask:float32-bfloat16:", "linear:bitmask_bytes:float32-int8:", "linear:window_bytes:float32-int8:", "linear:nm_nibble_bytes:float32-int8:", "linear:tile_bytes:float32-int8:", "linear:shared_tile_bytes:float32-int8:", "linear:dense:float32:", "linear:csr_bands:float64:", "linear:csr_halves:float32-float16:", "conv:csr:float32:",
                           "conv_grad_input:block:float64:", "conv_grad_values:fanin:float32:"})
    CHECK(names.count(name + best) == 1);
  for (const char* name : {"linear_grad_input:dense:float32:", "linear:nm_lanes:float64:", "linear:nm_bytes:float32:", "linear:csr_halves:float32:", "linear:csr:float32-float16:", "linear_grad_values:csr:float32-int8:",
                           "conv:dense:float32:", "conv:csr:float32-int8:"})
    CHECK(names.count(name + best) == 0);
}
