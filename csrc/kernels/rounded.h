// Products of inputs that are rounded to int8 (quantize.h): a few batch columns at a time become steps, and a kernel adds up
// their products with blocks of rows, which are exact integers.
#ifndef GOSSAMER_ROUNDED_H
#define GOSSAMER_ROUNDED_H

#include "epilogue.h"
#include "items.h"
#include "quantize.h"

// Of functions that need more than the 512-bit set: VNNI, VBMI, VBMI2. They run where gs_has_byte_products says so.
#define GS_BYTE_PRODUCTS __attribute__((target("avx512vnni,avx512vbmi,avx512vbmi2")))

namespace gs {
namespace GS_SET {

constexpr int64_t kColumns = 4;  // batch columns that share what is read of the weight

// The steps of up to kColumns batch columns, `stride` bytes apart, and what one stands for in each.
struct Steps {
  int8_t* q;
  int64_t stride;
  float size[kColumns];
  bool shifted;  // q is 128 larger than it is
  int8_t* room;  // kColumns * stride bytes for the kernel
};

// Outputs of the neurons from `row` on, N where there are as many, for one batch column.
template <int N> GS_INLINE void finish_integers(const gs_call& call, int64_t row, int64_t column, const int32_t* sum, float step) {
  float y[N];
  for (int i = 0; i < N; ++i) y[i] = static_cast<float>(sum[i]) * step;
  if (call.w.n_out - row >= N) finish_column<float>(call, row, N, column, y);
  else finish_column<float>(call, row, call.w.n_out - row, column, y);
}

// Rounds `columns` batch columns from `first` on. What lies past the inputs is 0.
GS_INLINE void round_columns(const gs_call& call, int64_t first, int64_t columns, float* room, Steps& steps) {
  const int64_t n_in = call.w.n_in;
  for (int64_t c = 0; c < columns; ++c) {
    int8_t* column = steps.q + c * steps.stride;
    steps.size[c] = quantize(column_at<float>(call.x, first + c, n_in, room), n_in, column);
    __builtin_memset(column + n_in, 0, steps.stride - n_in);
    if (steps.shifted)
      for (int64_t i = 0; i < n_in; ++i) column[i] = static_cast<int8_t>(column[i] ^ 0x80);
  }
}

// Calls blocks(C, steps, column, b0, b1) with C, a Number, batch columns from `column` on, and blocks b0 .. b1 of `count`. A
// kernel may read 64 steps behind the inputs. cost: of a block with all columns, in multiply-adds.
template <class Blocks>
GS_INLINE gs_status rounded(const gs_call& call, int64_t count, int64_t cost, bool shifted, const Blocks& blocks) {
  const int64_t n_in = call.w.n_in, stride = ceil_div(n_in, 64) * 64 + 64;
  const auto items = [&](int64_t begin, int64_t end) {
    int8_t* q = static_cast<int8_t*>(gs_scratch(2 * kColumns * stride));
    if (!q) return GS_MEMORY;
    Steps steps = {q, stride, {}, shifted, q + kColumns * stride};
    while (begin < end) {
      const int64_t first = begin / count * kColumns, columns = least(kColumns, call.batch - first);
      const int64_t b0 = begin % count, b1 = least(count, b0 + (end - begin));
      round_columns(call, first, columns, reinterpret_cast<float*>(steps.room), steps);
      switch (columns) {
        case 1: blocks(Number<1>{}, steps, first, b0, b1); break;
        case 2: blocks(Number<2>{}, steps, first, b0, b1); break;
        case 3: blocks(Number<3>{}, steps, first, b0, b1); break;
        default: blocks(Number<4>{}, steps, first, b0, b1);
      }
      begin += b1 - b0;
    }
    return GS_OK;
  };
  return for_items(call, ceil_div(call.batch, kColumns) * count, cost, items);
}

}  // namespace GS_SET
}  // namespace gs

#endif
