// A matrix of bytes and places made ready: offsets of four connections side by side, and their weights as words.
#include "conv_bytes.h"
#include "conv_spots.h"

namespace gs {
namespace GS_SET {
namespace {

constexpr int64_t kVectors = kPositions / Vec<float>::lanes;

ReadyBytes plan(const gs_matrix& w, const gs_places& p) {
  ReadyBytes r = {};
  r.mark = kReadyBytes, r.n_out = w.n_out, r.n_columns = p.n_columns, r.group = w.group;
  r.n_shares = w.n_out / w.group;
  r.n_quads = w.n_rows * ceil_div(w.per_row, 4);
  r.n_spots = cut_all<float>(p, kVectors, nullptr);
  r.image = p.in_begin + p.in_end, r.before = -p.in_begin, r.past = p.in_end - r.image;
  const auto after = [](int64_t bytes) { return ceil_div(bytes, kLine) * kLine; };
  r.at_shares = after(sizeof(ReadyBytes));
  r.at_spots = r.at_shares + after(r.n_shares * static_cast<int64_t>(sizeof(Share)));
  r.at_offsets = r.at_spots + after(r.n_spots * static_cast<int64_t>(sizeof(Spot)));
  r.at_words = r.at_offsets + after(r.n_quads * 16);
  r.at_firsts = r.at_words + after(r.n_quads * w.group * 4);
  r.bytes = r.at_firsts + after(w.n_out * 4);
  r.writes = written(p);
  return r;
}

// Offsets of the active group of rows number `row`, that is `group`; false for a column that is not there.
bool resolve_offsets(const gs_matrix& w, const gs_places& p, const ReadyBytes& r, int64_t row, int64_t group) {
  const int64_t k = w.per_row, quads = ceil_div(k, 4);
  const int32_t shift = static_cast<int32_t>(group * w.group / p.rows_of_group * p.group_step);
  int32_t* offsets = room_at<int32_t>(r, r.at_offsets) + row * quads * 4;
  for (int64_t j = 0; j < quads * 4; ++j) {
    const int64_t at = row * k + least(j, k - 1);
    const int64_t column = w.col_bytes == 2 ? static_cast<const uint16_t*>(w.cols)[at] : static_cast<const int32_t*>(w.cols)[at];
    if (column < 0 || column >= p.n_columns) return false;
    offsets[j] = p.columns[column] + shift;
  }
  return true;
}

// Its weights. Sums of shifted inputs begin with what makes up for the shift; modulo 2^32, as they are added up.
void resolve_words(const gs_matrix& w, const ReadyBytes& r, int64_t row, int64_t group) {
  const int64_t k = w.per_row, quads = ceil_div(k, 4);
  const int8_t* values = static_cast<const int8_t*>(w.values) + row * k * w.group;
  int8_t* words = reinterpret_cast<int8_t*>(room_at<int32_t>(r, r.at_words) + row * quads * w.group);
  int32_t* firsts = room_at<int32_t>(r, r.at_firsts) + group * w.group;
  for (int64_t g = 0; g < w.group; ++g) {
    uint32_t sum = 0;
    for (int64_t j = 0; j < quads * 4; ++j) {
      const int8_t value = j < k ? values[j * w.group + g] : int8_t{0};
      words[(j / 4 * w.group + g) * 4 + j % 4] = value;
      sum += static_cast<uint32_t>(static_cast<int32_t>(value));
    }
    firsts[g] = static_cast<int32_t>(0u - 128u * sum);
  }
}

gs_status resolve(const gs_matrix& w, const gs_places& p, const ReadyBytes& r) {
  const int64_t quads = ceil_div(w.per_row, 4);
  Share* shares = room_at<Share>(r, r.at_shares);
  for (int64_t i = 0; i < r.n_shares; ++i) shares[i] = {0, 0};
  __builtin_memset(room_at<int32_t>(r, r.at_firsts), 0, static_cast<size_t>(w.n_out) * 4);
  int64_t before = -1;
  for (int64_t row = 0; row < w.n_rows; ++row) {
    const int64_t group = w.row_bytes == 2 ? static_cast<const uint16_t*>(w.rows)[row] : static_cast<const int32_t*>(w.rows)[row];
    if (group <= before || group >= r.n_shares || !resolve_offsets(w, p, r, row, group)) return GS_INDEX;
    if (w.values) resolve_words(w, r, row, group);
    shares[group] = {row * quads, quads};
    before = group;
  }
  return GS_OK;
}

// Whether every read of every spot stays between in_begin and in_end. What vectors read past it is behind the planes of bytes.
gs_status bounds(const gs_places& p, const ReadyBytes& r) {
  const int32_t* offsets = room_at<int32_t>(r, r.at_offsets);
  int64_t low = INT64_MAX, high = INT64_MIN;
  for (int64_t i = 0; i < r.n_quads * 4; ++i) low = least(low, offsets[i]), high = most(high, offsets[i]);
  const Spot* spots = room_at<Spot>(r, r.at_spots);
  for (int64_t i = 0; i < r.n_spots && r.n_quads; ++i) {
    if (!spots[i].vectors) continue;
    if (spots[i].in + low < p.in_begin || spots[i].in + high + (spots[i].held - 1) * p.step + 1 > p.in_end) return GS_SIZE;
  }
  return GS_OK;
}

}  // namespace

gs_status conv_bytes_prepare(const gs_matrix* w, const gs_places* p, void* room, int64_t* bytes) {
  if (p->in_begin + p->in_end < 0) return GS_SIZE;
  const ReadyBytes ready = plan(*w, *p);
  *bytes = ready.bytes;
  if (!room) return GS_OK;
  ReadyBytes& r = *static_cast<ReadyBytes*>(room);
  r = ready;
  cut_all<float>(*p, kVectors, room_at<Spot>(r, r.at_spots));
  gs_status status = resolve(*w, *p, r);
  if (status == GS_OK) status = bounds(*p, r);
  if (status != GS_OK) r.mark = 0;
  return status;
}

}  // namespace GS_SET
}  // namespace gs
