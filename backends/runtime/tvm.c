/* The one function and three pointers that TVM's kernels ask for. Each object declares the pointers
 * weakly, as NULL; these definitions win. */
#include "internal.h"

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  burnish_set_error_parts(kind, parts, count);
}

static void *allocate_workspace(int32_t device_type, int32_t device, uint64_t bytes, int32_t code,
                                int32_t bits) {
  (void)device_type, (void)device, (void)code, (void)bits;
  return burnish_allocate((size_t)bytes);
}

static int32_t free_workspace(int32_t device_type, int32_t device, void *pointer) {
  (void)device_type, (void)device;
  burnish_release(pointer);
  return 0;
}

int32_t (*__TVMBackendParallelLaunch)(burnish_task, void *, int32_t) = burnish_launch;
void *(*__TVMBackendAllocWorkspace)(int32_t, int32_t, uint64_t, int32_t,
                                    int32_t) = allocate_workspace;
int32_t (*__TVMBackendFreeWorkspace)(int32_t, int32_t, void *) = free_workspace;

/* ---- What a kernel reaches that calls TVM's own library: a message instead of a null pointer. ---- */

static int32_t look_up_nothing(void *library, const char *name, void **found) {
  (void)library;
  *found = NULL;
  burnish_fail("it calls %s, which is part of TVM's runtime", name);
  return -1;
}

static int32_t call_nothing(void *function, const burnish_any *args, int32_t count,
                            burnish_any *result) {
  (void)function, (void)args, (void)count, (void)result;
  burnish_fail("it calls a function of TVM's runtime");
  return -1;
}

int32_t (*__TVMFFIEnvModLookupFromImports)(void *, const char *, void **) = look_up_nothing;
int32_t (*__TVMFFIFunctionCall)(void *, const burnish_any *, int32_t, burnish_any *) = call_nothing;
