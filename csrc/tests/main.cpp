#include "testing.h"

int failures = 0;

int32_t scattered_for(int64_t begin, int64_t end, int64_t grain, void (*task)(int64_t, int64_t, void*), void* ctx) {
  for (int64_t first : {1, 0})
    for (int64_t i = begin + first * grain; i < end; i += 2 * grain) task(i, i + grain < end ? i + grain : end, ctx);
  return 0;
}

int32_t failing_for(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void*), void*) { return 1; }

int main() {
  test_activate();
  test_numbers();
  test_products();
  test_refusals();
  test_chain();
  test_growth();
  test_bytes();
  test_dense();
  test_dropout();
  test_gather();
  test_halves();
  test_plan();
  test_conv();
  test_conv_bytes();
  test_recurrent();
  test_tiles();
  test_byte_tiles();
  test_mixed();
  test_kernels();
  std::printf("%d kernels, best set %s, %d failures\n", gs_kernel_count(), gs_isa_name(gs_isa()), failures);
  return failures ? 1 : 0;
}
