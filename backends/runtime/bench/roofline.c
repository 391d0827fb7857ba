/*
 * What a machine does at most: multiplications and additions between registers, and bytes read
 * from each level of its memory. Kernels by the calling convention of TVM's, to be timed as any
 * other by bench.c; linked into the library that measures a machine only.
 *
 * Every thread of the pool does the same work on data of its own. Method: S. Williams, A. Waterman,
 * D. Patterson, "Roofline: an insightful visual performance model for multicore architectures",
 * CACM 52(4), 2009.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../internal.h"

#if defined(__AVX512F__)
#define VECTOR 64
#elif defined(__AVX__)
#define VECTOR 32
#else
#define VECTOR 16
#endif

typedef float floats __attribute__((vector_size(VECTOR)));
typedef uint64_t words __attribute__((vector_size(VECTOR)));

enum {
  CHAINS = 12, /* independent sums: latency times throughput of a fused multiply-add is 8 to 10 */
  STREAMS = 8, /* vectors read in one turn of a loop */
  HUGE_PAGE = 2 * 1024 * 1024
};

#define KERNEL(name) \
  BURNISH_API int32_t __tvm_ffi_burnish_probe_##name(void *handle, const burnish_any *args, \
                                                     int32_t count, burnish_any *result); \
  int32_t __tvm_ffi_burnish_probe_##name(void *handle, const burnish_any *args, int32_t count, \
                                         burnish_any *result)

typedef struct {
  int64_t threads;
  int64_t turns; /* of the loop */
  int64_t bytes; /* that each thread reads in a turn */
  int64_t reach; /* bytes from which these are taken, other ones by each call */
  const uint8_t *from;
} request;

static volatile double sink; /* results go here, so that no compiler can leave out the work */

static request asked(const burnish_any *args) {
  const burnish_dltensor *tensor = args[0].value.pointer;
  const int64_t *numbers = tensor->data;
  return (request){numbers[0], numbers[1], numbers[2], numbers[3], NULL};
}

typedef struct {
  const int64_t *processors;
  atomic_int arrived;
} places;

/* Each task waits for all others, so that no thread takes two. */
static int32_t settle(int32_t task, burnish_environment *environment, void *closure) {
  places *to = closure;
  atomic_fetch_add(&to->arrived, 1);
  while (atomic_load(&to->arrived) < environment->tasks) sched_yield();
#if defined(__linux__)
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((size_t)to->processors[task], &one);
  sched_setaffinity(0, sizeof one, &one); /* where that is not allowed, they stay as they are */
#endif
  return 0;
}

/* Give each thread a processor of its own, of those that the argument numbers: on a busy machine
 * all of them might end up on one. */
KERNEL(settle) {
  (void)handle, (void)count, (void)result;
  const burnish_dltensor *tensor = args[0].value.pointer;
  places to = {tensor->data, 0};
  return burnish_launch(settle, &to, (int32_t)tensor->shape[0]);
}

/* 2 * CHAINS * VECTOR / sizeof(float) operations in a turn. */
static int32_t multiply_add(int32_t task, burnish_environment *environment, void *closure) {
  const request *job = closure;
  floats sums[CHAINS];
  floats factor, term;
  (void)environment;
  for (size_t lane = 0; lane < VECTOR / sizeof(float); lane++) {
    factor[lane] = 0.5f;
    term[lane] = 0.25f + (float)task;
  }
#pragma unroll
  for (int i = 0; i < CHAINS; i++) sums[i] = term * (float)(i + 1);
  for (int64_t turn = 0; turn < job->turns; turn++) {
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * factor + term;
  }
  double total = 0;
#pragma unroll
  for (int i = 0; i < CHAINS; i++) total += sums[i][0];
  sink = total;
  return 0;
}

KERNEL(float32) {
  (void)handle, (void)count, (void)result;
  request job = asked(args);
  return burnish_launch(multiply_add, &job, (int32_t)job.threads);
}

#if defined(__x86_64__)

/* 4 * CHAINS * 64 / sizeof(float) operations in a turn: each lane adds two products. */
__attribute__((target("avx512f,avx512bf16"))) static int32_t multiply_add_bfloat16(
    int32_t task, burnish_environment *environment, void *closure) {
  const request *job = closure;
  __m512 sums[CHAINS];
  __m512bh one = (__m512bh)_mm512_set1_epi16(0x3f80), small = (__m512bh)_mm512_set1_epi16(0x3400);
  (void)environment;
#pragma unroll
  for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_set1_ps((float)(task + i));
  for (int64_t turn = 0; turn < job->turns; turn++) {
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_dpbf16_ps(sums[i], one, small);
  }
  double total = 0;
#pragma unroll
  for (int i = 0; i < CHAINS; i++) total += sums[i][0];
  sink = total;
  return 0;
}

KERNEL(bfloat16) {
  static const char *const needed[] = {"avx512f", "avx512bf16", NULL};
  (void)handle, (void)count, (void)result;
  if (burnish_first_missing(needed)) return burnish_fail("this processor lacks avx512bf16");
  request job = asked(args);
  return burnish_launch(multiply_add_bfloat16, &job, (int32_t)job.threads);
}

/* 8 * CHAINS * VECTOR / sizeof(int32_t) operations in a turn: each lane adds four products. */
#define MULTIPLY_ADD_INT8(name, features, type, one, add)                                   \
  __attribute__((target(features))) static int32_t name(                                    \
      int32_t task, burnish_environment *environment, void *closure) {                      \
    const request *job = closure;                                                           \
    type sums[CHAINS], left = one(0x01020304), right = one(0x05060708);                     \
    (void)environment;                                                                      \
    _Pragma("unroll") for (int i = 0; i < CHAINS; i++) sums[i] = one(task + i);             \
    for (int64_t turn = 0; turn < job->turns; turn++) {                                     \
      _Pragma("unroll") for (int i = 0; i < CHAINS; i++) sums[i] = add(sums[i], left, right); \
    }                                                                                       \
    int32_t total = 0;                                                                      \
    _Pragma("unroll") for (int i = 0; i < CHAINS; i++) total ^= ((const int32_t *)&sums[i])[0]; \
    sink = total;                                                                           \
    return 0;                                                                               \
  }

/* Two products at a time in 16 bits, where no instruction takes four; the operands are widened. */
#if VECTOR == 64
#define ADD_HALVES(sum, left, right)                                           \
  _mm512_add_epi32(_mm512_add_epi32(sum, _mm512_madd_epi16(left, right)), \
                   _mm512_madd_epi16(right, sum))
MULTIPLY_ADD_INT8(int8_halves, "avx512f,avx512bw", __m512i, _mm512_set1_epi32, ADD_HALVES)
MULTIPLY_ADD_INT8(int8_whole, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32,
                  _mm512_dpbusd_epi32)
static const char *const whole_needs[] = {"avx512f", "avx512vnni", NULL};
#elif VECTOR == 32
#define ADD_HALVES(sum, left, right)                                           \
  _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(left, right)), \
                   _mm256_madd_epi16(right, sum))
MULTIPLY_ADD_INT8(int8_halves, "avx2", __m256i, _mm256_set1_epi32, ADD_HALVES)
MULTIPLY_ADD_INT8(int8_whole, "avx2,avxvnni", __m256i, _mm256_set1_epi32,
                  _mm256_dpbusd_avx_epi32)
static const char *const whole_needs[] = {"avx2", "avxvnni", NULL};
#else
#define ADD_HALVES(sum, left, right)                                     \
  _mm_add_epi32(_mm_add_epi32(sum, _mm_madd_epi16(left, right)), \
                _mm_madd_epi16(right, sum))
MULTIPLY_ADD_INT8(int8_halves, "sse2", __m128i, _mm_set1_epi32, ADD_HALVES)
#endif

KERNEL(int8) {
  (void)handle, (void)count, (void)result;
  request job = asked(args);
#if VECTOR > 16
  if (!burnish_first_missing(whole_needs))
    return burnish_launch(int8_whole, &job, (int32_t)job.threads);
#endif
  return burnish_launch(int8_halves, &job, (int32_t)job.threads);
}

#endif

static uint8_t *block;
static int64_t block_bytes, next;

static int32_t fill(int32_t task, burnish_environment *environment, void *closure) {
  const request *job = closure;
  int64_t share = job->reach / environment->tasks;
  memset(block + task * share, 1, (size_t)share);
  return 0;
}

/* The block only grows, so that the largest request should come first. */
static int reserve(request *job) {
  if (job->reach > block_bytes) {
    free(block);
    block_bytes = 0;
    size_t bytes = (size_t)((job->reach + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    block = aligned_alloc(HUGE_PAGE, bytes);
    if (!block) return burnish_fail("out of memory");
#if defined(__linux__)
    madvise(block, bytes, MADV_HUGEPAGE);
#endif
    block_bytes = job->reach;
    if (burnish_launch(fill, job, (int32_t)job->threads)) return -1;
  }
  int64_t step = job->threads * job->bytes;
  if (next + step > job->reach) next = 0;
  job->from = block + next;
  next += step;
  return 0;
}

/* Reads its part `turns` times; bytes is a multiple of STREAMS * VECTOR. */
static int32_t read_part(int32_t task, burnish_environment *environment, void *closure) {
  const request *job = closure;
  const words *first = (const words *)(job->from + task * job->bytes);
  const words *last = first + job->bytes / VECTOR;
  words sums[STREAMS] = {{0}};
  (void)environment;
  for (int64_t turn = 0; turn < job->turns; turn++) {
    for (const words *at = first; at < last; at += STREAMS) {
#pragma unroll
      for (int i = 0; i < STREAMS; i++) sums[i] += at[i];
    }
    __asm__ __volatile__("" ::: "memory"); /* what was read must be read again */
  }
  words total = {0};
#pragma unroll
  for (int i = 0; i < STREAMS; i++) total += sums[i];
  sink = (double)total[0];
  return 0;
}

KERNEL(read) {
  (void)handle, (void)count, (void)result;
  request job = asked(args);
  if (reserve(&job)) return -1;
  return burnish_launch(read_part, &job, (int32_t)job.threads);
}
