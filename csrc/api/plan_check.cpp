// A plan is read once before it runs: no step may leave the memory that it names.
#include "check.h"
#include "gossamer_plan.h"

namespace {

constexpr int64_t kMost = int64_t{1} << 40;  // floats; sizes below it are added without care
constexpr int64_t kSlack = 16;               // floats of a vector, which kernels may read past the last position

bool within(int64_t value, int64_t least, int64_t most) { return least <= value && value <= most; }

// Adds `count` - 1 steps to the last element; false where that does not fit.
bool extend(int64_t& last, int64_t count, int64_t step) {
  int64_t more;
  return !__builtin_mul_overflow(count - 1, step, &more) && within(more, 0, kMost) && (last += more) <= kMost;
}

// Floats of the memory that planes lie in; none where there is no such memory.
int64_t memory_size(const gs_plan& plan, const gs_view& p) {
  if (!within(p.memory, 0, plan.n_external)) return 0;
  return p.memory ? plan.sizes[p.memory - 1] : plan.arena;
}

gs_status check_sizes(const gs_view& p) {
  if (!within(p.channels, 1, INT32_MAX) || !within(p.height, 1, INT32_MAX) || !within(p.width, 1, INT32_MAX)) return GS_SIZE;
  if (!within(p.phases_h, 1, 1024) || !within(p.phases_w, 1, 1024)) return GS_SIZE;
  if (!within(p.at, 0, kMost) || !within(p.plane, 0, kMost) || !within(p.pitch, 0, kMost) || !within(p.phase, 0, kMost)) return GS_SIZE;
  return GS_OK;
}

gs_status check_planes(const gs_plan& plan, const gs_view& p) {
  int64_t last = p.at;
  const gs_status status = check_sizes(p);
  if (status != GS_OK) return status;
  const int64_t rows = (p.height + p.phases_h - 1) / p.phases_h, columns = (p.width + p.phases_w - 1) / p.phases_w;
  const bool fits = extend(last, p.channels, p.plane) && extend(last, rows, p.pitch) && extend(last, columns, 1) &&
                    extend(last, p.phases_h * p.phases_w, p.phase);
  return fits && last < memory_size(plan, p) ? GS_OK : GS_SIZE;
}

gs_status check_table(const int32_t* table, int64_t n, int64_t limit) {
  if (!table) return n <= limit ? GS_OK : GS_SIZE;
  for (int64_t i = 0; i < n; ++i)
    if (!within(table[i], INT32_MIN, limit - 1)) return GS_INDEX;
  return GS_OK;
}

gs_status check_move(const gs_step& s) {
  if (s.x.channels != s.out.channels) return GS_SIZE;
  const gs_status status = check_table(s.rows, s.out.height, s.x.height);
  return status == GS_OK ? check_table(s.cols, s.out.width, s.x.width) : status;
}

gs_status check_windows(const gs_window* windows, int64_t n, int64_t limit, int64_t dilation) {
  if (!windows) return GS_NULL;
  if (!within(dilation, 1, INT32_MAX)) return GS_SIZE;
  for (int64_t i = 0; i < n; ++i)
    if (windows[i].begin < 0 || windows[i].begin >= windows[i].end || windows[i].end > limit) return GS_INDEX;
  return GS_OK;
}

gs_status check_pool(const gs_step& s) {
  if (s.x.channels != s.out.channels || s.x.phases_h != 1 || s.x.phases_w != 1) return GS_SIZE;
  const gs_status status = check_windows(s.windows_h, s.out.height, s.x.height, s.dilation_h);
  return status == GS_OK ? check_windows(s.windows_w, s.out.width, s.x.width, s.dilation_w) : status;
}

bool alike(const gs_view& a, const gs_view& b) {
  return a.channels == b.channels && a.height == b.height && a.width == b.width && a.phases_h == b.phases_h && a.phases_w == b.phases_w;
}

bool known(int64_t activation) { return within(activation, GS_IDENTITY, GS_GELU_TANH); }

gs_status check_map(const gs_step& s) {
  if (!known(s.activation) || !alike(s.x, s.out) || (s.more.channels && !alike(s.more, s.out))) return GS_SIZE;
  return !s.scale == !s.shift ? GS_OK : GS_NULL;
}

// What a span of a convolution writes in its planes, or reads of others that lie like them.
gs_status check_written(const gs_places& p, const gs_span& span, const gs_view& planes, int64_t size) {
  if (!within(span.out, 0, kMost) || !within(span.length, 0, kMost)) return GS_SIZE;
  int64_t last = planes.at + span.out + (p.split ? (span.length - 1) / 2 : span.length - 1);
  if (p.split && span.length > 1 && !extend(last, 2, p.split)) return GS_SIZE;
  return extend(last, planes.channels, planes.plane) && last < size ? GS_OK : GS_SIZE;
}

// gs_conv_prepare checks that what is read lies between in_begin and in_end.
gs_status check_conv(const gs_plan& plan, const gs_step& s) {
  const gs_places& p = s.places;
  if (s.w.n_out != s.out.channels || s.w.dtype != GS_F32 || !known(s.activation) || s.x.memory) return GS_SIZE;
  if (s.more.channels && (!alike(s.more, s.out) || s.more.pitch != s.out.pitch)) return GS_SIZE;
  if (!within(p.in_begin, -s.x.at, 0) || !within(p.in_end, 0, memory_size(plan, s.x) - s.x.at - kSlack)) return GS_SIZE;
  if (!within(p.split, 0, kMost) || p.n_spans < 0) return GS_SIZE;
  if (!s.room || (!p.spans && p.n_spans)) return GS_NULL;
  gs_status status = GS_OK;
  for (int64_t i = 0; i < p.n_spans && status == GS_OK; ++i) {
    status = check_written(p, p.spans[i], s.out, memory_size(plan, s.out));
    if (status == GS_OK && s.more.channels) status = check_written(p, p.spans[i], s.more, memory_size(plan, s.more));
  }
  if (status != GS_OK) return status;
  gs_call call = {};
  call.w = s.w;
  call.isa = plan.isa;
  return gs_conv_prepare(&call, &p, s.room);
}

gs_status check_step(const gs_plan& plan, const gs_step& s) {
  gs_status status = check_planes(plan, s.x);
  if (status == GS_OK) status = check_planes(plan, s.out);
  if (status == GS_OK && s.more.channels) status = check_planes(plan, s.more);
  if (status != GS_OK) return status;
  switch (s.kind) {
    case GS_STEP_MOVE: return check_move(s);
    case GS_STEP_CONV: return check_conv(plan, s);
    case GS_STEP_MAX_POOL:
    case GS_STEP_MEAN_POOL: return check_pool(s);
    case GS_STEP_MAP: return check_map(s);
    default: return GS_LAYOUT;
  }
}

}  // namespace

extern "C" gs_status gs_plan_prepare(const gs_plan* plan) {
  if (!plan || (!plan->steps && plan->n_steps) || (!plan->sizes && plan->n_external)) return GS_NULL;
  if (plan->n_steps < 0 || !within(plan->n_external, 0, 1024) || !within(plan->arena, 0, kMost)) return GS_SIZE;
  for (int64_t k = 0; k < plan->n_external; ++k)
    if (!within(plan->sizes[k], 0, kMost)) return GS_SIZE;
  for (int64_t i = 0; i < plan->n_steps; ++i) {
    const gs_status status = check_step(*plan, plan->steps[i]);
    if (status != GS_OK) return status;
  }
  return GS_OK;
}
