// A matrix and places made ready: offsets of every row, values where a strip does not find its own side by side, and spots.
#include "conv_spots.h"

namespace gs {
namespace GS_SET {
namespace {

// Rows that share columns in the layout itself.
int64_t sharing(const gs_matrix& w) { return w.layout == GS_FANIN || w.layout == GS_BLOCK ? w.group : 1; }

// The most rows of a strip that divide `rows`. Eight rows find too few registers for their vectors in the smaller sets.
int64_t strip_rows(int64_t rows) {
  for (int64_t group = GS_VEC_BYTES < 64 ? 4 : 8; group > 1; group /= 2)
    if (rows % group == 0) return group;
  return 1;
}

bool copies(const gs_matrix& w) { return w.layout == GS_DENSE || w.layout == GS_BLOCK || w.narrow; }

int64_t all_connections(const gs_matrix& w) {
  if (w.layout == GS_DENSE) return w.n_out * w.n_in;
  return connections(w) * (w.layout == GS_BLOCK ? w.group * w.tile : w.layout == GS_FANIN ? w.group : 1);
}

template <class T> T value_at(const gs_matrix& w, int64_t i) {
  if (w.narrow == GS_I8) return static_cast<T>(static_cast<const int8_t*>(w.values)[i]);
  if (w.narrow == GS_BF16) return static_cast<T>(widen(static_cast<const bf16*>(w.values)[i]));
  return static_cast<const T*>(w.values)[i];
}

// What is known before the index is read.
template <class T> Ready plan(const gs_matrix& w, const gs_places& p) {
  Ready r = {};
  r.mark = kReady, r.n_out = w.n_out, r.dtype = w.dtype, r.narrow = w.narrow;
  const bool dense = w.layout == GS_DENSE;
  r.group = dense ? strip_rows(p.rows_of_group) : strip_rows(sharing(w));
  r.stride = w.layout == GS_FANIN ? w.group : r.group;
  r.n_strips = w.n_out / r.group;
  r.n_offsets = dense ? (w.n_out ? w.n_out / p.rows_of_group * w.n_in : 0) : all_connections(w) / sharing(w);
  r.n_values = copies(w) ? all_connections(w) : 0;
  r.n_spots = cut_all<T>(p, spot_vectors(r.group), nullptr);
  const auto after = [](int64_t bytes) { return ceil_div(bytes, kLine) * kLine; };
  r.at_strips = after(sizeof(Ready));
  r.at_spots = r.at_strips + after(r.n_strips * static_cast<int64_t>(sizeof(Strip)));
  r.at_offsets = r.at_spots + after(r.n_spots * static_cast<int64_t>(sizeof(Spot)));
  r.at_values = r.at_offsets + after(r.n_offsets * 4);
  r.bytes = r.at_values + after(r.n_values * static_cast<int64_t>(sizeof(T)));
  r.writes = written(p);
  return r;
}

// Offsets and strips of row group r of any layout but dense: `first` counts the offsets before. Copies the values of strips.
template <class T> gs_status resolve_row(const gs_matrix& w, const gs_places& p, const Ready& r, int64_t row, const Row& list, int64_t first) {
  const int64_t wide = w.layout == GS_BLOCK ? w.tile : 1, rows = sharing(w), count = list.count * wide;
  const int32_t shift = static_cast<int32_t>(row * rows / p.rows_of_group * p.group_step);
  int32_t* offsets = room_at<int32_t>(r, r.at_offsets) + first;
  bool good = true;
  with_columns(w, list, 0, list.count, [&](const auto* col, int64_t from, int64_t n) {
    for (int64_t j = 0; j < n; ++j)
      for (int64_t t = 0; t < wide; ++t) {
        const int64_t column = static_cast<int64_t>(col[j]) * wide + t;
        good = good && column >= 0 && column < p.n_columns;
        offsets[(from + j) * wide + t] = good ? p.columns[column] + shift : 0;
      }
  });
  Strip* strips = room_at<Strip>(r, r.at_strips) + row * (rows / r.group);
  T* values = room_at<T>(r, r.at_values);
  for (int64_t s = 0; s < rows / r.group; ++s) {
    strips[s] = {first, w.layout == GS_BLOCK ? (first * rows + s * r.group * count) : (first * rows + s * r.group), count};
    if (w.layout == GS_BLOCK && w.values)
      for (int64_t c = 0; c < count; ++c)
        for (int64_t g = 0; g < r.group; ++g)
          values[strips[s].value + c * r.group + g] =
              value_at<T>(w, ((list.first + c / wide) * rows + s * r.group + g) * wide + c % wide);
  }
  return good ? GS_OK : GS_INDEX;
}

template <class T> gs_status resolve(const gs_matrix& w, const gs_places& p, const Ready& r) {
  int64_t active = 0, first = 0;
  const int64_t wide = w.layout == GS_BLOCK ? w.tile : 1;
  for (int64_t row = 0; row < w.n_out / sharing(w); ++row) {
    const Row list = row_at(w, row, active);
    if (list.count && (list.count < 0 || list.first * wide != first || list.count > (r.n_offsets - first) / wide)) return GS_INDEX;
    const gs_status status = resolve_row<T>(w, p, r, row, list, first);
    if (status != GS_OK) return status;
    first += list.count * wide;
  }
  if (first != r.n_offsets) return GS_INDEX;
  T* values = room_at<T>(r, r.at_values);
  for (int64_t i = 0; w.layout != GS_BLOCK && w.values && i < r.n_values; ++i) values[i] = value_at<T>(w, i);
  return GS_OK;
}

template <class T> void resolve_dense(const gs_matrix& w, const gs_places& p, const Ready& r) {
  int32_t* offsets = room_at<int32_t>(r, r.at_offsets);
  for (int64_t i = 0; i < r.n_offsets; ++i)
    offsets[i] = p.columns[i % w.n_in] + static_cast<int32_t>(i / w.n_in * p.group_step);
  Strip* strips = room_at<Strip>(r, r.at_strips);
  T* values = room_at<T>(r, r.at_values);
  for (int64_t s = 0; s < r.n_strips; ++s) {
    const int64_t row = s * r.group;
    strips[s] = {row / p.rows_of_group * w.n_in, row * w.n_in, w.n_in};
    for (int64_t c = 0; c < w.n_in; ++c)
      for (int64_t g = 0; g < r.group; ++g) values[row * w.n_in + c * r.group + g] = value_at<T>(w, (row + g) * w.n_in + c);
  }
}

// Whether every read of every spot stays between in_begin and in_end, and every span in its plane.
template <class T> gs_status bounds(const gs_matrix& w, const gs_places& p, const Ready& r) {
  const int32_t* offsets = room_at<int32_t>(r, r.at_offsets);
  int64_t low = INT64_MAX, high = INT64_MIN;
  for (int64_t i = 0; i < r.n_offsets; ++i) low = least(low, offsets[i]), high = most(high, offsets[i]);
  const Spot* spots = room_at<Spot>(r, r.at_spots);
  for (int64_t i = 0; i < r.n_spots && r.n_offsets && w.n_out; ++i) {
    if (!spots[i].vectors) continue;
    const int64_t reads = p.step == 1 ? spots[i].vectors * Vec<T>::lanes : (spots[i].held - 1) * p.step + 1;
    if (spots[i].in + low < p.in_begin || spots[i].in + high + reads > p.in_end) return GS_SIZE;
  }
  return GS_OK;
}

template <class T> gs_status prepare(const gs_matrix* w, const gs_places* p, void* room, int64_t* bytes) {
  const Ready ready = plan<T>(*w, *p);
  *bytes = ready.bytes;
  if (!room) return GS_OK;
  Ready& r = *static_cast<Ready*>(room);
  r = ready;
  cut_all<T>(*p, spot_vectors(r.group), room_at<Spot>(r, r.at_spots));
  gs_status status = GS_OK;
  if (w->layout == GS_DENSE) resolve_dense<T>(*w, *p, r);
  else status = resolve<T>(*w, *p, r);
  if (status == GS_OK) status = bounds<T>(*w, *p, r);
  if (status != GS_OK) r.mark = 0;
  return status;
}

}  // namespace

gs_status conv_prepare_f32(const gs_matrix* w, const gs_places* p, void* room, int64_t* bytes) { return prepare<float>(w, p, room, bytes); }
gs_status conv_prepare_f64(const gs_matrix* w, const gs_places* p, void* room, int64_t* bytes) { return prepare<double>(w, p, room, bytes); }

}  // namespace GS_SET
}  // namespace gs
