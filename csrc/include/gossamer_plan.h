/* Gossamer core: a whole network as one call, a list of steps over planes of one image.
 *
 *  - Numbers are float32. The caller owns all memory: arenas, which hold what steps hand to each other, and the inputs
 *    and outputs of the network.
 *  - An arena is filled with zeros once, before its first use. Steps write what they produce and nothing else, so what is
 *    between the rows of planes and around them stays zero. Planes of different pitch must not share memory.
 *  - gs_plan_prepare reads every step once; gs_plan_run trusts a plan that was prepared.
 */
#ifndef GOSSAMER_PLAN_H
#define GOSSAMER_PLAN_H

#include "gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* [channels, height, width] of one image. Number (c, y, x) lies at
 * at + (y % phases_h * phases_w + x % phases_w) * phase + c * plane + y / phases_h * pitch + x / phases_w. */
typedef struct gs_view {
  int64_t memory; /* 0: the arena; k + 1: external memory k */
  int64_t at, plane, pitch, phase;
  int64_t channels, height, width, phases_h, phases_w;
} gs_view;

typedef enum gs_step_kind {
  GS_STEP_MOVE = 0,     /* out(c, y, x) = x(c, rows[y], cols[x]), 0 where one of them is negative */
  GS_STEP_CONV = 1,     /* out = activation(W x + bias + more): gs_conv of w and places */
  GS_STEP_MAX_POOL = 2, /* the largest number of a window, NaN if there is one */
  GS_STEP_MEAN_POOL = 3, /* the sum of a window over the product of its two divisors */
  GS_STEP_MAP = 4       /* out = activation(scale[c] * x + shift[c] + more), number by number */
} gs_step_kind;

/* The windows of a pool along one side: [begin, end) in steps of `dilation`, inside the input; one an output. */
typedef struct gs_window {
  int32_t begin, end;
  float divisor;
} gs_window;

typedef struct gs_step {
  int64_t kind;               /* gs_step_kind */
  gs_view x, more, out;     /* `more` with 0 channels: none */
  const int32_t *rows, *cols; /* move: [out.height], [out.width]; null: each its own number */
  const gs_window *windows_h, *windows_w; /* pools: [out.height], [out.width] */
  int64_t dilation_h, dilation_w;         /* pools: >= 1 */
  const float *scale, *shift; /* map: [channels] or null */
  const float* bias;          /* conv: [n_out] or null */
  int64_t activation;         /* conv, map: gs_activation */
  double slope;
  gs_matrix w;                /* conv */
  gs_places places;           /* conv: positions count from x.at and out.at */
  void* room;                 /* conv: the bytes of gs_conv_room, 64-byte aligned; gs_plan_prepare fills it */
} gs_step;

typedef struct gs_plan {
  const gs_step* steps;
  int64_t n_steps;
  int64_t arena;        /* floats of an arena */
  const int64_t* sizes; /* [n_external] floats of an image in each external memory */
  int64_t n_external;
  int64_t isa;          /* gs_isa_id */
} gs_plan;

/* One call of a plan. Images are computed one by one, or, with several arenas, as many at a time. Neither changes a bit. */
typedef struct gs_plan_call {
  int64_t batch;
  float* const* external;   /* [n_external] each [batch, sizes[k]]; inputs are not written */
  float* const* arenas;     /* [n_arenas] */
  int64_t n_arenas;         /* >= 1 */
  int64_t first, last;      /* steps first .. last - 1 are run */
  gs_parallel_for parallel; /* or null */
} gs_plan_call;

/* Refuses a plan of which a step would read or write outside of the memory that it names: GS_SIZE, GS_NULL, GS_INDEX, ...;
 * and makes its convolutions ready. */
GS_API gs_status gs_plan_prepare(const gs_plan* plan);

/* Runs steps of a prepared plan. */
GS_API gs_status gs_plan_run(const gs_plan* plan, const gs_plan_call* call);

#ifdef __cplusplus
}
#endif
#endif
