"""A model of three calls, of kernels written in C by the calling convention of TVM's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from burnish.backends import link
from burnish.backends.program import Buffer, BufferKind, Call, Program
from burnish.target import Target

KERNELS = r"""
#include <stddef.h>
#include <string.h>
#include "internal.h"

typedef int32_t (*launcher)(burnish_task, void *, int32_t);
typedef void *(*allocator)(int32_t, int32_t, uint64_t, int32_t, int32_t);
typedef int32_t (*releaser)(int32_t, int32_t, void *);
__attribute__((weak)) launcher __TVMBackendParallelLaunch;
__attribute__((weak)) allocator __TVMBackendAllocWorkspace;
__attribute__((weak)) releaser __TVMBackendFreeWorkspace;
void TVMFFIErrorSetRaisedFromCStrParts(const char *, const char **, int32_t);

#define KERNEL(name) \
  __attribute__((visibility("default"))) \
  int32_t __tvm_ffi_##name(void *handle, const burnish_any *args, int32_t count, \
                           burnish_any *result); \
  int32_t __tvm_ffi_##name(void *handle, const burnish_any *args, int32_t count, \
                           burnish_any *result)
#define UNUSED (void)handle, (void)args, (void)count, (void)result
#define TENSOR(i) ((const burnish_dltensor *)args[i].value.pointer)
#define FLOATS(i) ((float *)TENSOR(i)->data)

static int64_t size(const burnish_dltensor *t) {
  int64_t n = 1;
  for (int32_t i = 0; i < t->rank; i++) n *= t->shape[i];
  return n;
}

typedef struct { float *from, *to; int64_t n; } pair;

static int32_t twice(int32_t task, burnish_environment *env, void *closure) {
  pair *p = closure;
  int64_t share = (p->n + env->tasks - 1) / env->tasks;
  for (int64_t i = task * share; i < (task + 1) * share && i < p->n; i++) {
    p->to[i] = 2 * p->from[i];
  }
  return 0;
}

/* y = 2 x, in parallel */
KERNEL(twice) {
  UNUSED;
  pair p = {FLOATS(0), FLOATS(1), size(TENSOR(0))};
  return __TVMBackendParallelLaunch(twice, &p, 0);
}

/* z = x + y */
KERNEL(add) {
  UNUSED;
  for (int64_t i = 0; i < size(TENSOR(2)); i++) FLOATS(2)[i] = FLOATS(0)[i] + FLOATS(1)[i];
  return 0;
}

/* y = x backwards, through scratch memory */
KERNEL(reverse) {
  UNUSED;
  int64_t n = size(TENSOR(0));
  float *scratch = __TVMBackendAllocWorkspace(1, 0, (uint64_t)n * 4, 2, 32);
  if (!scratch || (uintptr_t)scratch % 64) return -1;
  memcpy(scratch, FLOATS(0), (size_t)n * 4);
  for (int64_t i = 0; i < n; i++) FLOATS(1)[i] = scratch[n - 1 - i];
  return __TVMBackendFreeWorkspace(1, 0, scratch);
}

/* fails unless every address is a multiple of 16 */
KERNEL(aligned) {
  UNUSED;
  for (int32_t i = 0; i < count; i++) {
    const char *parts[] = {"argument is ", "not aligned"};
    if ((uintptr_t)TENSOR(i)->data % 16) {
      TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 2);
      return -1;
    }
  }
  memcpy(FLOATS(1), FLOATS(0), (size_t)size(TENSOR(0)) * 4);
  return 0;
}

static int32_t fail_late(int32_t task, burnish_environment *env, void *closure) {
  const char *parts[] = {"task failed"};
  (void)env, (void)closure;
  if (task) return 0;
  TVMFFIErrorSetRaisedFromCStrParts("RuntimeError", parts, 1);
  return -1;
}

KERNEL(fails) {
  UNUSED;
  return __TVMBackendParallelLaunch(fail_late, NULL, 8);
}

KERNEL(crashes) {
  UNUSED;
  *(volatile int *)8 = 1;
  return 0;
}

KERNEL(hangs) {
  UNUSED;
  volatile int forever = 1;
  while (forever) {
  }
  return 0;
}
"""

SHAPE = (37, 53)


def compile_c(source: str, target: Target, folder: Path) -> bytes:
    (folder / "kernels.c").write_text(source)
    link._compile("kernels.c", (f"-I{link.RUNTIME}",), target, folder)
    return (folder / "kernels.o").read_bytes()


def weight() -> np.ndarray:
    return np.random.default_rng(5).standard_normal(SHAPE, np.float32)


def make_program(kernels: bytes) -> Program:
    """y = reverse(2 x + w)."""
    x = Buffer("x", SHAPE, "float32", BufferKind.INPUT)
    y = Buffer("y", SHAPE, "float32", BufferKind.OUTPUT)
    w = Buffer("w", SHAPE, "float32", BufferKind.CONSTANT, weight())
    doubled, shifted = (Buffer(n, SHAPE, "float32", BufferKind.TEMPORARY) for n in "ab")
    calls = [
        Call("twice", (x, doubled)),
        Call("add", (doubled, w, shifted)),
        Call("reverse", (shifted, y)),
    ]
    return Program([x], [y], calls, [kernels])


def answer(x: np.ndarray) -> np.ndarray:
    return (2 * x + weight()).reshape(-1)[::-1].reshape(SHAPE)


def sample(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE, np.float32)
