// Gradients of values with rounded factors: left factors are inputs as they lie, 16 rows of 32 batch columns, which a group brings side
// by side; right ones the output gradient, turned around.
#include "mixed.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kSize = kSide * kSteps;

// sums of `n` left factors times one or two right ones: [n][high] tiles [16 inputs][16 outputs].
template <int n, int high> GS_INLINE void add_up(Unit& unit, const uint16_t* const (&left)[n], int64_t stride, const uint32_t* right, int64_t steps) {
  each<n * high>([&](auto t) GS_INLINE_LAMBDA { unit.template zero<t>(); });
  for (int64_t step = 0; step < steps; ++step)
    each<high>([&](auto h) GS_INLINE_LAMBDA {
      unit.template load<7>(right + (h * steps + step) * kWords, 64);
      each<n>([&](auto i) GS_INLINE_LAMBDA {
        unit.template load<6>(left[i] + step * kSteps, stride * 2);
        unit.template bf16<i * high + h>();
      });
    });
}

// --- blocks ---------------------------------------------------------------------------------------------------------------

// Gradients of `n` <= 3 blocks of a row, added to those of earlier parts.
template <int n> void some_blocks(const gs_mixed& call, const Part& part, Unit& unit, const uint32_t* right, int64_t i) {
  const int64_t length = row_length(call.batch);
  const uint16_t* left[2 * n];
  for (int k = 0; k < 2 * n; ++k) left[k] = call.inputs + (column_at(call.w, i + k / 2) * kSteps + k % 2 * kSide) * length + part.begin;
  add_up<2 * n, 1>(unit, left, length, right, part.steps);
  alignas(64) float sums[2 * n][kWords];
  each<2 * n>([&](auto k) GS_INLINE_LAMBDA { unit.template store<k>(sums[k], 64); });
  for (int k = 0; k < 2 * n; ++k) {
    u32x16 w[kSide];
    for (int e = 0; e < kSide; ++e) w[e] = load_words(sums[k] + e * kSide);
    transpose_words(w);
    float* to = call.grad_values + (i + k / 2) * kSize + k % 2 * kSide;
    for (int e = 0; e < kSide; ++e)
      store_words(to + e * kSteps, part.begin ? (u32x16)((f32x16)w[e] + (f32x16)load_words(to + e * kSteps)) : w[e]);
  }
}

void row_items(const gs_mixed& call, const Part& part, int64_t begin, int64_t end) {
  Unit unit;
  for (int64_t r = begin; r < end; ++r) {
    const uint32_t* right = part.wide + r * part.steps * kWords;
    int64_t i = pointer_at(call.w, r);
    const int64_t stop = pointer_at(call.w, r + 1);
    for (; i + 3 <= stop; i += 3) some_blocks<3>(call, part, unit, right, i);
    if (stop - i == 2) some_blocks<2>(call, part, unit, right, i);
    if (stop - i == 1) some_blocks<1>(call, part, unit, right, i);
  }
}

// --- groups ---------------------------------------------------------------------------------------------------------------

// Gradients of `n` times 16 inputs of a group from input k on, added to those of earlier parts. rows: [n * 16][length of the part].
template <int n, int high> void some_inputs(const gs_mixed& call, const Part& part, Unit& unit, const uint32_t* right, int64_t place, int64_t k, uint16_t* rows) {
  const gs_matrix& w = call.w;
  const int64_t length = row_length(call.batch), piece = part.steps * kSteps, there = least(n * kSide, w.per_row - k);
  for (int64_t i = 0; i < n * kSide; ++i) {
    uint16_t* to = rows + i * piece;
    const uint16_t* from = call.inputs + (i < there ? column_at(w, place * w.per_row + k + i) : 0) * length + part.begin;
    for (int64_t step = 0; step < piece; step += kSteps) store_words(to + step, i < there ? load_words(from + step) : u32x16{});
  }
  const uint16_t* left[n];
  for (int i = 0; i < n; ++i) left[i] = rows + i * kSide * piece;
  add_up<n, high>(unit, left, piece, right, part.steps);
  alignas(64) float sums[n * kSide * high * kSide];
  each<n * high>([&](auto t) GS_INLINE_LAMBDA { unit.template store<t>(sums + t / high * (kWords * high) + t % high * kSide, high * 64); });
  float* to = call.grad_values + (place * w.per_row + k) * w.group;
  const int64_t numbers = there * high * kSide;
  if (!part.begin) __builtin_memcpy(to, sums, static_cast<size_t>(numbers) * sizeof(float));
  for (int64_t e = 0; part.begin && e < numbers; ++e) to[e] += sums[e];
}

template <int high> void all_inputs(const gs_mixed& call, const Part& part, Unit& unit, int64_t place, uint16_t* rows) {
  constexpr int n = 4 / high;
  const uint32_t* right = part.wide + group_at(call.w, place) * high * part.steps * kWords;
  int64_t k = 0;
  for (; k + n * kSide <= call.w.per_row; k += n * kSide) some_inputs<n, high>(call, part, unit, right, place, k, rows);
  for (; k < call.w.per_row; k += kSide) some_inputs<1, high>(call, part, unit, right, place, k, rows);
}

gs_status group_items(const gs_mixed& call, const Part& part, int64_t begin, int64_t end) {
  uint16_t* rows = static_cast<uint16_t*>(gs_scratch(static_cast<size_t>(4 * kSide * part.steps * kSteps * 2)));
  if (!rows) return GS_MEMORY;
  Unit unit;
  for (int64_t place = begin; place < end; ++place) {
    if (call.w.group == kSide) all_inputs<1>(call, part, unit, place, rows);
    else all_inputs<2>(call, part, unit, place, rows);
  }
  return GS_OK;
}

}  // namespace

gs_status mixed_grad_values(const gs_mixed& call, const Part& part) {
  const gs_matrix& w = call.w;
  if (w.layout == GS_FANIN)
    return for_items(call, w.n_rows, (w.per_row * w.group / 8 + 64) * part.size,
                     [&](int64_t begin, int64_t end) { return group_items(call, part, begin, end); });
  const int64_t rows = w.n_out / kSide, blocks = pointer_at(w, rows);
  return for_items(call, rows, (blocks * kSize / most(1, rows) / 8 + 64) * part.size, [&](int64_t begin, int64_t end) {
    row_items(call, part, begin, end);
    return GS_OK;
  });
}

}  // namespace GS_SET
}  // namespace gs
