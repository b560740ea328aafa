#include <algorithm>

#include "testing.h"

namespace {

template <class I> void put(std::vector<unsigned char>& bytes, int64_t value) {
  const I narrow = static_cast<I>(value);
  const auto* p = reinterpret_cast<const unsigned char*>(&narrow);
  bytes.insert(bytes.end(), p, p + sizeof(I));
}

void put_column(Layer& layer, int64_t value) {
  if (layer.w.col_bytes == 1) put<uint8_t>(layer.cols, value);
  else if (layer.w.col_bytes == 2) put<uint16_t>(layer.cols, value);
  else put<int32_t>(layer.cols, value);
  ++layer.w.n_cols;
}

void put_row(Layer& layer, int64_t value) {
  if (layer.w.row_bytes == 2) put<uint16_t>(layer.rows, value);
  else if (layer.w.row_bytes == 4) put<int32_t>(layer.rows, value);
  else put<int64_t>(layer.rows, value);
}

std::vector<int> choose(std::mt19937& random, int from, int count) {
  std::vector<int> all(from);
  for (int i = 0; i < from; ++i) all[i] = i;
  std::shuffle(all.begin(), all.end(), random);
  all.resize(count);
  std::sort(all.begin(), all.end());
  return all;
}

void fill_csr(std::mt19937& random, Layer& layer) {
  const int n_in = static_cast<int>(layer.w.n_in);
  put_row(layer, 0);
  for (int r = 0; r < layer.w.n_out; ++r) {
    const int count = r % 4 == 1 ? 0 : r % 4 == 3 ? n_in : static_cast<int>(random() % (n_in + 1)) / 3;
    for (int c : choose(random, n_in, count)) {
      put_column(layer, c);
      layer.row.push_back(r), layer.column.push_back(c);
    }
    put_row(layer, static_cast<int64_t>(layer.row.size()));
  }
}

void fill_fanin(std::mt19937& random, Layer& layer, int k) {
  layer.w.per_row = k;
  for (int64_t r = 0; r < layer.w.n_out / layer.w.group; ++r) {
    if (r % 3 == 2) continue;
    put_row(layer, r);
    ++layer.w.n_rows;
    for (int c : choose(random, static_cast<int>(layer.w.n_in), k)) {
      put_column(layer, c);
      for (int g = 0; g < layer.w.group; ++g) layer.row.push_back(r * layer.w.group + g), layer.column.push_back(c);
    }
  }
}

void fill_nm(std::mt19937& random, Layer& layer, int n, int m) {
  layer.w.per_row = n, layer.w.tile = m;
  const int lanes = layer.w.layout == GS_NM ? 1 : 8;
  for (int64_t block = 0; block * lanes < layer.w.n_out; ++block)
    for (int64_t t = 0; t < layer.w.n_in / m; ++t) {
      std::vector<std::vector<int>> picks;
      for (int lane = 0; lane < lanes; ++lane) picks.push_back(choose(random, m, n));
      for (int q = 0; q < n; ++q)
        for (int lane = 0; lane < lanes; ++lane) {
          put_column(layer, picks[lane][q]);
          layer.row.push_back(block * lanes + lane), layer.column.push_back(t * m + picks[lane][q]);
        }
    }
}

// Layouts of neurons and tiles side by side: 16 neurons, `side` tiles. A place takes a byte, or with `together` > 1 a nibble.
void fill_side_by_side(std::mt19937& random, Layer& layer, int n, int m) {
  const bool bytes = layer.w.layout == GS_NM_BYTES;
  const int64_t side = bytes ? 2 : layer.w.layout == GS_NM_NIBBLES ? 1 : 4, together = bytes ? 1 : 8 / side;
  const int64_t tiles = layer.w.n_in / m, steps = (tiles + side - 1) / side * n, lanes = 16 * side;
  layer.w.per_row = n, layer.w.tile = m;
  for (int64_t block = 0; block * 16 < layer.w.n_out; ++block) {
    std::vector<unsigned char> cols((steps + together - 1) / together * (bytes ? 32 : 64));
    for (int64_t at = 0; at < steps * lanes; ++at) {
      const int64_t step = at / lanes, lane = at % lanes, row = block * 16 + lane / side, tile = step / n * side + lane % side;
      const bool there = row < layer.w.n_out && tile < tiles;
      const int place = there ? static_cast<int>(random() % m) : 0;
      layer.row.push_back(there ? row : layer.w.n_out), layer.column.push_back(there ? tile * m + place : 0);
      if (bytes) cols[at] = static_cast<unsigned char>(place + lane % side * m);
      else cols[step / together * 64 + lane * together / 2 + step % together / 2] |= static_cast<unsigned char>(place << step % 2 * 4);
    }
    layer.cols.insert(layer.cols.end(), cols.begin(), cols.end());
  }
  layer.w.n_cols = static_cast<int64_t>(layer.cols.size());
}

void fill_bitmask(std::mt19937& random, Layer& layer) {
  const int n_in = static_cast<int>(layer.w.n_in);
  put_row(layer, 0);
  for (int r = 0; r < layer.w.n_out; ++r) {
    std::vector<unsigned char> mask((n_in + 63) / 64 * 8);
    const int count = r % 4 == 1 ? 0 : r % 4 == 3 ? n_in : static_cast<int>(random() % (n_in + 1));
    for (int c : choose(random, n_in, count)) {
      mask[c / 8] |= static_cast<unsigned char>(1 << c % 8);
      layer.row.push_back(r), layer.column.push_back(c);
    }
    layer.cols.insert(layer.cols.end(), mask.begin(), mask.end());
    put_row(layer, static_cast<int64_t>(layer.row.size()));
  }
  layer.w.n_cols = static_cast<int64_t>(layer.cols.size());
}

void fill_windows(std::mt19937& random, Layer& layer) {
  const int n_in = static_cast<int>(layer.w.n_in), n_out = static_cast<int>(layer.w.n_out);
  int64_t steps = 0;
  put_row(layer, 0);
  for (int block = 0; block < n_out; block += 16)
    for (int first = 0; first < n_in; first += 64) {
      const int inputs = n_in - first < 64 ? n_in - first : 64;
      std::vector<std::vector<int>> picks(16);
      size_t most = 0;
      for (int n = 0; n < 16 && block + n < n_out; ++n) {
        picks[n] = choose(random, inputs, n % 4 == 1 ? 0 : n % 4 == 3 ? inputs : static_cast<int>(random() % (inputs + 1)));
        most = picks[n].size() > most ? picks[n].size() : most;
      }
      for (size_t at = 0; at < (most + 3) / 4 * 64; ++at) {
        const size_t n = at % 64 / 4, j = at / 64 * 4 + at % 4;
        const bool there = j < picks[n].size();
        layer.cols.push_back(static_cast<unsigned char>(there ? picks[n][j] : 255));
        layer.row.push_back(there ? block + static_cast<int>(n) : n_out), layer.column.push_back(there ? first + picks[n][j] : 0);
      }
      put_row(layer, steps += static_cast<int64_t>((most + 3) / 4));
    }
  layer.w.n_cols = static_cast<int64_t>(layer.cols.size());
}

void fill_bands(std::mt19937& random, Layer& layer, int band) {
  layer.w.tile = band, layer.w.row_bytes = 4;
  put_row(layer, 0);
  for (int64_t first = 0; first < layer.w.n_in; first += band)
    for (int r = 0; r < layer.w.n_out; ++r) {
      const int size = static_cast<int>(std::min<int64_t>(band, layer.w.n_in - first));
      const int count = r % 4 == 1 ? 0 : r % 4 == 3 ? size : static_cast<int>(random() % (size + 1)) / 3;
      for (int c : choose(random, size, count)) {
        put_column(layer, c);
        layer.row.push_back(r), layer.column.push_back(first + c);
      }
      put_row(layer, static_cast<int64_t>(layer.row.size()));
    }
}

void fill_block(std::mt19937& random, Layer& layer, int h, int w) {
  layer.w.group = h, layer.w.tile = w;
  const int columns = static_cast<int>(layer.w.n_in) / w;
  put_row(layer, 0);
  for (int64_t r = 0; r < layer.w.n_out / h; ++r) {
    const int count = r % 4 == 1 ? 0 : r % 4 == 3 ? columns : static_cast<int>(random() % (columns + 1));
    for (int block : choose(random, columns, count)) {
      put_column(layer, block);
      for (int m = 0; m < h * w; ++m) layer.row.push_back(r * h + m / w), layer.column.push_back(block * w + m % w);
    }
    put_row(layer, layer.w.n_cols);
  }
}

void fill_dense(Layer& layer) {
  for (int64_t r = 0; r < layer.w.n_out; ++r)
    for (int64_t c = 0; c < layer.w.n_in; ++c) layer.row.push_back(r), layer.column.push_back(c);
}

}  // namespace

Layer make_layer(std::mt19937& random, int layout, int n_out, int n_in, int group, int n, int m, bool wide) {
  Layer layer = {};
  layer.w.layout = layout, layer.w.n_out = n_out, layer.w.n_in = n_in, layer.w.group = group;
  const bool tiled = layout == GS_NM || layout == GS_NM_LANES;
  const bool bands = layout == GS_CSR_BANDS;
  const bool beside = layout == GS_NM_BYTES || layout == GS_NM_NIBBLES || layout == GS_NM_NIBBLE_BYTES;
  const bool masked = layout == GS_BITMASK || layout == GS_BITMASK_BYTES, windows = layout == GS_WINDOW_BYTES;
  layer.w.col_bytes = layout == GS_DENSE ? 0 : tiled || beside || masked || windows ? 1 : bands ? (wide ? 2 : 1) : wide ? 4 : 2;
  layer.w.row_bytes = windows ? 4 : layout == GS_CSR || layout == GS_BLOCK || masked ? (wide ? 8 : 4) : layout == GS_FANIN ? (wide ? 4 : 2) : 0;
  if (layout == GS_CSR) fill_csr(random, layer);
  if (bands) fill_bands(random, layer, m);
  if (layout == GS_FANIN) fill_fanin(random, layer, n);
  if (tiled) fill_nm(random, layer, n, m);
  if (masked) fill_bitmask(random, layer);
  if (windows) fill_windows(random, layer);
  if (beside) fill_side_by_side(random, layer, n, m);
  if (layout == GS_DENSE) fill_dense(layer);
  if (layout == GS_BLOCK) fill_block(random, layer, n, m);
  layer.w.n_values = static_cast<int64_t>(layer.row.size());
  layer.w.rows = layer.rows.data(), layer.w.cols = layer.cols.data();
  return layer;
}

std::vector<double> reference_linear(const Layer& layer, const std::vector<double>& values, const std::vector<double>& x,
                                     const std::vector<double>& bias, int batch) {
  std::vector<double> y(layer.w.n_out * batch);
  for (size_t i = 0; i < y.size(); ++i) y[i] = bias.empty() ? 0 : bias[i / batch];
  for (size_t i = 0; i < layer.row.size(); ++i)
    for (int b = 0; b < batch && layer.row[i] < layer.w.n_out; ++b)
      y[layer.row[i] * batch + b] += values[i] * x[layer.column[i] * batch + b];
  return y;
}

std::vector<double> reference_grad_input(const Layer& layer, const std::vector<double>& values,
                                         const std::vector<double>& grad, int batch) {
  std::vector<double> dx(layer.w.n_in * batch);
  for (size_t i = 0; i < layer.row.size(); ++i)
    for (int b = 0; b < batch; ++b) dx[layer.column[i] * batch + b] += values[i] * grad[layer.row[i] * batch + b];
  return dx;
}

std::vector<double> reference_grad_values(const Layer& layer, const std::vector<double>& grad,
                                          const std::vector<double>& x, int batch) {
  std::vector<double> dv(layer.row.size());
  for (size_t i = 0; i < layer.row.size(); ++i)
    for (int b = 0; b < batch; ++b) dv[i] += grad[layer.row[i] * batch + b] * x[layer.column[i] * batch + b];
  return dv;
}
