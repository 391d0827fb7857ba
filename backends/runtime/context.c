/* Making a context: memory for the arena, and call frames filled once for all its runs. */
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "model.h"

enum { HUGE_PAGE = 2 * 1024 * 1024 };

static uint8_t *allocate_arena(uint64_t bytes) {
  size_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : BURNISH_LINE;
  size_t size = (size_t)((bytes + alignment) / alignment * alignment);
  if (size < bytes) return NULL;
  uint8_t *arena = aligned_alloc(alignment, size);
#if defined(__linux__)
  if (arena && alignment == HUGE_PAGE) madvise(arena, size, MADV_HUGEPAGE);
#endif
  return arena;
}

static uint8_t *address(const burnish_context *context, const burnish_place *place) {
  switch (place->space) {
    case BURNISH_CONSTANT:
      return (uint8_t *)(uintptr_t)context->model->weights.payload + place->offset;
    case BURNISH_ARENA:
      return context->arena + place->offset;
    default:
      return NULL; /* bound anew by each run */
  }
}

static void fill_frames(burnish_context *context) {
  const burnish_entry *entry = context->entry;
  for (uint32_t i = 0; i < entry->place_count; i++) {
    const burnish_place *place = &entry->places[i];
    context->tensors[i] = (burnish_dltensor){
        .data = address(context, place),
        .device_type = BURNISH_DEVICE_CPU,
        .rank = place->rank,
        .code = place->code,
        .bits = place->bits,
        .lanes = 1,
        .shape = entry->shapes + place->shape,
    };
  }
  for (uint32_t i = 0; i < entry->arg_count; i++) {
    context->frames[i].type_index = BURNISH_TYPE_TENSOR;
    context->frames[i].value.pointer = &context->tensors[entry->args[i]];
  }
}

static void *table(uint32_t count, size_t size) { return calloc((size_t)count + 1, size); }

burnish_context *burnish_context_new(burnish_model *model, const burnish_entry *entry) {
  burnish_context *context = calloc(1, sizeof *context);
  if (!context) return NULL;
  uint32_t ports = entry->input_count + entry->output_count;
  context->model = model;
  context->entry = entry;
  context->arena = allocate_arena(entry->arena_bytes);
  context->tensors = table(entry->place_count, sizeof *context->tensors);
  context->frames = table(entry->arg_count, sizeof *context->frames);
  context->slots = table(ports, sizeof *context->slots);
  context->staging = table(ports, sizeof *context->staging);
  context->timings = table(entry->call_count, sizeof *context->timings);
  context->workspace = burnish_workspace_new();
  if (!context->arena || !context->tensors || !context->frames || !context->slots ||
      !context->staging || !context->timings || !context->workspace) {
    burnish_context_delete(context);
    return NULL;
  }
  fill_frames(context);
  return context;
}

void burnish_context_delete(burnish_context *context) {
  const burnish_entry *entry = context->entry;
  for (uint32_t i = 0; context->staging && i < entry->input_count + entry->output_count; i++) {
    free(context->staging[i]);
  }
  burnish_workspace_delete(context->workspace);
  free(context->timings);
  free(context->staging);
  free(context->slots);
  free(context->frames);
  free(context->tensors);
  free(context->arena);
  free(context);
}
