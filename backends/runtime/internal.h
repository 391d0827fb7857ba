/* What the parts of the runtime share: the kernels' calling convention, the generated tables, and
 * the functions of each file. */
#ifndef BURNISH_INTERNAL_H
#define BURNISH_INTERNAL_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "burnish.h"

/* Bytes of a cache line: the runtime's own memory begins with one. */
enum { BURNISH_LINE = 64 };

/* ---- The calling convention of TVM's kernels: DLPack tensors in tagged values. ---- */

typedef struct {
  void *data;
  int32_t device_type, device_id;
  int32_t rank;
  uint8_t code, bits;
  uint16_t lanes;
  const int64_t *shape;
  const int64_t *strides; /* NULL: contiguous */
  uint64_t byte_offset;
} burnish_dltensor;

typedef struct {
  int32_t type_index;
  uint32_t unused;
  union {
    int64_t integer;
    void *pointer;
  } value;
} burnish_any;

enum { BURNISH_TYPE_TENSOR = 7, BURNISH_DEVICE_CPU = 1 };

typedef int32_t (*burnish_kernel)(void *handle, const burnish_any *args, int32_t count,
                                  burnish_any *result);

typedef struct {
  void *sync;
  int32_t tasks;
} burnish_environment;

typedef int32_t (*burnish_task)(int32_t task, burnish_environment *environment, void *closure);

/* ---- The tables that the driver generator writes. ---- */

enum { BURNISH_INPUT, BURNISH_OUTPUT, BURNISH_CONSTANT, BURNISH_ARENA };

typedef struct {
  uint8_t space; /* one of the four above */
  uint8_t code, bits;
  int32_t rank;
  uint32_t shape;  /* index of the first dimension in shapes */
  uint32_t slot;   /* which input or output */
  uint64_t offset; /* bytes from the start of the weights, the arena, the input or the output */
} burnish_place;

typedef struct {
  const char *name;
  burnish_kernel kernel; /* NULL: another engine's part, or a jump */
  uint32_t first;        /* index of its first argument in args */
  uint32_t count;
  int32_t jump; /* the call to go on at unless the argument, if any, is true; -1: no jump */
  uint8_t alone; /* whether the calling thread runs it without the others */
} burnish_call;

/* How far a run fills an axis of an output. */
typedef struct {
  int32_t axis;   /* -1: all of the output is filled */
  uint32_t place; /* int64[1], of which a kernel has made the count */
} burnish_count;

typedef struct {
  const burnish_tensor *inputs, *outputs;
  const burnish_count *counts; /* one for each output */
  const burnish_place *places;
  const burnish_call *calls;
  const uint32_t *args; /* a place for each argument of each call */
  const int64_t *shapes;
  uint32_t input_count, output_count, place_count, call_count, arg_count;
  uint64_t arena_bytes;
} burnish_entry;

typedef struct {
  const char *const *features; /* ends with NULL */
  const char *target;
  const burnish_entry *entries;
  uint32_t entry_count;
  int32_t threads;
  uint64_t weights_bytes; /* payload, without the header */
  uint8_t weights_hash[32];
} burnish_program;

extern const burnish_program burnish_the_program;

/* ---- error.c ---- */

/* Set the thread's error text and return 1, so that a caller can return it. */
int burnish_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fail, and say of what, if the caller gave NULL, such as what opening a model failed to return. */
int burnish_is_missing(const void *given, const char *what);
void burnish_clear_error(void);
void burnish_set_error_parts(const char *kind, const char *const *parts, int32_t count);

/* ---- workspace.c: a stack of scratch memory, one per thread. ---- */

typedef struct burnish_workspace burnish_workspace;
burnish_workspace *burnish_workspace_new(void);
void burnish_workspace_delete(burnish_workspace *workspace);
void burnish_workspace_use(burnish_workspace *workspace);
void *burnish_allocate(size_t bytes);
void burnish_release(void *pointer);

/* ---- pool.c ---- */

typedef struct burnish_pool burnish_pool;
burnish_pool *burnish_pool_new(int threads);
void burnish_pool_delete(burnish_pool *pool);
int burnish_pool_threads(const burnish_pool *pool);
/* Around a run: this thread's kernels fork on pool, whose threads expect work for so long. */
void burnish_pool_enter(burnish_pool *pool);
void burnish_pool_leave(burnish_pool *pool);
/* In between: whether this thread's kernels do fork. */
void burnish_pool_share(burnish_pool *pool, int shares);

/* Run a parallel loop in tasks (0: as many as there are threads) and wait for all of them. */
int32_t burnish_launch(burnish_task task, void *closure, int32_t tasks);

/* ---- affinity.c ---- */

/* Bind the pool's thread of that number, from 0, to the processor that the user wants. */
int burnish_affinity_apply(pthread_t thread, int worker);

/* ---- weights.c ---- */

typedef struct {
  const uint8_t *payload;
  void *base;
  size_t length;
} burnish_weights;

int burnish_weights_map(burnish_weights *weights, const char *path, uint64_t offset,
                        uint64_t payload_bytes, const uint8_t hash[32]);
void burnish_weights_unmap(burnish_weights *weights);

/* ---- cpu.c ---- */

/* The first of features that this processor lacks, or NULL. */
const char *burnish_first_missing(const char *const *features);

/* ---- clock.c ---- */

uint64_t burnish_nanoseconds(void);

#endif
