/* What kernels written in C share: their operands, and one body for many element types. */
#ifndef BURNISH_KERNELS_H
#define BURNISH_KERNELS_H

#include "internal.h"

#define BURNISH_TENSOR(i) ((const burnish_dltensor *)args[i].value.pointer)

/* DLPack's codes of types. */
enum { BURNISH_INT = 0, BURNISH_UINT = 1, BURNISH_FLOAT = 2, BURNISH_BOOL = 6 };

/* X(code, bits, C type) for every type that has arithmetic. */
#define BURNISH_NUMBERS(X)                                                        \
  X(BURNISH_INT, 8, int8_t)                                                       \
  X(BURNISH_INT, 16, int16_t)                                                     \
  X(BURNISH_INT, 32, int32_t)                                                     \
  X(BURNISH_INT, 64, int64_t)                                                     \
  X(BURNISH_UINT, 8, uint8_t)                                                     \
  X(BURNISH_UINT, 16, uint16_t)                                                   \
  X(BURNISH_UINT, 32, uint32_t)                                                   \
  X(BURNISH_UINT, 64, uint64_t)                                                   \
  X(BURNISH_FLOAT, 32, float)                                                     \
  X(BURNISH_FLOAT, 64, double)

static inline int64_t burnish_elements(const burnish_dltensor *tensor) {
  int64_t count = 1;
  for (int32_t i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
  return count;
}

/* An index of int32 or int64, negative ones from the end; -1 if it is out of range. */
static inline int64_t burnish_index(const burnish_dltensor *indices, int64_t at, int64_t size) {
  int64_t index = indices->bits == 64 ? ((const int64_t *)indices->data)[at]
                                      : ((const int32_t *)indices->data)[at];
  if (index < 0) index += size;
  return index < 0 || index >= size ? -1 : index;
}

#endif
