// W^T grad with rounded factors. Weights are turned around once a call. Blocks are added up column by column. A group has no
// column to itself: what its inputs get is added, group by group, to the gradients of a band of inputs.
#include "mixed.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int kHalf = 8;             // pairs of outputs of a tile of weights
constexpr int64_t kColumnTiles = 3;  // of batch columns of a column of blocks: their sums of 32 inputs fill the unit
constexpr int64_t kGroupTiles = 4;   // of batch columns of a group
constexpr int64_t kBandBytes = 1 << 19;  // of gradients of inputs, which groups are added to: a part of the second cache

// A tile [16 outputs][32 inputs] as two left factors [16 inputs][8 pairs of outputs], rows of them `stride` words apart.
void turn(const uint16_t* tile, int64_t stride, uint32_t* first, uint32_t* second) {
  for (int half = 0; half < 2; ++half) {
    u32x16 w[kSide] = {};
    for (int pair = 0; pair < kHalf; ++pair)
      w[pair] = words_of(tile + 2 * pair * kSteps + half * kSide, tile + (2 * pair + 1) * kSteps + half * kSide);
    transpose_words(w);
    for (int i = 0; i < kSide; ++i) __builtin_memcpy((half ? second : first) + i * stride, &w[i], kHalf * 4);
  }
}

int64_t blocks_of(const gs_matrix& w) { return pointer_at(w, w.n_out / kSide); }

// --- blocks ---------------------------------------------------------------------------------------------------------------

// The blocks by columns, in a column by rows.
struct Columns {
  const uint32_t* turned;  // [blocks][2][16][8] words
  const int32_t* starts;   // [columns + 1]
  const int32_t* rows;     // of each block
};

int64_t words_of_blocks(const gs_matrix& w) { return blocks_of(w) * kWords; }

Columns columns_in(const gs_matrix& w, uint32_t* room) {
  const int32_t* starts = reinterpret_cast<int32_t*>(room + words_of_blocks(w));
  return {room, starts, starts + w.n_in / kSteps + 1};
}

// A counting sort; `starts` ends one further on while it counts.
void by_columns(const gs_matrix& w, const uint16_t* weights, uint32_t* room) {
  const int64_t columns = w.n_in / kSteps, blocks = blocks_of(w);
  int32_t* starts = reinterpret_cast<int32_t*>(room + words_of_blocks(w));
  int32_t* rows = starts + columns + 1;
  for (int64_t c = 0; c <= columns; ++c) starts[c] = 0;
  for (int64_t i = 0; i < blocks; ++i) ++starts[column_at(w, i) + 1];
  for (int64_t c = 0; c < columns; ++c) starts[c + 1] += starts[c];
  for (int64_t r = 0; r < w.n_out / kSide; ++r)
    for (int64_t i = pointer_at(w, r); i < pointer_at(w, r + 1); ++i) {
      const int64_t place = starts[column_at(w, i)]++;
      rows[place] = static_cast<int32_t>(r);
      turn(weights + i * (kSide * kSteps), kHalf, room + place * kWords, room + place * kWords + kWords / 2);
    }
  for (int64_t c = columns; c > 0; --c) starts[c] = starts[c - 1];
  starts[0] = 0;
}

// The sums [32 inputs][tiles * 16] of column c, from tile t0 of the part on.
template <int tiles> GS_INLINE void one_column(const Part& part, Unit& unit, const Columns& by, int64_t c, int64_t t0, float* to, int64_t stride) {
  each<2 * tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  for (int64_t i = by.starts[c]; i < by.starts[c + 1]; ++i) {
    const int64_t r = by.rows[i];
    const uint32_t* grad = part.low + (r / 2 * part.tiles + t0) * kWords + r % 2 * (kHalf * kSide);
    each<tiles>([&](auto t) GS_INLINE_LAMBDA {
      unit.template load<7>(grad + t * kWords, 64);
      each<2>([&](auto half) GS_INLINE_LAMBDA {
        unit.template load<6>(by.turned + i * kWords + half * (kSide * kHalf), kHalf * 4);
        unit.template bf16<half * tiles + t>();
      });
    });
  }
  each<2 * tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(to + t / tiles * (kSide * stride) + t % tiles * kSide, stride * 4); });
}

// Items are columns of blocks. Sums go to memory by whole rows of the part.
gs_status column_items(const gs_mixed& call, const Part& part, const Columns& by, int64_t begin, int64_t end) {
  const int64_t width = part.tiles * kSide, chunks = ceil_div(part.tiles, kColumnTiles);
  float* sums = static_cast<float*>(gs_scratch(static_cast<size_t>(kSteps * width) * sizeof(float)));
  if (!sums) return GS_MEMORY;
  Unit unit(kHalf);
  for (int64_t c = begin; c < end; ++c) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t t0 = chunk * part.tiles / chunks, n = (chunk + 1) * part.tiles / chunks - t0;
      float* to = sums + t0 * kSide;
      if (n == 1) one_column<1>(part, unit, by, c, t0, to, width);
      else if (n == 2) one_column<2>(part, unit, by, c, t0, to, width);
      else one_column<3>(part, unit, by, c, t0, to, width);
    }
    float* out = call.grad_input + c * kSteps * call.batch + part.begin;
    for (int64_t i = 0; i < kSteps; ++i)
      __builtin_memcpy(out + i * call.batch, sums + i * width, static_cast<size_t>(part.size) * sizeof(float));
  }
  return GS_OK;
}

// --- groups ---------------------------------------------------------------------------------------------------------------

int64_t input_blocks(const gs_matrix& w) { return ceil_div(w.per_row, kSteps) * 2; }  // of 16 inputs, of a group

// Weights [active groups][blocks of 16 inputs][16 inputs][pairs of outputs].
void turn_groups(const gs_matrix& w, const uint16_t* weights, uint32_t* room) {
  const int64_t words = w.group / 2, block = kSide * words;
  for (int64_t i = 0; i < w.n_rows * tiles_of_group(w); ++i) {
    const int64_t step = i / (w.group / kSide), high = i % (w.group / kSide);
    uint32_t* to = room + step * 2 * block + high * kHalf;
    turn(weights + i * (kSide * kSteps), words, to, to + block);
  }
}

// Inputs begin .. end of all groups, whose gradients stay in the second cache, and the columns of the part.
struct Band {
  int64_t begin, end;
};
Band band_at(const gs_matrix& w, const Part& part, int64_t i) {
  const int64_t inputs = most(kSteps, kBandBytes / (part.size * 4));
  return {i * inputs, least(w.n_in, (i + 1) * inputs)};
}
int64_t bands(const gs_matrix& w, const Part& part) { return ceil_div(w.n_in, band_at(w, part, 0).end); }

// The first of the inputs of a group, which ascend, that is not below `input`.
int64_t seek(const gs_matrix& w, int64_t place, int64_t input) {
  int64_t low = 0, high = w.per_row;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (column_at(w, place * w.per_row + middle) < input) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Adds what 16 inputs of a group get, of which `there` are wanted, to their rows; `size` columns of the tiles are in the batch.
template <int tiles> GS_INLINE void add_inputs(Unit& unit, const uint32_t* turned, int64_t words, const uint32_t* grad, float* const (&to)[kSide], int64_t there, int64_t size) {
  constexpr int width = tiles * kSide;
  alignas(64) float some[kSide * width];
  unit.template load<6>(turned, words * 4);
  each<tiles>([&](auto t) GS_INLINE_LAMBDA {
    unit.template zero<t>();
    unit.template load<7>(grad + t * kWords, 64);
    unit.template bf16<t>();
  });
  each<tiles>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(some + t * kSide, width * 4); });
  for (int64_t i = 0; i < there; ++i) {
    float* out = to[i];
    if (size == width)
      for (int e = 0; e < width; ++e) out[e] += some[i * width + e];
    else
      for (int64_t e = 0; e < size; ++e) out[e] += some[i * width + e];
  }
}

void one_group(const gs_mixed& call, const Part& part, Unit& unit, const Band& band, const uint32_t* turned, int64_t place) {
  const gs_matrix& w = call.w;
  const int64_t words = w.group / 2, row = group_at(w, place) * w.group / kSide, end = seek(w, place, band.end);
  const uint32_t* grad = part.low + row / 2 * part.tiles * kWords + row % 2 * (kHalf * kSide);
  for (int64_t k = seek(w, place, band.begin); k < end; k += kSide) {
    const int64_t there = least(kSide, end - k);
    const uint32_t* left = turned + k * words;
    float* to[kSide];
    for (int64_t i = 0; i < kSide; ++i) to[i] = call.grad_input + column_at(w, place * w.per_row + k + least(i, there - 1)) * call.batch + part.begin;
    for (int64_t t = 0; t < part.tiles; t += kGroupTiles) {
      const int64_t size = least(kGroupTiles * kSide, part.size - t * kSide), tiles = ceil_div(size, kSide);
      const uint32_t* right = grad + t * kWords;
      if (tiles == 1) add_inputs<1>(unit, left, words, right, to, there, size);
      else if (tiles == 2) add_inputs<2>(unit, left, words, right, to, there, size);
      else if (tiles == 3) add_inputs<3>(unit, left, words, right, to, there, size);
      else add_inputs<4>(unit, left, words, right, to, there, size);
      for (float*& p : to) p += size;
    }
  }
}

// Items are bands of inputs; in each the groups are added up in order.
gs_status band_items(const gs_mixed& call, const Part& part, const uint32_t* turned, int64_t begin, int64_t end) {
  const gs_matrix& w = call.w;
  const int64_t words = input_blocks(w) * kSide * w.group / 2;
  Unit unit(static_cast<int>(w.group / 2));
  for (int64_t i = begin; i < end; ++i) {
    const Band band = band_at(w, part, i);
    for (int64_t input = band.begin; input < band.end; ++input)
      __builtin_memset(call.grad_input + input * call.batch + part.begin, 0, static_cast<size_t>(part.size) * sizeof(float));
    for (int64_t place = 0; place < w.n_rows; ++place) one_group(call, part, unit, band, turned + place * words, place);
  }
  return GS_OK;
}

}  // namespace

int64_t mixed_turned(const gs_matrix& w) {
  if (w.layout == GS_FANIN) return (w.n_rows * input_blocks(w) + 1) * (kSide * w.group / 2);  // 16 inputs are read from any one on
  return words_of_blocks(w) + w.n_in / kSteps + 1 + blocks_of(w);
}

void mixed_turn(const gs_mixed& call, uint32_t* turned) {
  if (call.w.layout == GS_FANIN) turn_groups(call.w, call.weights, turned);
  else by_columns(call.w, call.weights, turned);
}

gs_status mixed_grad_input(const gs_mixed& call, const Part& part, const uint32_t* turned) {
  const gs_matrix& w = call.w;
  if (w.layout == GS_FANIN) {
    const int64_t cost = (w.n_in + w.n_rows * w.per_row * w.group / 8) / most(1, bands(w, part)) * part.size;
    return for_items(call, bands(w, part), cost, [&](int64_t begin, int64_t end) { return band_items(call, part, turned, begin, end); });
  }
  const Columns by = columns_in(w, const_cast<uint32_t*>(turned));
  const int64_t columns = w.n_in / kSteps, cost = (blocks_of(w) * kSide * kSteps / most(1, columns) / 8 + 64) * part.size;
  return for_items(call, columns, cost, [&](int64_t begin, int64_t end) { return column_items(call, part, by, begin, end); });
}

}  // namespace GS_SET
}  // namespace gs
