/* burnish_cumulate(x, options, y): running sums or products along the middle axis.
 *
 * x and y are [outer, n, inner]; options is int64[6]: outer, n, inner, exclusive, reverse,
 * product. */
#include "../kernels.h"

int32_t __tvm_ffi_burnish_cumulate(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result);

typedef struct {
  const burnish_dltensor *x, *y;
  const int64_t *options;
  int64_t n, inner;
} problem;

/* Rows of neighbours go forward together; a single one keeps its total in a register. */
#define DEFINE(code, bits, T)                                                                 \
  static void single_##T(const T *x, T *y, int64_t n, const int64_t *o) {                     \
    T total = (T)(o[5] ? 1 : 0);                                                              \
    for (int64_t step = 0; step < n; step++) {                                                \
      int64_t at = o[4] ? n - 1 - step : step;                                                \
      T before = total;                                                                       \
      total = (T)(o[5] ? total * x[at] : total + x[at]);                                      \
      y[at] = o[3] ? before : total;                                                          \
    }                                                                                         \
  }                                                                                           \
  static void rows_##T(const T *restrict x, T *restrict y, const problem *p) {                \
    const int64_t *o = p->options;                                                            \
    int64_t inner = p->inner, way = o[4] ? -inner : inner;                                    \
    if (o[4]) x += (p->n - 1) * inner, y += (p->n - 1) * inner;                               \
    for (int64_t i = 0; i < inner; i++) y[i] = o[3] ? (T)(o[5] ? 1 : 0) : x[i];               \
    for (int64_t step = 1; step < p->n; step++) {                                             \
      const T *restrict added = o[3] ? x : x + way, *restrict before = y;                     \
      T *restrict after = y + way;                                                            \
      if (o[5]) {                                                                             \
        for (int64_t i = 0; i < inner; i++) after[i] = (T)(before[i] * added[i]);             \
      } else {                                                                                \
        for (int64_t i = 0; i < inner; i++) after[i] = (T)(before[i] + added[i]);             \
      }                                                                                       \
      x += way, y += way;                                                                     \
    }                                                                                         \
  }                                                                                           \
  static void run_##T(const problem *p, int64_t outer) {                                      \
    const T *x = (const T *)p->x->data + outer * p->n * p->inner;                             \
    T *y = (T *)p->y->data + outer * p->n * p->inner;                                         \
    if (p->inner == 1) single_##T(x, y, p->n, p->options);                                    \
    else rows_##T(x, y, p);                                                                   \
  }
BURNISH_NUMBERS(DEFINE)

static int32_t share(int32_t task, burnish_environment *environment, void *closure) {
  const problem *p = closure;
  int64_t first = p->options[0] * task / environment->tasks;
  int64_t last = p->options[0] * (task + 1) / environment->tasks;
  for (int64_t outer = first; outer < last; outer++) {
#define CASE(c, b, T) \
  if (p->x->code == c && p->x->bits == b) run_##T(p, outer);
    BURNISH_NUMBERS(CASE)
#undef CASE
  }
  return 0;
}

int32_t __tvm_ffi_burnish_cumulate(void *handle, const burnish_any *args, int32_t count,
                                   burnish_any *result) {
  (void)handle, (void)result;
  if (count != 3) return burnish_fail("burnish_cumulate takes 3 tensors, not %d", count);
  problem p = {.x = BURNISH_TENSOR(0), .y = BURNISH_TENSOR(2)};
  p.options = BURNISH_TENSOR(1)->data;
  p.n = p.options[1], p.inner = p.options[2];
#define CASE(c, b, T) known |= p.x->code == c && p.x->bits == b;
  int known = 0;
  BURNISH_NUMBERS(CASE)
  if (!known) {
    return burnish_fail("burnish_cumulate has no arithmetic of type %d:%d", p.x->code, p.x->bits);
  }
  int64_t elements = burnish_elements(p.x);
  if (!elements) return 0;
  return burnish_launch(share, &p, elements < 1 << 14 ? 1 : 0);
}
