/* burnish_cumulate(x, options, y): running sums or products along the middle axis.
 *
 * x and y are [outer, n, inner]; options is int64[6]: outer, n, inner, exclusive, reverse,
 * product. */
#include "../kernels.h"

int32_t __tvm_ffi_burnish_cumulate(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result);

#define DEFINE(code, bits, T)                                                        \
  static void run_##T(const T *x, T *y, const int64_t *o) {                          \
    int64_t n = o[1], inner = o[2];                                                  \
    for (int64_t outer = 0; outer < o[0]; outer++) {                                 \
      for (int64_t i = 0; i < inner; i++) {                                          \
        T total = (T)(o[5] ? 1 : 0);                                                 \
        for (int64_t step = 0; step < n; step++) {                                   \
          int64_t at = (outer * n + (o[4] ? n - 1 - step : step)) * inner + i;       \
          T before = total;                                                          \
          total = (T)(o[5] ? total * x[at] : total + x[at]);                         \
          y[at] = o[3] ? before : total;                                             \
        }                                                                            \
      }                                                                              \
    }                                                                                \
  }
BURNISH_NUMBERS(DEFINE)

int32_t __tvm_ffi_burnish_cumulate(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result) {
  (void)handle, (void)result;
  if (count != 3) return burnish_fail("burnish_cumulate takes 3 tensors, not %d", count);
  const burnish_dltensor *x = BURNISH_TENSOR(0), *y = BURNISH_TENSOR(2);
  const int64_t *options = BURNISH_TENSOR(1)->data;
#define CASE(c, b, T)                     \
  if (x->code == c && x->bits == b) {     \
    run_##T(x->data, y->data, options);   \
    return 0;                             \
  }
  BURNISH_NUMBERS(CASE)
  return burnish_fail("burnish_cumulate has no arithmetic of type %d:%d", x->code, x->bits);
}
