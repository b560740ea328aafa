/* Recurrent layers over whole sequences: one call for a layer in one direction, forward and backward. Conventions as in
 * gossamer.h. */
#ifndef GOSSAMER_RECURRENT_H
#define GOSSAMER_RECURRENT_H

#include "gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x: what the input adds to the gates, q = W h + bias: what the state before the step adds, h: that state.
 *   tanh, relu  h' = tanh(x + q), relu(x + q)                                                        1 gate
 *   lstm        i, f, o = sigmoid(x + q), g = tanh(x + q), c' = f c + i g, h' = o tanh(c')           4 gates: i, f, g, o
 *   gru         r, z = sigmoid(x + q), n = tanh(x + r q), h' = (1 - z) n + z h                       3 gates: r, z, n */
typedef enum gs_cell { GS_CELL_TANH = 0, GS_CELL_RELU = 1, GS_CELL_LSTM = 2, GS_CELL_GRU = 3 } gs_cell;

/* A [features, columns] output: element (i, j) is data[i * feature_stride + j * column_stride], one of which is 1. */
typedef struct gs_columns {
  void* data;
  int64_t feature_stride;
  int64_t column_stride;
} gs_columns;

/* What both directions of a pass have in common. A column is one sequence at one time. Columns are ordered by time, those of a
 * time by sequence; sequences are ordered by length, longest first. Every field is 8 bytes. */
typedef struct gs_sequence {
  gs_matrix w;              /* [gates * hidden, hidden], gate by gate */
  int64_t isa;              /* gs_isa_id */
  int64_t cell;             /* gs_cell */
  int64_t times;            /* >= 0 */
  int64_t reverse;          /* 0; or 1: the last time is the first step */
  int64_t width;            /* sequences, >= 0 */
  int64_t columns;          /* the sum of active */
  const int64_t* active;    /* [times] sequences that have such a time, never growing, the first is width; or null: all have */
  void* room;               /* (2 * gates + 4) * hidden * width elements, overwritten */
  gs_parallel_for parallel; /* or null */
} gs_sequence;

typedef struct gs_sequence_forward {
  gs_sequence s;
  gs_panel x;       /* [gates * hidden, columns] */
  const void* bias; /* [gates * hidden] or null */
  const void* h;    /* [hidden, width] state before the first step */
  const void* c;    /* likewise, lstm alone */
  gs_columns out;    /* [hidden, columns] h after each step */
  void* h_out;      /* [hidden, width] state after the last step of each sequence */
  void* c_out;      /* likewise, lstm alone */
  void* kept;       /* [columns * hidden * n] what backward reads, n: 1, 1, 5, 4 of the cells; or null */
} gs_sequence_forward;

/* s as it was forward. Layouts csr, fanin, nm and block, values that are not narrow. */
typedef struct gs_sequence_backward {
  gs_sequence s;
  gs_panel grad;       /* [hidden, columns] gradient of out; or null data: zero */
  const void* h_grad;  /* [hidden, width] gradient of h_out; or null: zero */
  const void* c_grad;  /* likewise, lstm alone */
  gs_panel before;     /* [hidden, columns] h before each step; gru alone */
  const void* kept;
  gs_columns x_grad;    /* [gates * hidden, columns] gradient of x */
  gs_columns q_grad;    /* likewise of q, gru alone: for other cells it is that of x */
  void* h_out;         /* [hidden, width] gradient of h */
  void* c_out;         /* likewise of c, lstm alone */
  const gs_transposed* by_columns; /* of w, as gs_linear_grad_input_transposed takes it; or null */
  void* by_columns_room;           /* [n_order of it] */
} gs_sequence_backward;

GS_API gs_status gs_recurrent(const gs_sequence_forward* call);
GS_API gs_status gs_recurrent_backward(const gs_sequence_backward* call);

#ifdef __cplusplus
}
#endif
#endif
