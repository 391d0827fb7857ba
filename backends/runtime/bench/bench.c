/*
 * Timing single kernels as a model would run them: on the same pool, with the workspace of the
 * same runtime. Linked into libraries of candidate kernels only.
 */
#include <stdatomic.h>

#include "../internal.h"

typedef struct {
  burnish_kernel kernel;
  const burnish_any *args;
  int32_t count;
} call;

BURNISH_API burnish_pool *burnish_bench_open(int threads);
BURNISH_API void burnish_bench_close(burnish_pool *pool);
BURNISH_API int burnish_bench_time(burnish_pool *pool, const call *timed,
                                   const burnish_dltensor *flushed, int flushed_count, int repeat,
                                   uint64_t budget, uint64_t *nanoseconds);

/* The calling thread's workspace lasts as long as the process, which serves one bench. */
burnish_pool *burnish_bench_open(int threads) {
  burnish_workspace_use(burnish_workspace_new());
  return burnish_pool_new(threads);
}

void burnish_bench_close(burnish_pool *pool) { burnish_pool_delete(pool); }

static uint64_t bytes_of(const burnish_dltensor *tensor) {
  uint64_t bytes = tensor->bits / 8;
  for (int32_t i = 0; i < tensor->rank; i++) bytes *= (uint64_t)tensor->shape[i];
  return bytes;
}

/* Put a tensor out of every cache. */
static void flush(const burnish_dltensor *tensor) {
  const char *data = tensor->data;
  uint64_t bytes = bytes_of(tensor);
  for (uint64_t at = 0; at < bytes; at += BURNISH_LINE) {
#if defined(__x86_64__)
    __builtin_ia32_clflush(data + at);
#elif defined(__aarch64__)
    __asm__ __volatile__("dc civac, %0" : : "r"(data + at) : "memory");
#else
    (void)data;
#endif
  }
  atomic_thread_fence(memory_order_seq_cst);
}

/* Every thread of the pool is awake once all of these tasks have begun. */
static int32_t meet(int32_t task, burnish_environment *environment, void *arrived) {
  (void)task;
  atomic_fetch_add((atomic_int *)arrived, 1);
  while (atomic_load((atomic_int *)arrived) < environment->tasks) {
  }
  return 0;
}

static int run(const call *timed) {
  burnish_any result = {0};
  return timed->kernel(NULL, timed->args, timed->count, &result);
}

static int time_calls(const call *timed, const burnish_dltensor *flushed, int flushed_count,
                      int repeat, uint64_t budget, uint64_t *nanoseconds) {
  if (run(timed)) return -1;
  uint64_t begin = burnish_nanoseconds();
  for (int i = 0; i < repeat; i++) {
    for (int j = 0; j < flushed_count; j++) flush(&flushed[j]);
    atomic_int arrived = 0;
    burnish_launch(meet, &arrived, 0);
    uint64_t start = burnish_nanoseconds();
    if (run(timed)) return -1;
    uint64_t stop = burnish_nanoseconds();
    nanoseconds[i] = stop - start;
    if (stop - begin > budget) return i + 1;
  }
  return repeat;
}

int burnish_bench_time(burnish_pool *pool, const call *timed, const burnish_dltensor *flushed,
                       int flushed_count, int repeat, uint64_t budget, uint64_t *nanoseconds) {
  burnish_clear_error();
  burnish_pool_enter(pool);
  int done = time_calls(timed, flushed, flushed_count, repeat, budget, nanoseconds);
  burnish_pool_leave(pool);
  return done;
}
