/*
 * The thread pool: fork and join in under two microseconds while its threads spin, and no thread
 * running when the model is idle.
 *
 * A fork publishes a job and a counter of unclaimed tasks; the caller and the workers claim tasks
 * until none is left, and the caller then waits for those that workers hold. A worker that is
 * late, asleep or (after a process fork) gone costs nothing: its tasks are claimed by the others.
 *
 * The counter and the number of the job are one word, so that a claim can only succeed on the
 * job that the claimant saw: while it holds a claim that job cannot end, and its fields stand.
 *
 * A worker without work spins: long while a run is under way, briefly after one. After a while it
 * offers its processor to others between two looks, at once if it has ended up on the one that the
 * caller needs. Then it sleeps, and the first fork that finds it asleep wakes it.
 */
#define _GNU_SOURCE /* for sched_getcpu */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
  /* Spinning between runs, about what a sleeping thread costs to wake, and during one, through a
   * serial kernel; for the first third of it even others who want the processor have to wait. */
  IDLE_NANOSECONDS = 60000,
  BUSY_NANOSECONDS = 600000,
  SPINS_PER_CLOCK = 32,
  SPINS_PER_YIELD = 512,
  LINE = 128 /* two lines of 64 bytes are fetched together on x86 */
};

typedef struct {
  pthread_t thread;
  burnish_pool *pool;
  burnish_workspace *workspace;
} worker;

struct burnish_pool {
  /* What a worker needs to take part comes to it in one line. */
  _Alignas(LINE) _Atomic uint64_t claims; /* job number << 32 | unclaimed tasks */
  burnish_task task;
  void *closure;
  int32_t tasks;
  _Alignas(LINE) _Atomic int32_t finished;
  atomic_int failed;
  _Alignas(LINE) atomic_int busy;
  atomic_int sleeping;
  atomic_int stop;
  atomic_int runs;   /* under way */
  atomic_int caller; /* the processor of the last run's caller */
  _Alignas(LINE) pthread_mutex_t mutex;
  pthread_cond_t wake;
  unsigned wakes; /* how often sleepers were roused; guarded by the mutex */
  char error[512];
  int threads;
  worker *workers;
};

static _Thread_local burnish_pool *current;

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  __asm__ __volatile__("yield");
#endif
}

static void run_task(burnish_pool *pool, int32_t task) {
  burnish_environment environment = {NULL, pool->tasks};
  if (pool->task(task, &environment, pool->closure)) {
    int clean = 0;
    if (atomic_compare_exchange_strong(&pool->failed, &clean, 1)) {
      strncpy(pool->error, burnish_last_error(), sizeof pool->error - 1);
    }
  }
  atomic_fetch_add_explicit(&pool->finished, 1, memory_order_release);
}

static void claim_and_run(burnish_pool *pool) {
  uint64_t seen = atomic_load_explicit(&pool->claims, memory_order_acquire);
  while ((uint32_t)seen) {
    if (atomic_compare_exchange_weak_explicit(&pool->claims, &seen, seen - 1,
                                              memory_order_acq_rel, memory_order_acquire)) {
      run_task(pool, (int32_t)(uint32_t)seen - 1);
      seen = atomic_load_explicit(&pool->claims, memory_order_acquire);
    }
  }
}

static int has_work(burnish_pool *pool) {
  return (uint32_t)atomic_load(&pool->claims) != 0;
}

static int processor(void) {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

static int is_on_processor_of_caller(burnish_pool *pool) {
  int here = processor();
  return here >= 0 && here == atomic_load_explicit(&pool->caller, memory_order_relaxed);
}

static int spin_for_work(burnish_pool *pool) {
  uint64_t start = burnish_nanoseconds(), waited = 0, limit;
  do {
    for (int i = 0; i < SPINS_PER_CLOCK; i++) {
      if (has_work(pool)) return 1;
      pause_briefly();
    }
    int runs = atomic_load_explicit(&pool->runs, memory_order_relaxed);
    limit = runs ? BUSY_NANOSECONDS : IDLE_NANOSECONDS;
    waited = burnish_nanoseconds() - start;
    if (waited > limit / 3 || is_on_processor_of_caller(pool)) sched_yield();
  } while (waited < limit);
  return 0;
}

static void sleep_until_roused(burnish_pool *pool) {
  pthread_mutex_lock(&pool->mutex);
  /* Announced before the last look for work; rouse looks in the opposite order. */
  atomic_store(&pool->sleeping, 1);
  unsigned wakes = pool->wakes;
  while (!has_work(pool) && !atomic_load(&pool->stop) && wakes == pool->wakes) {
    pthread_cond_wait(&pool->wake, &pool->mutex);
  }
  pthread_mutex_unlock(&pool->mutex);
}

/* Once for all sleepers: those on their way need no second call. */
static void rouse(burnish_pool *pool) {
  if (!atomic_load(&pool->sleeping)) return;
  pthread_mutex_lock(&pool->mutex);
  atomic_store(&pool->sleeping, 0);
  pool->wakes++;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *argument) {
  worker *self = argument;
  burnish_workspace_use(self->workspace);
  current = self->pool;
  while (!atomic_load_explicit(&self->pool->stop, memory_order_relaxed)) {
    if (spin_for_work(self->pool)) {
      claim_and_run(self->pool);
    } else {
      sleep_until_roused(self->pool);
    }
  }
  return NULL;
}

static int32_t run_serially(burnish_task task, void *closure) {
  burnish_environment environment = {NULL, 1};
  return task(0, &environment, closure);
}

static void await_others(burnish_pool *pool, int32_t tasks) {
  int spins = 0;
  while (atomic_load_explicit(&pool->finished, memory_order_acquire) != tasks) {
    pause_briefly();
    /* A worker may have lost its processor; it may need this one. */
    if (++spins % SPINS_PER_YIELD == 0) sched_yield();
  }
}

static int32_t fork_and_join(burnish_pool *pool, burnish_task task, void *closure, int32_t tasks) {
  pool->task = task;
  pool->closure = closure;
  pool->tasks = tasks;
  atomic_store_explicit(&pool->failed, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
  uint64_t job = (atomic_load_explicit(&pool->claims, memory_order_relaxed) >> 32) + 1;
  atomic_store(&pool->claims, job << 32 | (uint32_t)tasks);
  rouse(pool);
  claim_and_run(pool);
  await_others(pool, tasks);
  if (!atomic_load_explicit(&pool->failed, memory_order_relaxed)) return 0;
  burnish_fail("%s", pool->error);
  return -1;
}

int32_t burnish_launch(burnish_task task, void *closure, int32_t tasks) {
  burnish_pool *pool = current;
  if (!pool || pool->threads == 1 || tasks == 1) return run_serially(task, closure);
  /* Another caller, or a task of this one's own, holds the pool: waiting would gain nothing. */
  if (atomic_exchange_explicit(&pool->busy, 1, memory_order_acquire)) {
    return run_serially(task, closure);
  }
  int32_t result = fork_and_join(pool, task, closure, tasks > 0 ? tasks : pool->threads);
  atomic_store_explicit(&pool->busy, 0, memory_order_release);
  return result;
}

int burnish_pool_threads(const burnish_pool *pool) { return pool->threads; }

void burnish_pool_enter(burnish_pool *pool) {
  current = pool;
  atomic_store_explicit(&pool->caller, processor(), memory_order_relaxed);
  atomic_fetch_add_explicit(&pool->runs, 1, memory_order_relaxed);
}

void burnish_pool_share(burnish_pool *pool, int shares) { current = shares ? pool : NULL; }

void burnish_pool_leave(burnish_pool *pool) {
  current = NULL;
  atomic_fetch_sub_explicit(&pool->runs, 1, memory_order_relaxed);
}

static int start_workers(burnish_pool *pool, int count) {
  for (int i = 0; i < count; i++) {
    worker *each = &pool->workers[i];
    each->pool = pool;
    each->workspace = burnish_workspace_new();
    if (!each->workspace || pthread_create(&each->thread, NULL, work, each)) {
      burnish_workspace_delete(each->workspace);
      return burnish_fail("cannot start thread %d of %d", i + 2, count + 1);
    }
    pool->threads++;
    if (burnish_affinity_apply(each->thread, i)) return 1;
  }
  return 0;
}

burnish_pool *burnish_pool_new(int threads) {
  burnish_pool *pool = aligned_alloc(LINE, sizeof *pool);
  if (!pool) return NULL;
  memset(pool, 0, sizeof *pool);
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pool->threads = 1;
  pool->workers = calloc((size_t)threads, sizeof *pool->workers);
  if (!pool->workers || start_workers(pool, threads - 1)) {
    burnish_pool_delete(pool);
    return NULL;
  }
  return pool;
}

void burnish_pool_delete(burnish_pool *pool) {
  if (!pool) return;
  atomic_store(&pool->stop, 1);
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
  for (int i = 0; i < pool->threads - 1; i++) {
    pthread_join(pool->workers[i].thread, NULL);
    burnish_workspace_delete(pool->workers[i].workspace);
  }
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
  free(pool->workers);
  free(pool);
}
