/* burnish_topk(x, options, values, indices): the k best of every row of x, best first.
 *
 * x is [rows..., n], values and indices [rows..., k]; options is int64[1]: whether the largest are
 * best. Of equal elements the earlier is better. Each row's results are their own heap. */
#include "../kernels.h"

int32_t __tvm_ffi_burnish_topk(void *handle, const burnish_any *args, int32_t count,
                               burnish_any *result);

#define BLOCK 16

#define DEFINE(code, bits, T)                                                              \
  static int better_##T(T a, int64_t at, T b, int64_t bt, int largest) {                  \
    if (a != b) return largest ? a > b : a < b;                                            \
    return at < bt;                                                                        \
  }                                                                                        \
  /* Put (value, index) where the root is, and move it down among `count` entries. */      \
  static void sink_##T(T *values, int64_t *indices, int64_t count, T value, int64_t index, \
                       int largest) {                                                      \
    int64_t hole = 0;                                                                      \
    for (;;) {                                                                             \
      int64_t child = 2 * hole + 1;                                                        \
      if (child >= count) break;                                                           \
      if (child + 1 < count && better_##T(values[child], indices[child], values[child + 1], \
                                          indices[child + 1], largest))                    \
        child++;                                                                           \
      if (!better_##T(value, index, values[child], indices[child], largest)) break;        \
      values[hole] = values[child], indices[hole] = indices[child];                        \
      hole = child;                                                                        \
    }                                                                                      \
    values[hole] = value, indices[hole] = index;                                           \
  }                                                                                        \
  static void row_##T(const T *x, int64_t n, T *values, int64_t *indices, int64_t k,       \
                      int largest) {                                                       \
    for (int64_t i = 0; i < k; i++) { /* the worst so far is the root */                   \
      int64_t at = i;                                                                      \
      for (; at > 0; at = (at - 1) / 2) {                                                  \
        int64_t up = (at - 1) / 2;                                                         \
        if (!better_##T(values[up], indices[up], x[i], i, largest)) break;                 \
        values[at] = values[up], indices[at] = indices[up];                                \
      }                                                                                    \
      values[at] = x[i], indices[at] = i;                                                  \
    }                                                                                      \
    for (int64_t i = k; i < n;) {                                                          \
      T worst = values[0]; /* blocks without anything better are passed over in vectors */ \
      int any = n - i < BLOCK;                                                             \
      if (!any && largest) {                                                               \
        for (int64_t j = 0; j < BLOCK; j++) any |= x[i + j] > worst;                       \
      } else if (!any) {                                                                   \
        for (int64_t j = 0; j < BLOCK; j++) any |= x[i + j] < worst;                       \
      }                                                                                    \
      int64_t end = n - i < BLOCK ? n : i + BLOCK;                                         \
      for (; any && i < end; i++)                                                          \
        if (better_##T(x[i], i, values[0], indices[0], largest))                           \
          sink_##T(values, indices, k, x[i], i, largest);                                  \
      i = end;                                                                             \
    }                                                                                      \
    for (int64_t end = k - 1; end > 0; end--) {                                            \
      T value = values[end];                                                               \
      int64_t index = indices[end];                                                        \
      values[end] = values[0], indices[end] = indices[0];                                  \
      sink_##T(values, indices, end, value, index, largest);                               \
    }                                                                                      \
  }
BURNISH_NUMBERS(DEFINE)

typedef struct {
  const burnish_dltensor *x, *values, *indices;
  int64_t rows, n, k;
  int largest;
} problem;

static int32_t share(int32_t task, burnish_environment *environment, void *closure) {
  const problem *p = closure;
  int64_t first = p->rows * task / environment->tasks;
  int64_t last = p->rows * (task + 1) / environment->tasks;
  for (int64_t row = first; row < last; row++) {
    int64_t *indices = (int64_t *)p->indices->data + row * p->k;
#define CASE(c, b, T)                                                                       \
  if (p->x->code == c && p->x->bits == b)                                                   \
    row_##T((const T *)p->x->data + row * p->n, p->n, (T *)p->values->data + row * p->k,    \
            indices, p->k, p->largest);
    BURNISH_NUMBERS(CASE)
  }
  return 0;
}

int32_t __tvm_ffi_burnish_topk(void *handle, const burnish_any *args, int32_t count,
                               burnish_any *result) {
  (void)handle, (void)result;
  if (count != 4) return burnish_fail("burnish_topk takes 4 tensors, not %d", count);
  problem p = {.x = BURNISH_TENSOR(0), .values = BURNISH_TENSOR(2), .indices = BURNISH_TENSOR(3)};
  p.largest = ((const int64_t *)BURNISH_TENSOR(1)->data)[0] != 0;
  p.n = p.x->shape[p.x->rank - 1];
  p.k = p.values->shape[p.values->rank - 1];
  if (p.k == 0) return 0;
  p.rows = burnish_elements(p.values) / p.k;
  return burnish_launch(share, &p, p.rows * p.n < 1 << 14 ? 1 : 0);
}
