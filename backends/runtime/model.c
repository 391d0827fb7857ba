/* Opening and closing a model, and what can be asked about it. */
#if defined(__linux__)
#define _GNU_SOURCE /* for sched_getaffinity */
#include <sched.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "model.h"

int burnish_abi(void) { return BURNISH_ABI; }

const char *burnish_missing_feature(void) {
  return burnish_first_missing(burnish_the_program.features);
}

static int check_processor(const burnish_program *program) {
  const char *missing = burnish_missing_feature();
  if (!missing) return 0;
  return burnish_fail("this model was compiled for %s, and this processor lacks %s; compile it "
                      "for this machine", program->target, missing);
}

/* Threads that spin for each other on one processor are worse than none. */
static int default_threads(const burnish_program *program) {
  int processors = program->threads;
#if defined(__linux__)
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof usable, &usable) == 0) processors = CPU_COUNT(&usable);
#endif
  return processors < program->threads ? processors : program->threads;
}

static int prepare(burnish_model *model, const char *file, uint64_t offset, int threads) {
  const burnish_program *program = &burnish_the_program;
  model->program = program;
  if (threads < 0 || threads > 1024) {
    return burnish_fail("%d threads asked for; give 1 to 1024, or 0 for the default", threads);
  }
  if (check_processor(program)) return 1;
  if (burnish_weights_map(&model->weights, file, offset, program->weights_bytes,
                          program->weights_hash)) {
    return 1;
  }
  model->idle = calloc(program->entry_count, sizeof *model->idle);
  model->alone = calloc(program->entry_count, sizeof *model->alone);
  model->pool = burnish_pool_new(threads ? threads : default_threads(program));
  if (model->idle && model->alone && model->pool) return 0;
  return *burnish_last_error() ? 1 : burnish_fail("out of memory while opening the model");
}

burnish_model *burnish_open_at(const char *file, uint64_t offset, int threads) {
  burnish_clear_error();
  if (burnish_is_missing(file, "the name of the weights file")) return NULL;
  burnish_model *model = calloc(1, sizeof *model);
  if (!model) {
    burnish_fail("out of memory while opening the model");
    return NULL;
  }
  pthread_mutex_init(&model->mutex, NULL);
  if (prepare(model, file, offset, threads)) {
    burnish_close(model);
    return NULL;
  }
  return model;
}

burnish_model *burnish_open(const char *weights, int threads) {
  return burnish_open_at(weights, 0, threads);
}

void burnish_close(burnish_model *model) {
  if (!model) return;
  burnish_pool_delete(model->pool);
  while (model->contexts) {
    burnish_context *next = model->contexts->next;
    burnish_context_delete(model->contexts);
    model->contexts = next;
  }
  burnish_weights_unmap(&model->weights);
  pthread_mutex_destroy(&model->mutex);
  free(model->idle);
  free(model->alone);
  free(model);
}

const burnish_entry *burnish_find_entry(const burnish_model *model, int entry) {
  if (burnish_is_missing(model, "the model")) return NULL;
  if (entry >= 0 && (uint32_t)entry < model->program->entry_count) {
    return &model->program->entries[entry];
  }
  burnish_fail("no entry %d; this model has %u", entry, model->program->entry_count);
  return NULL;
}

int burnish_threads(const burnish_model *model) {
  return burnish_is_missing(model, "the model") ? -1 : burnish_pool_threads(model->pool);
}

int burnish_entry_count(const burnish_model *model) {
  return burnish_is_missing(model, "the model") ? -1 : (int)model->program->entry_count;
}

int burnish_input_count(const burnish_model *model, int entry) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  return found ? (int)found->input_count : -1;
}

int burnish_output_count(const burnish_model *model, int entry) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  return found ? (int)found->output_count : -1;
}

static int describe(const burnish_tensor *tensors, uint32_t count, int index, burnish_tensor *out) {
  if (index < 0 || (uint32_t)index >= count) {
    return burnish_fail("no tensor %d; there are %u", index, count);
  }
  if (burnish_is_missing(out, "the place for a tensor's description")) return 1;
  *out = tensors[index];
  return 0;
}

int burnish_input(const burnish_model *model, int entry, int index, burnish_tensor *out) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  return found ? describe(found->inputs, found->input_count, index, out) : 1;
}

int burnish_output(const burnish_model *model, int entry, int index, burnish_tensor *out) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  return found ? describe(found->outputs, found->output_count, index, out) : 1;
}

int burnish_counted_axis(const burnish_model *model, int entry, int output) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  if (!found || output < 0 || (uint32_t)output >= found->output_count) return -1;
  return found->counts[output].axis;
}

static int takes(const burnish_entry *entry, const int64_t *const *shapes) {
  for (uint32_t i = 0; i < entry->input_count; i++) {
    for (int32_t axis = 0; axis < entry->inputs[i].rank; axis++) {
      if (entry->inputs[i].shape[axis] != shapes[i][axis]) return 0;
    }
  }
  return 1;
}

int burnish_choose_entry(const burnish_model *model, const int64_t *const *shapes) {
  if (burnish_is_missing(model, "the model") || burnish_is_missing(shapes, "the array of shapes")) return -1;
  for (uint32_t entry = 0; entry < model->program->entry_count; entry++) {
    if (takes(&model->program->entries[entry], shapes)) return (int)entry;
  }
  burnish_fail("none of the %u entries of this model takes these shapes",
               model->program->entry_count);
  return -1;
}

uint64_t burnish_arena_bytes(const burnish_model *model, int entry) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  return found ? found->arena_bytes : 0;
}

int burnish_call_count(const burnish_model *model, int entry) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  return found ? (int)found->call_count : -1;
}

const char *burnish_call_name(const burnish_model *model, int entry, int call) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  if (!found || call < 0 || (uint32_t)call >= found->call_count) return NULL;
  return found->calls[call].name;
}

int burnish_share(burnish_model *model, int entry, const uint8_t *alone) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  if (!found) return 1;
  model->alone[found - model->program->entries] = alone;
  return 0;
}
