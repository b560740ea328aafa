// A plan is run image by image: the planes of one image stay in cache from step to step.
#include "gossamer_plan.h"
#include "isa.h"

namespace {

constexpr int64_t kMostExternal = 1024;  // as gs_plan_prepare has it

gs_status run_conv(const gs_plan& plan, const gs_step& s, float* const* memory, gs_parallel_for parallel) {
  const auto at = [&](const gs_view& p) { return memory[p.memory] + p.at; };
  const gs_panel none = {nullptr, 0, 0}, more = {s.more.channels ? at(s.more) : nullptr, s.more.plane, 1};
  const gs_call call = {s.w, plan.isa, 1, {at(s.x), 1, 1}, none, s.bias, s.activation, s.slope, more, at(s.out), s.out.plane, parallel, 0, 0};
  return gs_conv(&call, &s.places, s.room);
}

gs_status run_step(const gs_plan& plan, const gs_kernels& kernels, const gs_step& s, float* const* memory, gs_parallel_for parallel) {
  switch (s.kind) {
    case GS_STEP_MOVE: return kernels.step_move(&s, memory, parallel);
    case GS_STEP_CONV: return run_conv(plan, s, memory, parallel);
    case GS_STEP_MAX_POOL: return kernels.step_max_pool(&s, memory, parallel);
    case GS_STEP_MEAN_POOL: return kernels.step_mean_pool(&s, memory, parallel);
    default: return kernels.step_map(&s, memory, parallel);
  }
}

struct Images {
  const gs_plan& plan;
  const gs_plan_call& call;
  const gs_kernels& kernels;
  gs_status status;

  // Images first .. last - 1 in one arena; `parallel` is for the inside of steps.
  gs_status run(int64_t first, int64_t last, float* arena, gs_parallel_for parallel) const {
    float* memory[kMostExternal + 1];
    memory[0] = arena;
    for (int64_t image = first; image < last; ++image) {
      for (int64_t k = 0; k < plan.n_external; ++k) memory[k + 1] = call.external[k] + image * plan.sizes[k];
      for (int64_t i = call.first; i < call.last; ++i) {
        const gs_status status = run_step(plan, kernels, plan.steps[i], memory, parallel);
        if (status != GS_OK) return status;
      }
    }
    return GS_OK;
  }

  static void task(int64_t begin, int64_t end, void* ctx) {
    Images& images = *static_cast<Images*>(ctx);
    const gs_plan_call& call = images.call;
    for (int64_t a = begin; a < end; ++a) {
      const gs_status status = images.run(call.batch * a / call.n_arenas, call.batch * (a + 1) / call.n_arenas, call.arenas[a], nullptr);
      if (status != GS_OK) __atomic_store_n(&images.status, status, __ATOMIC_RELAXED);
    }
  }
};

gs_status check_call(const gs_plan& plan, const gs_plan_call& call) {
  if (call.batch < 0 || call.batch > INT32_MAX || call.n_arenas < 1 || call.n_arenas > INT32_MAX) return GS_SIZE;
  if (call.first < 0 || call.first > call.last || call.last > plan.n_steps || plan.n_external > kMostExternal) return GS_SIZE;
  if (!call.batch) return GS_OK;
  if (!call.arenas || (!call.external && plan.n_external)) return GS_NULL;
  for (int64_t k = 0; k < plan.n_external; ++k)
    if (!call.external[k]) return GS_NULL;
  for (int64_t a = 0; a < call.n_arenas; ++a)
    if (!call.arenas[a] && plan.arena) return GS_NULL;
  return GS_OK;
}

}  // namespace

extern "C" gs_status gs_plan_run(const gs_plan* plan, const gs_plan_call* call) {
  if (!plan || !call) return GS_NULL;
  const gs_kernels* kernels = gs_kernels_for(plan->isa);
  const gs_status status = check_call(*plan, *call);
  if (status != GS_OK || !kernels) return status != GS_OK ? status : GS_ISA;
  Images images = {*plan, *call, *kernels, GS_OK};
  if (call->n_arenas == 1 || !call->parallel) return images.run(0, call->batch, *call->arenas, call->parallel);
  if (call->parallel(0, call->n_arenas, 1, Images::task, &images)) return GS_THREADS;
  return images.status;
}
