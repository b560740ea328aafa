// Work cut into items and handed to the caller's pool.
#ifndef GOSSAMER_ITEMS_H
#define GOSSAMER_ITEMS_H

#include "kernels.h"
#include "vec.h"

namespace gs {
namespace GS_SET {

template <class F> struct Items {
  const F& run;
  gs_status status;

  static void task(int64_t begin, int64_t end, void* ctx) {
    Items& items = *static_cast<Items*>(ctx);
    const gs_status status = items.run(begin, end);
    if (status != GS_OK) __atomic_store_n(&items.status, status, __ATOMIC_RELAXED);
  }
};

// Calls run(begin, end), which returns a gs_status, over parts of [0, count); returns the failure of one of them, if any.
// `cost` is the work of one item in multiply-adds.
template <class Call, class F> GS_INLINE gs_status for_items(const Call& call, int64_t count, int64_t cost, const F& run) {
  Items<F> items = {run, GS_OK};
  const gs_status status = gs_run(call.parallel, count, cost, Items<F>::task, &items);
  return status != GS_OK ? status : items.status;
}

}  // namespace GS_SET
}  // namespace gs

#endif
