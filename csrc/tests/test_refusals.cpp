// What must be refused is refused, with the right code, before any memory is touched.
#include "testing.h"

namespace {

struct Good {
  int32_t pointer[3] = {0, 2, 3};
  uint16_t columns[3] = {0, 3, 1};
  float values[3] = {1, 2, 3}, x[8] = {}, out[8] = {};
  gs_call call = {};

  Good() {
    call.w = {GS_CSR, GS_F32, 2, 4, 1, 0, 0, 0, 3, 3, 4, 2, values, pointer, columns, 0, nullptr};
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
  refuses(GS_SIZE, [](Good& g) { g.call.activation = GS_GELU_TANH + 1; });
  refuses(GS_OK, [](Good& g) { g.call.residual = {g.x, 2, 1}; });
  refuses(GS_SIZE, [](Good& g) { g.call.residual = {g.x, 1, 2}; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.narrow = GS_F64; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.dtype = GS_F64, g.call.w.narrow = GS_BF16; });
  refuses(GS_OK, [](Good& g) { g.call.w.narrow = GS_BF16; });
  refuses(GS_NULL, [](Good& g) { g.call.w.narrow = GS_I8; });
  refuses(GS_OK, [](Good& g) { g.call.w.narrow = GS_I8, g.call.w.scales = g.x; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.dtype = 2; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.col_bytes = 3; });
  refuses(GS_DTYPE, [](Good& g) { g.call.w.row_bytes = 2; });
  refuses(GS_LAYOUT, [](Good& g) { g.call.w.layout = kLayouts; });
  refuses(GS_INDEX, [](Good& g) { g.pointer[0] = 1; });
  refuses(GS_INDEX, [](Good& g) { g.pointer[2] = -1; });
  refuses(GS_ISA, [](Good& g) { g.call.isa = 17; });
  refuses(GS_OVERFLOW, [](Good& g) { g.call.x.batch_stride = INT64_MAX; });
  refuses(GS_OVERFLOW, [](Good& g) { g.call.out_stride = INT64_MAX; });
  refuses(GS_OK, [](Good& g) { g.call.batch = 0, g.call.x.data = g.call.out = nullptr; });
}

void matrices() {
  Good g;
  const gs_matrix fanin = {GS_FANIN, GS_F32, 4, 4, 2, 1, 0, 1, 2, 1, 2, 2, g.values, g.columns, g.columns, 0, nullptr};
  gs_matrix w = fanin;
  CHECK(gs_check_index(&w) == GS_OK);
  for (int64_t group : {0, 3, 24, 64}) {
    w = fanin, w.group = group, w.n_out = 192;
    CHECK(gs_check_index(&w) == GS_SIZE);
  }
  w = fanin, w.n_out = 5;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.n_rows = 3;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.per_row = 5;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = fanin, w.rows = nullptr;
  CHECK(gs_check_index(&w) == GS_NULL);
  const uint8_t offsets[2] = {0, 1};
  const gs_matrix nm = {GS_NM, GS_F32, 1, 4, 1, 1, 2, 0, 2, 2, 0, 1, g.values, nullptr, offsets, 0, nullptr};
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
  const gs_matrix block = {GS_BLOCK, GS_F32, 2, 4, 1, 0, 1, 0, 3, 3, 4, 2, g.values, g.pointer, g.columns, 0, nullptr};
  w = block;
  CHECK(gs_check_index(&w) == GS_OK);
  w = block, w.group = 2, w.n_out = 4, w.n_values = 5;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = block, w.group = 2, w.n_out = 5, w.n_values = 6;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = block, w.group = 33, w.n_out = 66;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = block, w.tile = 65, w.n_in = 130;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = block, w.tile = 0;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = block, w.tile = 3;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = block, w.rows = nullptr;
  CHECK(gs_check_index(&w) == GS_NULL);
  w = block, w.col_bytes = 1;
  CHECK(gs_check_index(&w) == GS_DTYPE);
  const int32_t starts[5] = {0, 1, 1, 2, 3};
  const gs_matrix bands = {GS_CSR_BANDS, GS_F32, 2, 4, 1, 0, 2, 0, 3, 3, 4, 1, g.values, starts, offsets, 0, nullptr};
  w = bands, w.tile = 0;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = bands, w.tile = 65537;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = bands, w.tile = 257;  // more than a byte counts
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = bands, w.row_bytes = 8;
  CHECK(gs_check_index(&w) == GS_DTYPE);
  w = bands, w.rows = nullptr;
  CHECK(gs_check_index(&w) == GS_NULL);
  w = bands, w.n_cols = 2;
  CHECK(gs_check_index(&w) == GS_SIZE);
  w = {GS_DENSE, GS_F32, INT32_MAX, INT32_MAX, 1, 0, 0, 0, INT64_MAX, 0, 0, 0, g.values, nullptr, nullptr, 0, nullptr};
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
  gs_matrix nm = {GS_NM, GS_F32, 1, 4, 1, 1, 2, 0, 2, 2, 0, 1, g.values, nullptr, bad, 0, nullptr};
  CHECK(gs_check_index(&nm) == GS_INDEX);
  int32_t starts[5] = {0, 1, 1, 2, 3};
  uint8_t places[3] = {1, 0, 1};
  const gs_matrix bands = {GS_CSR_BANDS, GS_F32, 2, 4, 1, 0, 2, 0, 3, 3, 4, 1, g.values, starts, places, 0, nullptr};
  CHECK(gs_check_index(&bands) == GS_OK);
  places[2] = 2;
  CHECK(gs_check_index(&bands) == GS_INDEX);  // beyond its band
  places[2] = 1, starts[2] = 2, starts[3] = 1;
  CHECK(gs_check_index(&bands) == GS_INDEX);  // not monotone
  gs_matrix block = {GS_BLOCK, GS_F32, 4, 4, 2, 0, 2, 0, 12, 3, 4, 2, g.values, g.pointer, g.columns, 0, nullptr};
  g.pointer[1] = 2, g.columns[1] = 1;
  CHECK(gs_check_index(&block) == GS_OK);
  g.columns[1] = 2;
  CHECK(gs_check_index(&block) == GS_INDEX);  // a block column out of range, though an input of that number exists
  const uint16_t rows[1] = {2};
  gs_matrix fanin = {GS_FANIN, GS_F32, 4, 4, 2, 1, 0, 1, 2, 1, 2, 2, g.values, rows, g.columns, 0, nullptr};
  CHECK(gs_check_index(&fanin) == GS_INDEX);
}

// A good transposed index of the good call, to spoil.
struct GoodTransposed : Good {
  int32_t starts[5] = {}, order[3] = {};
  uint16_t rows[3] = {};
  float room[3] = {};
  gs_transposed t = {};

  GoodTransposed() {
    CHECK(gs_transposed_size(&call.w, &t) == GS_OK);
    CHECK(t.block == 2 && t.n_starts == 5 && t.n_order == 3);
    t.starts = starts, t.rows = rows, t.order = order;
    CHECK(gs_transpose(&call.w, &t) == GS_OK);
  }
  gs_status product() { return gs_linear_grad_input_transposed(&call, &t, room); }
};

template <class Change> void refuses_transposed(gs_status making, gs_status product, Change change) {
  GoodTransposed good;
  change(good);
  CHECK(gs_transpose(&good.call.w, &good.t) == making);
  GoodTransposed other;
  change(other);
  CHECK(other.product() == product);
}

void transposed() {
  GoodTransposed good;
  CHECK(good.product() == GS_OK);
  CHECK(gs_transposed_size(nullptr, &good.t) == GS_NULL && gs_transposed_size(&good.call.w, nullptr) == GS_NULL);
  CHECK(gs_transpose(nullptr, &good.t) == GS_NULL && gs_transpose(&good.call.w, nullptr) == GS_NULL);
  CHECK(gs_linear_grad_input_transposed(nullptr, &good.t, good.room) == GS_NULL);
  CHECK(gs_linear_grad_input_transposed(&good.call, nullptr, good.room) == GS_NULL);
  CHECK(gs_linear_grad_input_transposed(&good.call, &good.t, nullptr) == GS_NULL);
  refuses_transposed(GS_SIZE, GS_SIZE, [](GoodTransposed& g) { g.t.block = 0; });
  refuses_transposed(GS_SIZE, GS_SIZE, [](GoodTransposed& g) { g.t.block = 65537; });
  refuses_transposed(GS_SIZE, GS_SIZE, [](GoodTransposed& g) { g.t.block = 1; });  // needs more starts
  refuses_transposed(GS_SIZE, GS_SIZE, [](GoodTransposed& g) { g.t.n_starts = 4; });
  refuses_transposed(GS_SIZE, GS_SIZE, [](GoodTransposed& g) { g.t.n_order = 2; });
  refuses_transposed(GS_SIZE, GS_SIZE, [](GoodTransposed& g) { g.pointer[2] = 2; });  // made for another topology
  refuses_transposed(GS_NULL, GS_NULL, [](GoodTransposed& g) { g.t.starts = nullptr; });
  refuses_transposed(GS_NULL, GS_NULL, [](GoodTransposed& g) { g.t.rows = nullptr; });
  refuses_transposed(GS_NULL, GS_NULL, [](GoodTransposed& g) { g.t.order = nullptr; });
  refuses_transposed(GS_LAYOUT, GS_LAYOUT, [](GoodTransposed& g) { g.call.w.layout = GS_DENSE; });
  refuses_transposed(GS_LAYOUT, GS_LAYOUT, [](GoodTransposed& g) { g.call.w.layout = GS_FANIN, g.call.w.group = 2; });
  refuses_transposed(GS_INDEX, GS_OK, [](GoodTransposed& g) { g.columns[0] = 4; });  // scanned when made, then not looked at
  refuses_transposed(GS_OK, GS_INDEX, [](GoodTransposed& g) { g.starts[4] = 2; });
  refuses_transposed(GS_OK, GS_ISA, [](GoodTransposed& g) { g.call.isa = 17; });
  refuses_transposed(GS_OK, GS_SIZE, [](GoodTransposed& g) { g.call.out_stride = 1; });
  refuses_transposed(GS_OK, GS_NULL, [](GoodTransposed& g) { g.call.w.values = nullptr; });
  refuses_transposed(GS_OK, GS_DTYPE, [](GoodTransposed& g) { g.call.w.narrow = GS_BF16; });
  gs_matrix vast = {GS_NM, GS_F32, INT32_MAX, 256, 1, 1, 256, 0, INT64_MAX, INT64_MAX, 0, 1, nullptr, nullptr, good.columns, 0, nullptr};
  CHECK(gs_transposed_size(&vast, &good.t) == GS_OK);
  vast.per_row = 2;
  CHECK(gs_transposed_size(&vast, &good.t) == GS_OVERFLOW);  // connections past 32 bits
}

void forward_only() {
  Good g;
  g.call.w = {GS_DENSE, GS_F32, 1, 3, 1, 0, 0, 0, 3, 0, 0, 0, g.values, nullptr, nullptr, 0, nullptr};
  CHECK(gs_linear(&g.call) == GS_OK);
  CHECK(gs_linear_grad_input(&g.call) == GS_LAYOUT);
  CHECK(gs_linear_grad_values(&g.call) == GS_LAYOUT);
  g.call.w.narrow = GS_BF16;
  CHECK(gs_linear(&g.call) == GS_OK);
  g.call.w.narrow = GS_I8;
  CHECK(gs_linear(&g.call) == GS_NULL);  // no scales
  Good csr;
  csr.call.w.narrow = GS_BF16;
  CHECK(gs_linear_grad_input(&csr.call) == GS_DTYPE);
  CHECK(gs_linear_grad_values(&csr.call) == GS_DTYPE);
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
  gs_transposed t = {};
  CHECK(gs_transposed_size(&call.w, &t) == GS_OK);
  std::vector<int32_t> starts(t.n_starts), order(t.n_order);
  std::vector<uint16_t> rows(t.n_order);
  t.starts = starts.data(), t.rows = rows.data(), t.order = order.data();
  CHECK(gs_transpose(&call.w, &t) == GS_OK);
  CHECK(gs_linear_grad_input_transposed(&call, &t, values.data()) == GS_THREADS);
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
  transposed();
  forward_only();
  threads();
  names();
}
