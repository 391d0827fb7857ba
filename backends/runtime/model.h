/* A model and the contexts in which it runs. */
#ifndef BURNISH_MODEL_H
#define BURNISH_MODEL_H

#include "internal.h"

/* Of one call, over the runs since profiling was switched on. */
typedef struct {
  uint64_t nanoseconds, rounds;
} burnish_timing;

/* All that one run in progress needs: an arena, and the call frames that point into it. */
struct burnish_context {
  burnish_model *model;
  const burnish_entry *entry;
  burnish_context *next_idle; /* in the entry's list of idle contexts */
  burnish_context *next;      /* in the model's list of all contexts */
  uint8_t *arena;
  burnish_dltensor *tensors; /* one for each place */
  burnish_any *frames;       /* one for each argument */
  uint8_t **slots;           /* where the inputs, then the outputs, lie in this run */
  uint8_t **staging;         /* aligned copies of those that the caller did not align, once needed */
  void *const *outputs;      /* the caller's */
  burnish_workspace *workspace;
  burnish_timing *timings; /* one for each call */
};

struct burnish_model {
  const burnish_program *program;
  burnish_weights weights;
  burnish_pool *pool;
  pthread_mutex_t mutex;
  burnish_context **idle; /* one list for each entry */
  burnish_context *contexts;
  int profiling;
  uint64_t clock_cost; /* nanoseconds that are in the time of a call but not its own */
  const uint8_t **alone; /* for each entry, a byte for each call that counts instead of its own */
};

burnish_context *burnish_context_new(burnish_model *model, const burnish_entry *entry);
void burnish_context_delete(burnish_context *context);

/* The entry of that number, or NULL with the error set. */
const burnish_entry *burnish_find_entry(const burnish_model *model, int entry);

/* Count a call, and the nanoseconds between a look at the clock before it and one after. */
void burnish_profile_call(burnish_context *context, uint32_t index, uint64_t nanoseconds);

#endif
