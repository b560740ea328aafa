/* Gossamer core: products with truly sparse matrices. Plain C; knows neither Python nor any tensor library.
 *
 * Conventions that hold for every function here
 *  - The caller owns every buffer. Nothing is kept after a call returns, nothing beyond a stated length is read or written.
 *  - Value buffers need the alignment of their element type only.
 *  - Matrices are [n_out, n_in]; an input is [features, batch] seen through two strides, one of which is 1.
 *  - Every function returns a gs_status; no function throws, prints or exits.
 *  - Column indices are trusted during a product. Call gs_check_index once for indices of unknown origin.
 */
#ifndef GOSSAMER_H
#define GOSSAMER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define GS_API __declspec(dllexport)
#else
#define GS_API __attribute__((visibility("default")))
#endif

#define GS_ABI_VERSION 9

typedef enum gs_status {
  GS_OK = 0,
  GS_NULL = 1,     /* a needed pointer is null */
  GS_SIZE = 2,     /* a size, stride or length that does not fit the others */
  GS_LAYOUT = 3,   /* unknown layout, or the operation is not defined on it */
  GS_DTYPE = 4,    /* unknown element or index type, or not available for the layout */
  GS_ISA = 5,      /* instruction set not compiled in, or not supported by this processor */
  GS_MEMORY = 6,   /* scratch memory could not be had */
  GS_INDEX = 7,    /* index out of range, not ascending, or row pointers not monotone */
  GS_OVERFLOW = 8, /* a product of sizes does not fit 63 bits */
  GS_THREADS = 9,  /* the caller's parallel_for reported an error */
  GS_NOT_FINITE = 10 /* a score is NaN or infinite */
} gs_status;

typedef enum gs_layout { GS_CSR = 0, GS_FANIN = 1, GS_NM = 2, GS_NM_LANES = 3, GS_DENSE = 4, GS_BLOCK = 5, GS_CSR_BANDS = 6, GS_NM_BYTES = 7,
               GS_TILES = 8, GS_SHARED_TILES = 9, GS_CSR_HALVES = 10, GS_BITMASK = 11, GS_NM_NIBBLES = 12, GS_NM_NIBBLE_BYTES = 13,
               GS_TILE_BYTES = 14, GS_SHARED_TILE_BYTES = 15, GS_BITMASK_BYTES = 16, GS_FANIN_BYTES = 17, GS_WINDOW_BYTES = 18 } gs_layout;
typedef enum gs_dtype { GS_F32 = 0, GS_F64 = 1, GS_BF16 = 2, GS_I8 = 3, GS_F16 = 4 } gs_dtype;
/* leaky: y where y >= 0, else slope * y; a slope of either sign, so All-ReLU is one. elu: slope * (exp(y) - 1) below 0. gelu: by
 * the error function. NaN stays NaN. */
typedef enum gs_activation {
  GS_IDENTITY = 0, GS_RELU = 1, GS_LEAKY_RELU = 2, GS_RELU6 = 3, GS_SILU = 4, GS_HARDSWISH = 5, GS_HARDSIGMOID = 6,
  GS_SIGMOID = 7, GS_TANH = 8, GS_ELU = 9, GS_GELU = 10, GS_GELU_TANH = 11
} gs_activation;
typedef enum gs_isa_id { GS_ISA_AUTO = -1, GS_ISA_SCALAR = 0, GS_ISA_AVX2 = 1, GS_ISA_AVX512 = 2, GS_ISA_NEON = 3 } gs_isa_id;

/* Runs task(b, e, ctx) over disjoint parts of [begin, end), parts of at least `grain`, and returns when all are done;
 * 0 is success. A null pointer where one of these is asked for means: run on the calling thread. */
typedef int32_t (*gs_parallel_for)(int64_t begin, int64_t end, int64_t grain,
                                   void (*task)(int64_t, int64_t, void*), void* ctx);

/* A sparse matrix. Every field is 8 bytes, so that the struct has one layout on every 64-bit platform.
 *   layout   rows                        cols                              values
 *   csr      row_ptr i32|i64 [n_out+1]   u16|i32 [nnz], ascending in a row [nnz]
 *   fanin    active  u16|i32 [n_rows]    u16|i32 [n_rows, k], ascending    [n_rows, k, group]
 *   fanin_bytes as fanin                                                  as fanin, GS_I8
 *   nm       -                           u8 [n_out, n_in/m, n], ascending  [n_out, n_in/m, n]
 *   nm_lanes -                           u8 [ceil(n_out/8), n_in/m, n, 8]  same order as cols
 *   nm_bytes -                           u8 [ceil(n_out/16), ceil(n_in/m/2), n, 16, 2]  same order as cols
 *   nm_nibbles -                         u8 [ceil(n_out/16), ceil(s/8), 16, 4]  [ceil(n_out/16), s, 16], s = n_in/m * n
 *   nm_nibble_bytes -                    u8 [ceil(n_out/16), ceil(s/2), 16, 4]  [ceil(n_out/16), s, 16, 4], s = ceil(n_in/m/4) * n
 *   bitmask  row_ptr i32|i64 [n_out+1]   u8 [n_out, ceil(n_in/64) * 8], a bit an input  [nnz]
 *   bitmask_bytes, as bitmask
 *   window_bytes starts i32 [ceil(n_out/16) * ceil(n_in/64) + 1]  u8 [steps, 16, 4]  [steps, 16, 4]
 *   dense    -                           -                                 [n_out, n_in]
 *   csr_bands starts i32 [bands * n_out + 1]  u8|u16 [nnz]               [nnz]
 *   csr_halves as csr                                                     [nnz], GS_F16
 *   block    row_ptr i32|i64 [rows+1]    u16|i32 [nnz], ascending in a row [nnz, group, tile]
 *   tiles    row_ptr i32|i64 [ceil(n_out/16)+1]  u16|i32 [nnz], ascending in a row [nnz, 16, 32]
 *   shared_tiles active u16|i32 [n_rows] u16|i32 [n_rows, k], ascending [n_rows, ceil(k/32), group/16, 16, 32]
 *   tile_bytes as tiles, row_ptr of 16 rows                              [nnz, 16, tile]
 *   shared_tile_bytes as shared_tiles                                    [n_rows, ceil(k/64), group/16, 16, 64]
 * tile_bytes, shared_tile_bytes: GS_I8 values alone, zeros where nothing is; inputs are rounded as those of nm_bytes.
 * tiles, shared_tiles: GS_BF16 values alone, zeros where nothing is; inputs are rounded to bfloat16, sums are float32, in the order of a
 * matrix unit (csrc/kernels/unit.h) on every processor.
 * nm_bytes: offsets from the first input of a pair of neighbouring tiles, one of the first tile, then one of the second. Values
 * are GS_I8, and inputs are rounded: those of a batch column to the nearest of 127 steps of either sign, up to the largest
 * magnitude among them. Sums are exact integers; a column with an infinite or NaN input gives NaN.
 * nm_nibbles, nm_nibble_bytes: offsets within a tile, in nibbles: the four bytes of a neuron hold eight of its values in order, the
 * first in the lowest bits; of nm_nibble_bytes a byte holds two values of one tile, and the four bytes those of four neighbouring
 * tiles. Values of the latter are GS_I8, and inputs are rounded as those of nm_bytes.
 * fanin_bytes: inputs are rounded as those of nm_bytes; an image of a convolution (gs_conv) is one sample, whole.
 * csr_halves: values and inputs are rounded to float16, halves to even. Connections of a row are added up 16 by 16 from its start in
 * float16, fused and from zero, the even and the odd ones apart, then both together; these sums in float32, in order. A sum that is not
 * finite then, be it that something left the range of float16, is computed again from the inputs as they are, in double.
 * bitmask, bitmask_bytes: the bit of input i is bit i % 8 of byte i / 8 of its row; values are those of the bits that are set, row by
 * row, as many as row_ptr counts; bits past the last input are 0. Values of the latter are GS_I8, n_in <= 2^17, and inputs are rounded
 * as those of nm_bytes.
 * window_bytes: windows of 64 inputs of 16 neurons, in steps; of each neuron four connections a step, at ascending places in the window; what
 * fills up steps is 0 at places of 255. Values are GS_I8, n_in <= 2^17, and inputs are rounded as those of nm_bytes.
 * block: whole blocks of group x tile connections; rows and cols are block rows (n_out/group) and block columns (n_in/tile).
 * csr_bands: csr of each band of `tile` inputs, one after the other; columns count from the first of the band and ascend in a
 * row; bands = ceil(n_in / tile).
 * `values` may be longer than what is used; the tail is never read, and its gradient is written as 0. */
typedef struct gs_matrix {
  int64_t layout;    /* gs_layout */
  int64_t dtype;     /* GS_F32 or GS_F64: of inputs, outputs, and all arithmetic */
  int64_t n_out;     /* rows of the matrix, < 2^31 */
  int64_t n_in;      /* columns of the matrix, < 2^31 */
  int64_t group;     /* fanin, fanin_bytes: 1, 2, 4, 8, 16 or 32 neighbouring rows that share columns; shared_tiles, shared_tile_bytes: 16 or 32; block: height, 1 to 32; others: 1 */
  int64_t per_row;   /* fanin, shared_tiles, shared_tile_bytes: k; fanin_bytes: k, of the last two <= 2^17; nm and all nm_: n; others: 0 */
  int64_t tile;      /* nm, nm_lanes: m <= 256; nm_bytes, nm_nibbles, nm_nibble_bytes: m <= 16, both bytes: n * n_in/m <= 2^17; block: width, 1 to 64; tile_bytes: 32 or 64, n_in <= 2^17; csr_bands: 1 to 65536 inputs of a band; others: 0 */
  int64_t n_rows;    /* fanin, fanin_bytes, shared_tiles, shared_tile_bytes: number of active row groups; others: 0 */
  int64_t n_values;  /* elements in values */
  int64_t n_cols;    /* elements in cols */
  int64_t row_bytes; /* bytes of one element of rows, 0 where there is none */
  int64_t col_bytes; /* bytes of one element of cols, 0 where there is none */
  const void* values;
  const void* rows;
  const void* cols;
  int64_t narrow;     /* GS_BF16, GS_I8 or, of csr_halves alone, GS_F16: values are of that type (gs_linear, dtype GS_F32); 0: of dtype */
  const void* scales; /* GS_I8: f32 [n_out], a connection weighs scales[row] * its value; others: ignored */
} gs_matrix;

/* A read-only [features, batch] input: element (i, b) is data[i * feature_stride + b * batch_stride]. */
typedef struct gs_panel {
  const void* data;
  int64_t feature_stride; /* >= 0; 1 for batch-major memory */
  int64_t batch_stride;   /* >= 0; 1 for feature-major memory */
} gs_panel;

/* One product. Fields an operation does not name are ignored. */
typedef struct gs_call {
  gs_matrix w;
  int64_t isa;              /* gs_isa_id */
  int64_t batch;            /* >= 0 */
  gs_panel x;               /* [n_in, batch] */
  gs_panel grad;            /* [n_out, batch] */
  const void* bias;         /* [n_out] or null */
  int64_t activation;       /* gs_activation, applied last */
  double slope;             /* of GS_LEAKY_RELU and GS_ELU */
  gs_panel residual;        /* [n_out, batch] that is added before the activation, batch_stride 1, apart from out; or null data */
  void* out;                /* see each operation */
  int64_t out_stride;       /* elements between rows of out, >= batch */
  gs_parallel_for parallel; /* or null */
  int64_t x_narrow;         /* GS_BF16: x is of that type, in feature-major memory (tiles, shared_tiles); else 0 */
  int64_t out_narrow;       /* GS_BF16: out is of that type (tiles, shared_tiles); else 0 */
} gs_call;

/* out[n_out, batch] = activation(W x + bias + residual). A row without connections counts as 0. */
GS_API gs_status gs_linear(const gs_call* call);

/* out[n_in, batch] = W^T grad. Reads w, grad. Layouts csr, fanin, nm, block. */
GS_API gs_status gs_linear_grad_input(const gs_call* call);

/* Output positions that follow each other, and the input position of the first of them. */
typedef struct gs_span {
  int64_t in, out, length;
} gs_span;

/* Where a product over planes reads and writes: a convolution of one image. The matrix has a column for each input that a
 * position reads, a row for each output plane. Every field is 8 bytes. Positions are elements from call.x.data and call.out. */
typedef struct gs_places {
  int64_t n_columns;      /* w.n_in */
  int64_t rows_of_group;  /* rows of the matrix that read the same channels; divides w.n_out, and is a multiple of w.group */
  int64_t group_step;     /* elements from the channels of one group of rows to those of the next, >= 0 */
  int64_t n_spans;
  int64_t step;           /* >= 1, elements of the input from one position of a span to the next */
  int64_t split;          /* 0; or elements of the output from the even positions of a span to the odd ones, of either lies every second */
  int64_t in_begin;       /* <= 0, the first element of the input that may be read */
  int64_t in_end;         /* the end of those; vectors of 16 elements may read past the last position where step is 1 */
  int64_t out_end;        /* the end of the elements of the output that may be written */
  int64_t n_inside;       /* bytes in inside */
  const int32_t* columns; /* [n_columns] elements from an input position to what the column reads there */
  const gs_span* spans;   /* every output position lies in one span at most; what they cover is written, and nothing else */
  const uint8_t* inside;  /* a bit a position, 0: written as zero. Every span begins with a new byte; 8 bytes follow. Or null: all inside */
} gs_places;

/* Bytes of what gs_conv_prepare makes. Reads w and isa of the call. */
GS_API gs_status gs_conv_room(const gs_call* call, const gs_places* places, size_t* bytes);

/* Makes the matrix ready for many products at the same places, in `room`, 64-byte aligned: w.values may change between them,
 * unless they are narrow or of layout dense or block, whose values are copied here. The index and the places are checked in
 * full. O(connections + spans). */
GS_API gs_status gs_conv_prepare(const gs_call* call, const gs_places* places, void* room);

/* out = activation(W x + bias + residual) of one image at the places: row r is written at call.out + r * out_stride. The
 * residual lies as the output does, its planes feature_stride apart. batch, grad, feature_stride and batch_stride of x are
 * ignored. room: from gs_conv_prepare for this matrix, isa and these places; or null: made here. Layouts csr, fanin, nm,
 * block and, float32 alone, dense and fanin_bytes. Of fanin_bytes the planes of the image are what lies between 0 and
 * in_begin + in_end: what surrounds them counts as zeros. */
GS_API gs_status gs_conv(const gs_call* call, const gs_places* places, const void* room);

/* How an image lies in planes: rows of pixels with border_columns zeros after each, border_rows rows of zeros after the last.
 * Pixels that lie phases apart have planes of their own, all channels of a phase side by side. */
typedef struct gs_planes {
  int64_t channels, height, width;
  int64_t border_rows, border_columns;
  int64_t phase_rows, phase_columns; /* >= 1 */
} gs_planes;

/* A convolution of many images for training, image by image: each is brought into planes and back here. All images are
 * contiguous [batch, channels, height, width]. Every field is 8 bytes. Layouts csr, fanin, nm and block. */
typedef struct gs_images {
  gs_matrix w;
  int64_t isa;
  int64_t batch;            /* >= 0 */
  int64_t threads;          /* of parallel: fewer images are computed one after the other, by all of them; results do not depend on it */
  gs_planes input, output;  /* of one pitch; the output has one phase, and zeros wherever a gradient of the input reads past it */
  gs_places places;         /* of these planes: one span, from position 0 to position 0; in_begin, in_end and out_end are ignored */
  const int32_t* plane_of;  /* [w.n_in] the plane that a column reads, for the first group of rows */
  const void* x;            /* [batch, channels, height, width] of the input */
  const void* grad;         /* the same of the output */
  const void* bias;         /* [n_out] or null */
  void* out;                /* see each operation */
  gs_parallel_for parallel; /* or null */
} gs_images;

/* out, images of the output = W x + bias. */
GS_API gs_status gs_conv_images(const gs_images* call);

/* out, images of the input = W^T grad. Reads w, grad. */
GS_API gs_status gs_conv_grad_input(const gs_images* call);

/* out[w.n_values] = the gradient of every value, added up image by image in order; 0 past the used part. Reads w's index, x,
 * grad; w.values is not read and may be null. */
GS_API gs_status gs_conv_grad_values(const gs_images* call);

/* The connections of a matrix by blocks of rows, in a block by column, in a column by row: the order in which
 * gs_linear_grad_input_transposed adds them. It depends on the topology alone, so it is made once for many products. Every
 * field is 8 bytes. Layouts csr, nm, and fanin with group 1; fewer than 2^31 connections. */
typedef struct gs_transposed {
  int64_t block;    /* rows of a block, 1 .. 65536; the last may have fewer */
  int64_t n_starts; /* elements in starts: blocks * n_in + 1, where there are ceil(n_out / block) blocks, at least one */
  int64_t n_order;  /* elements in rows, and in order: the connections */
  int32_t* starts;  /* where the connections of each (block, column) begin; ends with n_order */
  uint16_t* rows;   /* of each connection: its row, counted from the first of its block */
  int32_t* order;   /* of each connection: the position of its value in w.values */
} gs_transposed;

/* Fills block, n_starts and n_order as they suit the matrix, so that the caller can allocate the rest. O(1). */
GS_API gs_status gs_transposed_size(const gs_matrix* w, gs_transposed* t);

/* Fills starts, rows and order. Scans the index first, so it may be of unknown origin. w->values is not read and may be
 * null. O(connections + n_out + n_starts) time, no memory. */
GS_API gs_status gs_transpose(const gs_matrix* w, const gs_transposed* t);

/* What gs_linear_grad_input computes, faster for batches of some vectors. `t` must come from gs_transpose for this
 * topology: its contents are trusted. room: [n_order] of w.dtype, for the values in that order. */
GS_API gs_status gs_linear_grad_input_transposed(const gs_call* call, const gs_transposed* t, void* room);

/* out[w.n_values] = one dot product along the batch per connection; 0 past the used part. Reads w's indices, x, grad;
 * w.values is not read and may be null. Layouts csr, fanin, nm, block. */
GS_API gs_status gs_linear_grad_values(const gs_call* call);

/* dense[n_out, n_in], rows n_in apart: every stored value is written to its place; nothing else is touched. Layouts csr,
 * fanin, nm, block. O(connections). */
GS_API gs_status gs_to_dense(const gs_matrix* w, void* dense, gs_parallel_for parallel);

/* The inverse: values[w->n_values] from their places; 0 past the used part. w->values is not read and may be null. */
GS_API gs_status gs_from_dense(const gs_matrix* w, const void* dense, void* values, gs_parallel_for parallel);

/* *hash = 64 bits of all `bytes` of a buffer, in order: a single changed word always changes it. No more than reading costs. */
GS_API gs_status gs_fingerprint(const void* data, int64_t bytes, uint64_t* hash);

/* Scans the whole index: ranges, order, row pointers. O(connections). w->values is not read and may be null. */
GS_API gs_status gs_check_index(const gs_matrix* w);

/* One layer of a chain: out = activation(W x + bias), as in gs_call. */
typedef struct gs_layer {
  gs_matrix w;
  const void* bias; /* [n_out] or null */
  int64_t activation;
  double slope;
} gs_layer;

/* Bytes of workspace that gs_chain_forward needs for these layers and this batch. */
GS_API gs_status gs_chain_workspace(const gs_layer* layers, int64_t n_layers, int64_t batch, size_t* bytes);

/* What is the same in many calls of a network: made once, called with other memory. */
typedef struct gs_chain {
  const gs_layer* layers;
  int64_t n_layers;
  int64_t isa;              /* gs_isa_id */
  int64_t batch;            /* >= 0 */
  int64_t feature_stride;   /* of x, as in gs_panel */
  int64_t batch_stride;
  int64_t residual_stride;  /* elements between features of the residual, whose batch_stride is 1 */
  int64_t out_stride;       /* elements between rows of out, >= batch */
  void* workspace;          /* any alignment of the element type; may be null if 0 bytes are needed */
  size_t workspace_bytes;   /* at least those of gs_chain_workspace */
  gs_parallel_for parallel; /* or null */
} gs_chain;

/* Runs the layers in order in one call. x: [n_in of the first, batch]; out: [n_out of the last, batch], rows out_stride
 * apart. residual: added to the last layer before its activation, as in gs_call, or null. The workspace is overwritten: one
 * call at a time may use it. */
GS_API gs_status gs_chain_forward(const gs_chain* chain, const void* x, const void* residual, void* out);

/* A tile of gradient rows in which connections are to be grown. A unit is h x w gradients and lives or dies as one; its
 * score is the sum of their absolute values, rows first, then columns, in ascending order. Where `gradient` is null the rows
 * are made here, a few at a time: the sum over the batch, in ascending order, of output gradient times input. */
typedef struct gs_scores {
  int64_t dtype;            /* gs_dtype of gradient */
  int64_t isa;              /* gs_isa_id */
  int64_t rows;             /* rows of units, >= 0 */
  int64_t cols;             /* units in a row, < 2^31 */
  int64_t h;                /* >= 1 */
  int64_t w;                /* >= 1 */
  int64_t first;            /* position of the first unit in its layer; positions ascend along rows */
  int64_t n_taken;          /* elements in taken */
  void* gradient;           /* [rows * h, cols * w]; overwritten. Or null: it is made of the last three fields */
  const int64_t* taken;     /* positions inside the tile, ascending: never chosen, but their scores must be finite too */
  gs_parallel_for parallel; /* or null */
  int64_t batch;            /* >= 0 */
  gs_panel outputs;         /* [rows * h, batch], output gradients */
  const void* inputs;       /* panels of 64 bytes, 16 floats or 8 doubles: [ceil(cols * w / panel)][batch][panel], then zeros */
} gs_scores;

/* chosen = ascending positions of the want[b] free units with the largest scores in every bucket b of the tile, the first
 * of equal ones. Buckets are `bucket` neighbours in a row, and divide it; want [rows * cols / bucket], each at most what is
 * free; n_chosen is their sum. GS_NOT_FINITE where a score is NaN or infinite: `chosen` then holds nothing of use. */
GS_API gs_status gs_grow_in_buckets(const gs_scores* tile, int64_t bucket, const int64_t* want, int64_t* chosen,
                                    int64_t n_chosen);

/* Free units with scores > floor >= -1, in ascending order: their scores (of the tile's dtype) and positions, found of them.
 * Both buffers have room for `room` >= rows * cols; what they hold past `found` is overwritten. */
GS_API gs_status gs_grow_above(const gs_scores* tile, double floor, void* scores, int64_t* positions, int64_t room,
                               int64_t* found);

/* Keeps the k <= n best of what gs_grow_above found, in order and in place; *least is the smallest score kept (0 for k = 0). */
GS_API gs_status gs_grow_best(int64_t dtype, int64_t isa, void* scores, int64_t* positions, int64_t n, int64_t k,
                              double* least);

/* Numbers side by side, of which a random part is dropped. A number is dropped with probability threshold / 65536, by 16 bits
 * of Philox4x32-10 that depend on its position and the seed alone; the others are scaled by 65536 / (65536 - threshold). */
typedef struct gs_dropout {
  int64_t dtype;            /* GS_F32 or GS_F64: of x and out */
  int64_t isa;              /* gs_isa_id */
  int64_t n;                /* >= 0 */
  int64_t threshold;        /* 0 .. 65536 */
  double slope;             /* of numbers that are not positive; 1: dropout alone */
  uint64_t seed;
  const void* x;            /* [n] */
  uint8_t* kept;            /* [n] what became of each number: 0 dropped, 1 positive, 2 not positive */
  void* out;                /* [n], may be x */
  gs_parallel_for parallel; /* or null */
} gs_dropout;

/* out = dropout(leaky ReLU of x), and kept. */
GS_API gs_status gs_leaky_dropout(const gs_dropout* call);

/* out = gradient of the input, where x is the gradient of the output. Reads kept; seed is ignored. */
GS_API gs_status gs_leaky_dropout_backward(const gs_dropout* call);

/* Numbers side by side, each through an activation. */
typedef struct gs_numbers {
  int64_t dtype;            /* GS_F32 or GS_F64: of x and out */
  int64_t isa;              /* gs_isa_id */
  int64_t n;                /* >= 0 */
  int64_t activation;       /* gs_activation */
  double slope;             /* as in gs_call */
  const void* x;            /* [n] */
  void* out;                /* [n], may be x */
  gs_parallel_for parallel; /* or null */
} gs_numbers;

/* out = activation(x): what a product with that activation has behind its sum, to the bit. */
GS_API gs_status gs_activate(const gs_numbers* call);

/* Lines of n numbers along the middle of three dimensions of memory without gaps. */
typedef struct gs_lines {
  int64_t dtype;            /* GS_F32 or GS_F64: of x and out */
  int64_t isa;              /* gs_isa_id */
  int64_t outer;            /* >= 0, as the next two */
  int64_t n;
  int64_t inner;            /* elements between neighbours of a line */
  int64_t logarithm;        /* 1: the logarithm of the softmax; else 0 */
  const void* x;            /* [outer, n, inner] */
  void* out;                /* likewise, apart from x */
  gs_parallel_for parallel; /* or null */
} gs_lines;

/* out = softmax along each line: exp(x - m) over their sum, m the largest of the line. Sums ascend along the line, in double; the
 * bits of a line do not depend on where it lies. */
GS_API gs_status gs_softmax(const gs_lines* call);

/* Best instruction set of this processor that was compiled in. */
GS_API int32_t gs_isa(void);
/* Whether products of layouts that suit one run on a matrix unit: asked of the processor and the system once. The results do not
 * depend on it. absent: the processor has none; refused: the system does not grant it; not built: this library has no code for it. */
typedef enum gs_matrix_state { GS_MATRIX_GRANTED = 1, GS_MATRIX_ABSENT = 2, GS_MATRIX_REFUSED = 3, GS_MATRIX_NOT_BUILT = 4 } gs_matrix_state;
GS_API gs_matrix_state gs_matrix_unit(void);
/* Whether `isa` was compiled in and runs here: GS_OK or GS_ISA. */
GS_API gs_status gs_isa_available(int32_t isa);
/* "scalar", "avx2", "avx512", "neon", or null for an unknown id. Static storage. */
GS_API const char* gs_isa_name(int32_t isa);

/* Units of a processor that no set implies. What was made for one gives the same bits without it, and takes longer. */
typedef enum gs_unit { GS_UNIT_BYTES = 0, GS_UNIT_HALVES = 1 } gs_unit;
/* Whether products of bytes (AVX512-VNNI, VBMI) or float16 arithmetic (AVX512-FP16) are there, and the set that uses them: GS_OK or GS_ISA. */
GS_API gs_status gs_unit_available(int32_t unit);

/* How inputs of single connections are fetched for one sample: by a load each, or by the gather instruction of the 256-bit set. The
 * bits are the same. Which is faster depends on the processor: it is measured at the first such product, in some tens of
 * microseconds, and kept while the process runs. */
typedef enum gs_fetch { GS_FETCH_AUTO = -1, GS_FETCH_LOADS = 0, GS_FETCH_GATHERS = 1 } gs_fetch;
/* Forces one of them for all threads, or leaves it to the measurement. GS_ISA: gathers where there are none. */
GS_API gs_status gs_fetch_by(int32_t fetch);
/* What is taken: GS_FETCH_LOADS or GS_FETCH_GATHERS. Measures if need be. */
GS_API int32_t gs_fetched_by(void);

/* The kernels in this library, for the instruction sets that run here: "op:layout:dtype:isa". Static storage. */
GS_API int32_t gs_kernel_count(void);
GS_API const char* gs_kernel_name(int32_t i);

GS_API const char* gs_status_text(gs_status status); /* one sentence, static storage, never null */
GS_API int32_t gs_abi_version(void);

#ifdef __cplusplus
}
#endif
#endif
