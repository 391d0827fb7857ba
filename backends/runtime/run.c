/* Running a model: take a context, bind the caller's memory, call the kernels. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

static burnish_context *take_context(burnish_model *model, int number) {
  const burnish_entry *entry = burnish_find_entry(model, number);
  if (!entry) return NULL;
  pthread_mutex_lock(&model->mutex);
  burnish_context *context = model->idle[number];
  if (context) model->idle[number] = context->next_idle;
  pthread_mutex_unlock(&model->mutex);
  if (context) return context;

  context = burnish_context_new(model, entry);
  if (!context) {
    burnish_fail("out of memory: a run needs %llu bytes", (unsigned long long)entry->arena_bytes);
    return NULL;
  }
  pthread_mutex_lock(&model->mutex);
  context->next = model->contexts;
  model->contexts = context;
  pthread_mutex_unlock(&model->mutex);
  return context;
}

static void return_context(burnish_context *context) {
  burnish_model *model = context->model;
  ptrdiff_t number = context->entry - model->program->entries;
  pthread_mutex_lock(&model->mutex);
  context->next_idle = model->idle[number];
  model->idle[number] = context;
  pthread_mutex_unlock(&model->mutex);
}

/* Memory that is less aligned than kernels take for granted is replaced by a copy. */
static int bind_slot(burnish_context *context, uint32_t slot, const void *given,
                     const burnish_tensor *tensor) {
  if (!given && tensor->bytes) return burnish_fail("no memory given for %s", tensor->name);
  if (given && (uintptr_t)given % BURNISH_ALIGNMENT == 0) {
    context->slots[slot] = (uint8_t *)(uintptr_t)given;
    return 0;
  }
  if (!context->staging[slot]) {
    size_t size = (size_t)(tensor->bytes / BURNISH_LINE + 1) * BURNISH_LINE;
    context->staging[slot] = aligned_alloc(BURNISH_LINE, size);
    if (!context->staging[slot]) return burnish_fail("out of memory: no copy of %s", tensor->name);
  }
  context->slots[slot] = context->staging[slot];
  return 0;
}

static int bind_memory(burnish_context *context, const void *const *inputs, void *const *outputs) {
  const burnish_entry *entry = context->entry;
  if (entry->input_count && burnish_is_missing(inputs, "the array of inputs")) return 1;
  if (entry->output_count && burnish_is_missing(outputs, "the array of outputs")) return 1;
  for (uint32_t i = 0; i < entry->input_count; i++) {
    if (bind_slot(context, i, inputs[i], &entry->inputs[i])) return 1;
    if (context->slots[i] != inputs[i] && entry->inputs[i].bytes) {
      memcpy(context->slots[i], inputs[i], (size_t)entry->inputs[i].bytes);
    }
  }
  for (uint32_t i = 0; i < entry->output_count; i++) {
    if (bind_slot(context, entry->input_count + i, outputs[i], &entry->outputs[i])) return 1;
  }
  context->outputs = outputs;
  for (uint32_t i = 0; i < entry->place_count; i++) {
    const burnish_place *place = &entry->places[i];
    uint32_t before = place->space == BURNISH_OUTPUT ? entry->input_count : 0;
    if (place->space > BURNISH_OUTPUT) continue;
    context->tensors[i].data = context->slots[before + place->slot] + place->offset;
  }
  return 0;
}

burnish_context *burnish_begin(burnish_model *model, int entry, const void *const *inputs,
                               void *const *outputs) {
  burnish_context *context = take_context(model, entry);
  if (!context) return NULL;
  if (bind_memory(context, inputs, outputs)) {
    return_context(context);
    return NULL;
  }
  return context;
}

static int run_call(burnish_context *context, uint32_t index) {
  const burnish_call *call = &context->entry->calls[index];
  burnish_any result = {0};
  if (!call->kernel) {
    return burnish_fail("call %u of this model belongs to another engine", index);
  }
  if (call->kernel(NULL, context->frames + call->first, (int32_t)call->count, &result) == 0) {
    return 0;
  }
  char reason[512];
  strncpy(reason, burnish_last_error(), sizeof reason - 1);
  reason[sizeof reason - 1] = 0;
  return burnish_fail("kernel %s failed: %s", call->name, reason);
}

/* Whether a jump is taken: always, or unless the one element of its argument is true. */
static int jumps(const burnish_context *context, const burnish_call *call) {
  if (!call->count) return 1;
  const burnish_dltensor *condition = context->frames[call->first].value.pointer;
  return !*(const uint8_t *)condition->data;
}

int burnish_range(burnish_context *context, int first, int last) {
  if (burnish_is_missing(context, "the context")) return 1;
  const burnish_call *calls = context->entry->calls;
  if (first < 0 || last < first || (uint32_t)last > context->entry->call_count) {
    return burnish_fail("no calls %d to %d; there are %u", first, last,
                        context->entry->call_count);
  }
  burnish_workspace_use(context->workspace);
  burnish_pool_enter(context->model->pool);
  int profiling = context->model->profiling;
  const uint8_t *instead = context->model->alone[context->entry - context->model->program->entries];
  int failed = 0, was_alone = 0;
  for (int i = first; i < last && !failed; i++) {
    if (calls[i].jump >= 0) {
      if (jumps(context, &calls[i])) i = calls[i].jump - 1;
      continue;
    }
    int alone = instead ? instead[i] : calls[i].alone;
    if (alone != was_alone) burnish_pool_share(context->model->pool, !alone);
    was_alone = alone;
    uint64_t start = profiling ? burnish_nanoseconds() : 0;
    failed = run_call(context, (uint32_t)i);
    if (profiling) burnish_profile_call(context, (uint32_t)i, burnish_nanoseconds() - start);
  }
  burnish_workspace_use(NULL);
  burnish_pool_leave(context->model->pool);
  return failed;
}

void *burnish_buffer(burnish_context *context, int buffer, uint64_t *bytes) {
  if (burnish_is_missing(context, "the context")) return NULL;
  if (burnish_is_missing(bytes, "the place for a size")) return NULL;
  if (buffer < 0 || (uint32_t)buffer >= context->entry->place_count) {
    burnish_fail("no buffer %d; there are %u", buffer, context->entry->place_count);
    return NULL;
  }
  const burnish_dltensor *tensor = &context->tensors[buffer];
  *bytes = tensor->bits / 8;
  for (int32_t i = 0; i < tensor->rank; i++) *bytes *= (uint64_t)tensor->shape[i];
  return tensor->data;
}

int burnish_end(burnish_context *context) {
  if (burnish_is_missing(context, "the context")) return 1;
  const burnish_entry *entry = context->entry;
  for (uint32_t i = 0; i < entry->output_count; i++) {
    uint8_t *slot = context->slots[entry->input_count + i];
    if (slot != context->outputs[i] && entry->outputs[i].bytes) {
      memcpy(context->outputs[i], slot, (size_t)entry->outputs[i].bytes);
    }
  }
  return_context(context);
  return 0;
}

int burnish_counts(const burnish_context *context, int64_t *counts) {
  if (burnish_is_missing(context, "the context")) return 1;
  if (burnish_is_missing(counts, "the place for counts")) return 1;
  const burnish_entry *entry = context->entry;
  for (uint32_t i = 0; i < entry->output_count; i++) {
    const burnish_count *count = &entry->counts[i];
    const int64_t *found = count->axis < 0 ? NULL : context->tensors[count->place].data;
    counts[i] = found ? *found : -1;
  }
  return 0;
}

int burnish_run_counted(burnish_model *model, int entry, const void *const *inputs,
                        void *const *outputs, int64_t *counts) {
  burnish_context *context = burnish_begin(model, entry, inputs, outputs);
  if (!context) return 1;
  int failed = burnish_range(context, 0, (int)context->entry->call_count);
  if (counts && !failed) burnish_counts(context, counts);
  burnish_end(context);
  return failed;
}

int burnish_run_entry(burnish_model *model, int entry, const void *const *inputs,
                      void *const *outputs) {
  return burnish_run_counted(model, entry, inputs, outputs, NULL);
}

int burnish_run(burnish_model *model, const void *const *inputs, void *const *outputs) {
  return burnish_run_entry(model, 0, inputs, outputs);
}
