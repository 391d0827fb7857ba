/* burnish_scatter(data, indices, updates, options, y): y is data with updates put in, in order.
 *
 * options is int64[2]: the reduction (0 replace, 1 add, 2 multiply, 3 largest, 4 smallest), and
 * an axis. With axis >= 0 each update has an index along that axis (ScatterElements); with -1 the
 * last axis of indices addresses leading axes of data (ScatterND). */
#include <string.h>

#include "../kernels.h"

int32_t __tvm_ffi_burnish_scatter(void *handle, const burnish_any *args, int32_t count,
                                  burnish_any *result);

#define DEFINE(code, bits, T)                                                          \
  static void put_##T(T *y, const T *updates, int64_t count, int64_t reduction) {      \
    for (int64_t i = 0; i < count; i++) {                                              \
      T a = y[i], b = updates[i];                                                      \
      if (reduction == 0) y[i] = b;                                                    \
      if (reduction == 1) y[i] = (T)(a + b);                                           \
      if (reduction == 2) y[i] = (T)(a * b);                                           \
      if (reduction == 3) y[i] = a > b ? a : b;                                        \
      if (reduction == 4) y[i] = a < b ? a : b;                                        \
    }                                                                                  \
  }
BURNISH_NUMBERS(DEFINE)

/* Put `count` adjacent updates, from element `from` on, at element `to`. */
static void put(const burnish_dltensor *y, int64_t to, const burnish_dltensor *updates,
                int64_t from, int64_t count, int64_t reduction) {
  size_t bytes = y->bits / 8;
  if (reduction == 0) {
    memcpy((char *)y->data + (size_t)to * bytes, (const char *)updates->data + (size_t)from * bytes,
           (size_t)count * bytes);
    return;
  }
#define CASE(c, b, T)               \
  if (y->code == c && y->bits == b) \
    put_##T((T *)y->data + to, (const T *)updates->data + from, count, reduction);
  BURNISH_NUMBERS(CASE)
}

static int32_t elements(const burnish_dltensor *y, const burnish_dltensor *indices,
                        const burnish_dltensor *updates, int64_t reduction, int64_t axis) {
  int64_t count = burnish_elements(indices);
  for (int64_t at = 0; at < count; at++) {
    int64_t to = 0, pitch = 1, rest = at;
    for (int32_t d = indices->rank - 1; d >= 0; d--) {
      int64_t place = rest % indices->shape[d];
      rest /= indices->shape[d];
      if (d == axis) place = burnish_index(indices, at, y->shape[d]);
      if (place < 0) return burnish_fail("ScatterElements: index %lld is out of range", (long long)at);
      to += place * pitch;
      pitch *= y->shape[d];
    }
    put(y, to, updates, at, 1, reduction);
  }
  return 0;
}

static int32_t slices(const burnish_dltensor *y, const burnish_dltensor *indices,
                      const burnish_dltensor *updates, int64_t reduction) {
  int64_t depth = indices->shape[indices->rank - 1], slice = 1;
  if (depth == 0 || burnish_elements(indices) == 0) return 0;
  for (int32_t d = (int32_t)depth; d < y->rank; d++) slice *= y->shape[d];
  int64_t count = burnish_elements(indices) / depth;
  for (int64_t at = 0; at < count; at++) {
    int64_t to = 0;
    for (int64_t d = 0; d < depth; d++) {
      int64_t place = burnish_index(indices, at * depth + d, y->shape[d]);
      if (place < 0) return burnish_fail("ScatterND: index %lld is out of range", (long long)at);
      to = to * y->shape[d] + place;
    }
    put(y, to * slice, updates, at * slice, slice, reduction);
  }
  return 0;
}

int32_t __tvm_ffi_burnish_scatter(void *handle, const burnish_any *args, int32_t count,
                                  burnish_any *result) {
  (void)handle, (void)result;
  if (count != 5) return burnish_fail("burnish_scatter takes 5 tensors, not %d", count);
  const burnish_dltensor *data = BURNISH_TENSOR(0), *y = BURNISH_TENSOR(4);
  const int64_t *options = BURNISH_TENSOR(3)->data;
  memcpy(y->data, data->data, (size_t)burnish_elements(y) * (y->bits / 8));
  return options[1] < 0 ? slices(y, BURNISH_TENSOR(1), BURNISH_TENSOR(2), options[0])
                        : elements(y, BURNISH_TENSOR(1), BURNISH_TENSOR(2), options[0], options[1]);
}
