// What must be refused is refused, with the right code, before any memory is touched.
#include "testing.h"

namespace {

struct Good {
  int32_t pointer[3] = {0, 2, 3};
  uint16_t columns[3] = {0, 3, 1};
  float values[3] = {1, 2, 3}, x[8] = {}, out[8] = {};
  gs_call call = {};

  Good() {
    call.w = {GS_CSR, GS_F32, 2, 4, 1, 0, 0, 0, 3, 3, 4, 2, values, pointer, columns};
    call.isa = GS_ISA_AUTO, call.batch = 2;
    call.x = {x, 1, 4}, call.grad = {x, 1, 2}, call.out = out, call.out_stride = 2;
  }
};

template <class Change> void refuses(gs_status expected, Change change) {
  Good good;
  change(good);
  CHECK(gs_linear(&good.call) == expected);
}

void calls() {
  refuses(GS_OK, [](Good&) {});
  CHECK(gs_linear(nullptr) == GS_NULL);
  refuses(GS_NULL, [](Good& g) { g.call.x.data = nullptr; });
  refuses(GS_NULL, [](Good& g) { g.call.out = nullptr; });
  refuses(GS_NULL, [](Good& g) { g.call.w.values = nullptr; });
  refuses(GS_NULL, [](Good& g) { g.call.w.rows = nullptr; });
  refuses(GS_NULL, [](Good& g) { g.call.w.cols = nullptr; });
  refuses(GS_SIZE, [](Good& g) { g.call.batch = -1; });
  refuses(GS_SIZE, [](Good& g) { g.call.out_stride = 1; });
  refuses(GS_SIZE, [](Good& g) { g.call.x.feature_stride = 2; });
  refuses(GS_SIZE, [](Good& g) { g.call.x.batch_stride = -4; });
  refuses(GS_SIZE, [](Good& g) { g.call.w.n_values = 2; });
  refuses(GS_SIZE, [](Good& g) { g.call.w.n_cols = 2; });
  refuses(GS_SIZE, [](Good& g) { g.call.w.group = 2; });
  refuses(GS_SIZE, [](Good& g) { g.call.w.n_out = -1; });
  refuses(GS_SIZE, [](Good& g) { g.call.w.n_in = int64_t(1) << 31; });
  refuses(GS_SIZE, [](Good& g) { g.call.activation = 7; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.dtype = 2; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.col_bytes = 3; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.row_bytes = 2; });
  refuses(GS_LAYOUT, [](Good& g) { g.call.w.layout = 9; });
  refuses(GS_INDEX, [](Good& g) { g.pointer[0] = 1; });
  refuses(GS_INDEX, [](Good& g) { g.pointer[2] = -1; });
  refuses(GS_ISA, [](Good& g) { g.call.isa = 17; });
  refuses(GS_OVERFLOW, [](Good& g) { g.call.x.batch_stride = INT64_MAX; });
  refuses(GS_OVERFLOW, [](Good& g) { g.call.out_stride = INT64_MAX; });
  refuses(GS_OK, [](Good& g) { g.call.batch = 0, g.call.x.data = g.call.out = nullptr; });
}

void matrices() {
  Good g;
  const gs_matrix fanin = {GS_FANIN, GS_F32, 4, 4, 2, 1, 0, 1, 2, 1, 2, 2, g.values, g.columns, g.columns};
  gs_matrix w = fanin;
  CHECK(gs_check_index(&w) == GS_OK);
  w = fanin, w.group = 3;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.n_out = 5;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.n_rows = 3;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.per_row = 5;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.rows = nullptr;
  CHECK(gs_check_index(&w) == GS_NULL);
  const uint8_t offsets[2] = {0, 1};
  const gs_matrix nm = {GS_NM, GS_F32, 1, 4, 1, 1, 2, 0, 2, 2, 0, 1, g.values, nullptr, offsets};
  w = nm;
  CHECK(gs_check_index(&w) == GS_OK);
  w = nm, w.tile = 3;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = nm, w.tile = 257;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = nm, w.per_row = 3;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = nm, w.layout = GS_NM_LANES, w.dtype = GS_F64, w.n_values = w.n_cols = 16;
  CHECK(gs_check_index(&w) == GS_DTYPE);
  w = {GS_DENSE, GS_F32, INT32_MAX, INT32_MAX, 1, 0, 0, 0, INT64_MAX, 0, 0, 0, g.values, nullptr, nullptr};
  CHECK(gs_check_index(&w) == GS_OVERFLOW);
}

void indices() {
  Good g;
  CHECK(gs_check_index(&g.call.w) == GS_OK);
  CHECK(gs_check_index(nullptr) == GS_NULL);
  g.columns[1] = 4;
  CHECK(gs_check_index(&g.call.w) == GS_INDEX);  // out of range
  g.columns[1] = 0;
  CHECK(gs_check_index(&g.call.w) == GS_INDEX);  // not ascending
  g.columns[1] = 3, g.pointer[1] = 4;
  CHECK(gs_check_index(&g.call.w) == GS_INDEX);  // a row beyond the last
  g.pointer[1] = -1;
  CHECK(gs_check_index(&g.call.w) == GS_INDEX);
  const uint8_t bad[2] = {0, 2};
  gs_matrix nm = {GS_NM, GS_F32, 1, 4, 1, 1, 2, 0, 2, 2, 0, 1, g.values, nullptr, bad};
  CHECK(gs_check_index(&nm) == GS_INDEX);
  const uint16_t rows[1] = {2};
  gs_matrix fanin = {GS_FANIN, GS_F32, 4, 4, 2, 1, 0, 1, 2, 1, 2, 2, g.values, rows, g.columns};
  CHECK(gs_check_index(&fanin) == GS_INDEX);
}

void forward_only() {
  Good g;
  g.call.w = {GS_DENSE, GS_F32, 1, 3, 1, 0, 0, 0, 3, 0, 0, 0, g.values, nullptr, nullptr};
  CHECK(gs_linear(&g.call) == GS_OK);
  CHECK(gs_linear_grad_input(&g.call) == GS_LAYOUT);
  CHECK(gs_linear_grad_values(&g.call) == GS_LAYOUT);
}

// The caller's pool failed: said so, whatever the product. Enough work that the pool is asked.
void threads() {
  std::mt19937 random(3);
  const Layer layer = make_layer(random, GS_FANIN, 512, 600, 1, 300, 0, false);
  std::vector<float> values(layer.row.size()), x(600 * 64), out(values.size());
  gs_call call = {};
  call.w = layer.w, call.w.rows = layer.rows.data(), call.w.cols = layer.cols.data(), call.w.values = values.data();
  call.isa = GS_ISA_AUTO, call.batch = 64, call.x = {x.data(), 64, 1}, call.grad = {x.data(), 64, 1};
  call.out = out.data(), call.out_stride = 64, call.parallel = failing_for;
  CHECK(gs_linear(&call) == GS_THREADS);
  CHECK(gs_linear_grad_input(&call) == GS_THREADS);
  CHECK(gs_linear_grad_values(&call) == GS_THREADS);
}

void names() {
  CHECK(gs_abi_version() == GS_ABI_VERSION);
  CHECK(gs_isa_available(gs_isa()) == GS_OK && gs_isa_available(99) == GS_ISA);
  CHECK(gs_isa_name(-1) == nullptr && gs_isa_name(99) == nullptr);
  CHECK(gs_kernel_count() >= 20 && gs_kernel_name(-1) == nullptr && gs_kernel_name(gs_kernel_count()) == nullptr);
  for (int32_t i = 0; i < gs_kernel_count(); ++i)
    for (int32_t j = 0; j < i; ++j) CHECK(std::strcmp(gs_kernel_name(i), gs_kernel_name(j)) != 0);
  for (int status = GS_OK; status <= GS_NOT_FINITE + 1; ++status) CHECK(gs_status_text(static_cast<gs_status>(status)) != nullptr);
}

}  // namespace

void test_refusals() {
  calls();
  matrices();
  indices();
  forward_only();
  threads();
  names();
}
