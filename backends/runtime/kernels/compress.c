/* burnish_compress(x, condition, options, y, filled): the slices of x along an axis for which a
 * condition holds, as ONNX defines Compress.
 *
 * x is read as [outer, size, inner] and y written as [outer, room, inner], of any type; condition is
 * bool [room]. options is int64[3]: outer, size and inner. filled is int64[1], how many slices are
 * taken. The others of y are set to zero. */
#include <string.h>

#include "../kernels.h"

int32_t __tvm_ffi_burnish_compress(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result);

typedef struct {
  const char *x;
  char *y;
  const uint8_t *condition;
  int64_t outer, size, inner, room;
} work;

/* One function for each size of slice that is a number: a copy of known size is one instruction. */
#define DEFINE(name, bytes)                                                          \
  static int64_t name(const work *w, const char *x, char *y, int64_t slice) {        \
    (void)slice;                                                                     \
    int64_t taken = 0;                                                               \
    for (int64_t i = 0; i < w->room; i++) {                                          \
      if (!w->condition[i]) continue;                                                \
      memcpy(y + taken * (bytes), x + i * (bytes), (size_t)(bytes));                 \
      taken++;                                                                       \
    }                                                                                \
    return taken;                                                                    \
  }
DEFINE(take4, 4)
DEFINE(take8, 8)
DEFINE(take, slice)

int32_t __tvm_ffi_burnish_compress(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result) {
  (void)handle, (void)result;
  if (count != 5) return burnish_fail("burnish_compress takes 5 tensors, not %d", count);
  const int64_t *options = BURNISH_TENSOR(2)->data;
  work w = {
      .x = BURNISH_TENSOR(0)->data,
      .y = BURNISH_TENSOR(3)->data,
      .condition = BURNISH_TENSOR(1)->data,
      .outer = options[0],
      .size = options[1],
      .inner = options[2],
      .room = BURNISH_TENSOR(1)->shape[0],
  };
  int64_t slice = w.inner * (BURNISH_TENSOR(0)->bits / 8), taken = 0;
  for (int64_t i = 0; i < w.outer; i++) {
    const char *x = w.x + i * w.size * slice;
    char *y = w.y + i * w.room * slice;
    taken = slice == 4   ? take4(&w, x, y, slice)
            : slice == 8 ? take8(&w, x, y, slice)
                         : take(&w, x, y, slice);
    memset(y + taken * slice, 0, (size_t)((w.room - taken) * slice));
  }
  *(int64_t *)BURNISH_TENSOR(4)->data = taken;
  return 0;
}
