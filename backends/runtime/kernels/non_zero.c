/* burnish_non_zero(x, places, filled): where x is not zero, in row-major order, as ONNX defines
 * NonZero.
 *
 * places is int64 [rank of x, elements of x]: a column of indices for each; filled is int64[1], how
 * many columns there are. The others are set to zero. x is of any type of 8 to 64 bits. */
#include <string.h>

#include "../kernels.h"

int32_t __tvm_ffi_burnish_non_zero(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result);

enum { BLOCK = 64, MOST_AXES = 64 };

/* The sign of a zero does not count. */
#define SHIFTED_ZERO(x) ((uint16_t)((x) << 1) != 0)
#define PLAIN_ZERO(x) ((x) != 0)

/* Columns of the elements of one row that are not zero go to `columns`; returns how many. Blocks
 * without any are passed over in vectors. */
#define DEFINE(name, T, IS_SET)                                            \
  static int64_t name(const T *x, int64_t n, int64_t *columns) {           \
    int64_t found = 0;                                                     \
    for (int64_t i = 0; i < n; i += BLOCK) {                               \
      int64_t end = n - i < BLOCK ? n : i + BLOCK;                         \
      int any = end - i < BLOCK;                                           \
      if (!any) {                                                          \
        for (int64_t j = 0; j < BLOCK; j++) any |= IS_SET(x[i + j]);       \
      }                                                                    \
      for (int64_t j = i; any && j < end; j++) {                           \
        if (IS_SET(x[j])) columns[found++] = j;                            \
      }                                                                    \
    }                                                                      \
    return found;                                                          \
  }
DEFINE(scan8, uint8_t, PLAIN_ZERO)
DEFINE(scan16, uint16_t, PLAIN_ZERO)
DEFINE(scan32, uint32_t, PLAIN_ZERO)
DEFINE(scan64, uint64_t, PLAIN_ZERO)
DEFINE(scan_half, uint16_t, SHIFTED_ZERO)
DEFINE(scan_float, float, PLAIN_ZERO)
DEFINE(scan_double, double, PLAIN_ZERO)

static int64_t scan(const burnish_dltensor *x, int64_t start, int64_t n, int64_t *columns) {
  const char *row = (const char *)x->data + start * (x->bits / 8);
  if (x->code == BURNISH_FLOAT && x->bits == 64) return scan_double((const void *)row, n, columns);
  if (x->code == BURNISH_FLOAT && x->bits == 32) return scan_float((const void *)row, n, columns);
  if (x->code == BURNISH_FLOAT) return scan_half((const void *)row, n, columns);
  if (x->bits == 64) return scan64((const void *)row, n, columns);
  if (x->bits == 32) return scan32((const void *)row, n, columns);
  return x->bits == 16 ? scan16((const void *)row, n, columns) : scan8((const void *)row, n, columns);
}

/* Count the indices of all axes but the last one up by one. */
static void advance(int64_t *index, const int64_t *shape, int32_t axes) {
  for (int32_t axis = axes - 1; axis >= 0; axis--) {
    if (++index[axis] < shape[axis]) return;
    index[axis] = 0;
  }
}

int32_t __tvm_ffi_burnish_non_zero(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result) {
  (void)handle, (void)result;
  if (count != 3) return burnish_fail("burnish_non_zero takes 3 tensors, not %d", count);
  const burnish_dltensor *x = BURNISH_TENSOR(0);
  int64_t *places = BURNISH_TENSOR(1)->data, room = BURNISH_TENSOR(1)->shape[1];
  if (x->rank > MOST_AXES) return burnish_fail("NonZero of %d axes", x->rank);
  int64_t index[MOST_AXES] = {0}, filled = 0;
  int32_t last = x->rank - 1;
  int64_t n = x->shape[last], elements = burnish_elements(x);
  for (int64_t start = 0; start < elements; start += n) {
    int64_t found = scan(x, start, n, places + last * room + filled);
    for (int32_t axis = 0; axis < last; axis++) {
      for (int64_t i = 0; i < found; i++) places[axis * room + filled + i] = index[axis];
    }
    filled += found;
    advance(index, x->shape, last);
  }
  for (int32_t axis = 0; axis <= last; axis++) {
    memset(places + axis * room + filled, 0, (size_t)(room - filled) * sizeof *places);
  }
  *(int64_t *)BURNISH_TENSOR(2)->data = filled;
  return 0;
}
