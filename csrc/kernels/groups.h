// Groups of rows of which some have no connection, as fanin and what is made from it store them.
#ifndef GOSSAMER_GROUPS_H
#define GOSSAMER_GROUPS_H

#include "gossamer.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

// The groups that have connections, in order.
struct Group {
  const gs_matrix& w;
  int64_t place = 0;  // of the next one

  int64_t row_of(int64_t i) const {
    return w.row_bytes == 2 ? static_cast<const uint16_t*>(w.rows)[i] : static_cast<const int32_t*>(w.rows)[i];
  }
  // The place of the first one from r on.
  int64_t from(int64_t r) const {
    int64_t low = 0, high = w.n_rows;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (row_of(middle) < r) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  // Whether group r is active; it is then at `place`.
  bool at(int64_t r) {
    while (place < w.n_rows && row_of(place) < r) ++place;
    return place < w.n_rows && row_of(place) == r;
  }
};

}  // namespace GS_SET
}  // namespace gs

#endif
