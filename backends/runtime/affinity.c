/*
 * On which processors the threads of a pool run: BURNISH_AFFINITY lists them, as in "1,4-7", one
 * for each thread in turn. The caller's own thread stays as the caller has it. Linux only.
 */
#if defined(__linux__)
#define _GNU_SOURCE /* for pthread_setaffinity_np */
#include <sched.h>
#endif
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MOST = 1024 };

/* Read a number at *text, -1 if there is none of use. */
static long number(const char **text) {
  if (**text < '0' || **text > '9') return -1;
  char *end;
  long value = strtol(*text, &end, 10);
  *text = end;
  return value < MOST ? value : -1;
}

/* Append what stands up to a comma to list; return how many processors it has then, or -1. */
static int append(const char **text, int *list, int count) {
  long first = number(text), last = first;
  if (**text == '-') {
    ++*text;
    last = number(text);
  }
  if (first < 0 || last < first || count + last - first >= MOST) return -1;
  for (long each = first; each <= last; each++) list[count++] = (int)each;
  return count;
}

static int parse(const char *text, int *list) {
  int count = append(&text, list, 0);
  while (count > 0 && *text == ',') {
    text++;
    count = append(&text, list, count);
  }
  return *text ? -1 : count;
}

static int bind(pthread_t thread, int to) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(to, &set);
  int error = pthread_setaffinity_np(thread, sizeof set, &set);
  if (error) {
    return burnish_fail("BURNISH_AFFINITY: cannot use processor %d: %s", to, strerror(error));
  }
#else
  (void)thread, (void)to;
#endif
  return 0;
}

int burnish_affinity_apply(pthread_t thread, int worker) {
  const char *text = getenv("BURNISH_AFFINITY");
  if (!text || !*text) return 0;
  int list[MOST], count = parse(text, list);
  if (count < 1) {
    return burnish_fail("BURNISH_AFFINITY is \"%s\"; list processors as in 1,4-7", text);
  }
  return bind(thread, list[worker % count]);
}
