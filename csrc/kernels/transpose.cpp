// Builds a transposed index: a counting sort of the connections by (block of rows, column), which keeps rows in order.
#include "kernels.h"
#include "rows.h"

namespace gs {
namespace GS_SET {
namespace {

// Calls use(r, position, column) for every connection, row by row.
template <class F> GS_INLINE void each_connection(const gs_matrix& w, F use) {
  int64_t active = 0;
  for (int64_t r = 0; r < w.n_out; ++r) {
    const Row row = row_at(w, r, active);
    with_columns(w, row, 0, row.count, [&](const auto* col, int64_t from, int64_t n) {
      for (int64_t j = 0; j < n; ++j) use(r, row.first + from + j, col[j]);
    });
  }
}

}  // namespace

void transpose(const gs_matrix* w, const gs_transposed* t) {
  int32_t* starts = t->starts;
  const int64_t last = t->n_starts - 1;
  for (int64_t k = 0; k <= last; ++k) starts[k] = 0;
  each_connection(*w, [&](int64_t r, int64_t, int64_t column) { ++starts[r / t->block * w->n_in + column + 1]; });
  for (int64_t k = 0; k < last; ++k) starts[k + 1] += starts[k];
  each_connection(*w, [&](int64_t r, int64_t position, int64_t column) {
    const int32_t to = starts[r / t->block * w->n_in + column]++;
    t->rows[to] = static_cast<uint16_t>(r % t->block);
    t->order[to] = static_cast<int32_t>(position);
  });
  for (int64_t k = last; k > 0; --k) starts[k] = starts[k - 1];  // each had moved on to the start of the next
  starts[0] = 0;
}

}  // namespace GS_SET
}  // namespace gs
