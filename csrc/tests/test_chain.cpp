// A chain gives the bits of its layers called one by one, in a workspace of exactly the stated size.
#include "testing.h"

namespace {

struct Net {
  std::vector<Layer> layers;
  std::vector<std::vector<float>> values, biases;
  std::vector<gs_layer> chain;

  explicit Net(std::mt19937& random) {
    layers.push_back(make_layer(random, GS_FANIN, 24, 40, 4, 6, 0, false));
    layers.push_back(make_layer(random, GS_NM_LANES, 17, 24, 1, 1, 8, false));
    layers.push_back(make_layer(random, GS_CSR, 30, 17, 1, 0, 0, true));
    layers.push_back(make_layer(random, GS_DENSE, 5, 30, 1, 0, 0, false));
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (Layer& layer : layers) {
      values.emplace_back(layer.row.size()), biases.emplace_back(layer.w.n_out);
      for (float& v : values.back()) v = uniform(random);
      for (float& v : biases.back()) v = uniform(random);
    }
    for (size_t i = 0; i < layers.size(); ++i) {
      layers[i].w.rows = layers[i].rows.data(), layers[i].w.cols = layers[i].cols.data();
      layers[i].w.values = values[i].data();
      chain.push_back({layers[i].w, biases[i].data(), i % 2 ? GS_RELU : GS_LEAKY_RELU, -0.25});
    }
  }
};

void agrees(Net& net, int isa, int batch) {
  std::vector<float> x(40 * batch), more(5 * (batch + 1));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  for (size_t i = 0; i < more.size(); ++i) more[i] = static_cast<float>(i % 5) - 2;
  const gs_panel none = {}, residual = {more.data(), batch + 1, 1};
  gs_panel step = {x.data(), 1, 40};
  std::vector<float> held, y;
  for (const gs_layer& layer : net.chain) {
    y.assign(layer.w.n_out * batch, 0);
    const bool last = &layer == &net.chain.back();
    gs_call call = {layer.w, isa, batch, step, {}, layer.bias, layer.activation, layer.slope, last ? residual : none,
                    y.data(), batch, nullptr};
    CHECK(gs_linear(&call) == GS_OK);
    held = y;
    step = {held.data(), batch, 1};
  }
  size_t bytes = 0;
  const int64_t n = static_cast<int64_t>(net.chain.size());
  CHECK(gs_chain_workspace(net.chain.data(), n, batch, &bytes) == GS_OK);
  Guarded<float> workspace(bytes / 4), out(5 * batch);
  gs_chain chain = {net.chain.data(), n, isa, batch, 1, 40, batch + 1, batch, workspace.data(), bytes, scattered_for};
  CHECK(gs_chain_forward(&chain, x.data(), more.data(), out.data()) == GS_OK);
  CHECK(workspace.intact() && out.intact());
  CHECK(batch == 0 || std::memcmp(out.data(), y.data(), y.size() * 4) == 0);
  if (!bytes) return;
  chain.workspace = nullptr;
  CHECK(gs_chain_forward(&chain, x.data(), nullptr, out.data()) == GS_NULL);
  chain.workspace = workspace.data(), chain.workspace_bytes = bytes - 1;
  CHECK(gs_chain_forward(&chain, x.data(), nullptr, out.data()) == GS_SIZE);
}

}  // namespace

void test_chain() {
  std::mt19937 random(2);
  Net net(random);
  for (int isa = 0; isa <= GS_ISA_NEON; ++isa)
    for (int batch : {0, 1, 3, 40})
      if (gs_isa_available(isa) == GS_OK) agrees(net, isa, batch);
  size_t bytes;
  CHECK(gs_chain_workspace(nullptr, 1, 1, &bytes) == GS_NULL);
  CHECK(gs_chain_workspace(net.chain.data(), 0, 1, &bytes) == GS_SIZE);
  CHECK(gs_chain_workspace(net.chain.data(), 1, 1, nullptr) == GS_NULL);
  CHECK(gs_chain_workspace(net.chain.data() + 1, 2, 1, &bytes) == GS_OK);
  std::vector<gs_layer> broken = {net.chain[0], net.chain[2]};
  CHECK(gs_chain_workspace(broken.data(), 2, 1, &bytes) == GS_SIZE);
  // what only the product itself would find is found before any is made
  broken = {net.chain[0], net.chain[1]};
  broken[1].w.layout = -1;
  CHECK(gs_chain_workspace(broken.data(), 2, 1, &bytes) == GS_LAYOUT);
  std::vector<float> x(40), room(24), out(17, 7.0f);
  gs_chain chain = {broken.data(), 2, GS_ISA_AUTO, 1, 1, 40, 0, 1, room.data(), 24 * sizeof(float), nullptr};
  CHECK(gs_chain_forward(&chain, x.data(), nullptr, out.data()) == GS_LAYOUT);
  CHECK(gs_chain_forward(&chain, nullptr, nullptr, out.data()) == GS_NULL);
  CHECK(gs_chain_forward(nullptr, x.data(), nullptr, out.data()) == GS_NULL);
  for (float value : out) CHECK(value == 7.0f);
}
