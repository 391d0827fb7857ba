/* burnish_copy(source, destination): the same bytes again. */
#include <string.h>

#include "../internal.h"

int32_t __tvm_ffi_burnish_copy(void *handle, const burnish_any *args, int32_t count,
                               burnish_any *result);

int32_t __tvm_ffi_burnish_copy(void *handle, const burnish_any *args, int32_t count,
                               burnish_any *result) {
  (void)handle, (void)result;
  if (count != 2) return burnish_fail("burnish_copy takes 2 tensors, not %d", count);
  const burnish_dltensor *source = args[0].value.pointer;
  const burnish_dltensor *destination = args[1].value.pointer;
  size_t bytes = source->bits / 8;
  for (int32_t i = 0; i < source->rank; i++) bytes *= (size_t)source->shape[i];
  memmove(destination->data, source->data, bytes);
  return 0;
}
