#ifndef GOSSAMER_CONV_STANDIN_H
#define GOSSAMER_CONV_STANDIN_H
#include "gossamer.h"
#ifdef __cplusplus
extern "C" {
#endif
typedef struct gs_span { int64_t in, out, length; } gs_span;
typedef struct gs_places {
  int64_t n_columns;      /* w.n_in */
  int64_t rows_of_group;  /* rows of the matrix that read the same channels: n_out / groups */
  int64_t group_step;     /* elements from the channels of one group to those of the next */
  int64_t n_spans;
  int64_t step;           /* input positions from one position of a span to the next */
  int64_t split;          /* 0, or elements from the even positions of a span to the odd ones */
  const int32_t* columns; /* [n_columns] elements from an input position to what the column reads there */
  const gs_span* spans;
  const uint8_t* inside;  /* one bit a position, every span begins a byte; null: all inside */
} gs_places;
GS_API gs_status gs_conv(const gs_call* call, const gs_places* places);
#ifdef __cplusplus
}
#endif
#endif
