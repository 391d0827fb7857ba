/* Timing each call of a model. */
#include <string.h>

#include "model.h"

enum { READS = 32 };

/* What reading the clock adds to a time: the least that lies between two reads. */
static uint64_t clock_cost(void) {
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < READS; i++) {
    uint64_t start = burnish_nanoseconds(), taken = burnish_nanoseconds() - start;
    if (taken < least) least = taken;
  }
  return least;
}

void burnish_profile(burnish_model *model, int on) {
  if (burnish_is_missing(model, "the model")) return;
  model->profiling = on;
  if (!on) return;
  model->clock_cost = clock_cost();
  for (burnish_context *each = model->contexts; each; each = each->next) {
    memset(each->timings, 0, each->entry->call_count * sizeof *each->timings);
  }
}

void burnish_profile_call(burnish_context *context, uint32_t index, uint64_t nanoseconds) {
  uint64_t cost = context->model->clock_cost;
  context->timings[index].nanoseconds += nanoseconds > cost ? nanoseconds - cost : 1;
  context->timings[index].rounds++;
}

static int add_up(burnish_model *model, int entry, uint64_t *ns, uint64_t *rounds) {
  const burnish_entry *found = burnish_find_entry(model, entry);
  if (!found) return 1;
  for (uint32_t i = 0; i < found->call_count; i++) {
    burnish_timing sum = {0, 0};
    for (burnish_context *each = model->contexts; each; each = each->next) {
      if (each->entry != found) continue;
      sum.nanoseconds += each->timings[i].nanoseconds;
      sum.rounds += each->timings[i].rounds;
    }
    if (ns) ns[i] = sum.nanoseconds;
    if (rounds) rounds[i] = sum.rounds;
  }
  return 0;
}

int burnish_profile_read(burnish_model *model, int entry, uint64_t *ns) {
  return burnish_is_missing(ns, "the place for times") || add_up(model, entry, ns, NULL);
}

int burnish_profile_rounds(burnish_model *model, int entry, uint64_t *rounds) {
  return burnish_is_missing(rounds, "the place for counts") || add_up(model, entry, NULL, rounds);
}
