/* burnish_non_max_suppression(boxes, scores, most, overlap, least, options, rows, filled): of each
 * class the boxes with the best scores, without those that overlap a better one (Neubeck and Van
 * Gool, Efficient Non-Maximum Suppression, section 2), as ONNX defines it.
 *
 * boxes is float32 [batch, n, 4], two corners as y, x, y, x, or centre and size as x, y, width,
 * height; scores is float32 [batch, classes, n]. most is int64: how many boxes a class may keep;
 * overlap and least are float32: a box goes if its intersection with a better one is a larger share
 * of their union, and counts only if its score is larger. options is int64[2]: centre and size;
 * whether least holds. rows is int64 [batch * classes * room, 3], batch, class and box; filled is
 * int64[1], how many rows there are. The others are set to zero.
 *
 * Of equal scores the earlier box is better; a score that is no number is worse than all others. */
#pragma STDC FP_CONTRACT OFF
#include <string.h>

#include "../kernels.h"

int32_t __tvm_ffi_burnish_non_max_suppression(void *handle, const burnish_any *args, int32_t count,
                                              burnish_any *result);

enum {
  BLOCK = 16,
  SHARED = 1 << 14 /* scores that are worth a fork */
};

typedef struct {
  const float *boxes, *scores;
  int64_t lists, classes, n, most, room; /* a list: the scores of one class of one picture */
  float overlap, least;
  int centred, bounded;
  int64_t *rows;
  int64_t *kept; /* how many each list keeps */
} work;

typedef struct {
  float x0, y0, x1, y1, area;
} box;

/* Boxes that a list keeps, one array for each number so that they are compared in vectors. */
typedef struct {
  float *x0, *y0, *x1, *y1, *area;
  int64_t count, room; /* room: whole blocks */
} chosen;

/* A score as an integer of the same order, with the index so that earlier boxes are larger. */
static uint64_t key(float score, int64_t index) {
  uint32_t bits;
  score += 0.0f; /* one zero only */
  memcpy(&bits, &score, sizeof bits);
  bits = score != score ? 0 : bits >> 31 ? ~bits : bits | 1u << 31;
  return (uint64_t)bits << 32 | (uint32_t)~(uint32_t)index;
}

/* Put a key where the root is, and move it down; which child is larger nobody can predict. */
static void sink(uint64_t *heap, int64_t count, int64_t hole, uint64_t value) {
  int64_t child = 2 * hole + 1;
  for (; child + 1 < count; child = 2 * hole + 1) {
    child += heap[child + 1] > heap[child];
    if (heap[child] < value) break;
    heap[hole] = heap[child];
    hole = child;
  }
  if (child + 1 == count && heap[child] > value) {
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = value;
}

/* The keys of the scores that count. Blocks without any are passed over in vectors. */
static int64_t candidates(const work *w, const float *scores, uint64_t *keys) {
  int64_t found = 0;
  if (!w->bounded) {
    for (; found < w->n; found++) keys[found] = key(scores[found], found);
    return found;
  }
  for (int64_t i = 0; i < w->n; i += BLOCK) {
    int64_t end = w->n - i < BLOCK ? w->n : i + BLOCK;
    int any = end - i < BLOCK;
    if (!any) {
      for (int64_t j = 0; j < BLOCK; j++) any |= scores[i + j] > w->least;
    }
    for (int64_t j = i; any && j < end; j++) {
      keys[found] = key(scores[j], j);
      found += scores[j] > w->least;
    }
  }
  return found;
}

static box corners(const float *b, int centred) {
  box found;
  if (centred) {
    float half_width = b[2] / 2, half_height = b[3] / 2;
    found.x0 = b[0] - half_width, found.x1 = b[0] + half_width;
    found.y0 = b[1] - half_height, found.y1 = b[1] + half_height;
  } else {
    int swap_x = b[1] >= b[3], swap_y = b[0] >= b[2];
    found.x0 = b[swap_x ? 3 : 1], found.x1 = b[swap_x ? 1 : 3];
    found.y0 = b[swap_y ? 2 : 0], found.y1 = b[swap_y ? 0 : 2];
  }
  float width = found.x1 - found.x0, height = found.y1 - found.y0;
  found.area = width * height;
  return found;
}

static inline int overlaps(const chosen *c, int64_t i, const box *b, float limit) {
  float width = (c->x1[i] < b->x1 ? c->x1[i] : b->x1) - (c->x0[i] > b->x0 ? c->x0[i] : b->x0);
  float height = (c->y1[i] < b->y1 ? c->y1[i] : b->y1) - (c->y0[i] > b->y0 ? c->y0[i] : b->y0);
  float both = width * height;
  float sum = c->area[i] + b->area;
  float either = sum - both;
  return (width > 0) & (height > 0) & (both > 0) & (c->area[i] > 0) & (b->area > 0) &
         (either > 0) & (both / either > limit);
}

/* Whether b goes for one that is kept; behind these are boxes without an area, which cover none. */
static int is_covered(const chosen *c, const box *b, float limit) {
  for (int64_t i = 0; i < c->count; i += BLOCK) {
    int hit = 0;
    for (int64_t j = 0; j < BLOCK; j++) hit |= overlaps(c, i + j, b, limit);
    if (hit) return 1;
  }
  return 0;
}

static void choose(const work *w, int64_t list, uint64_t *heap, chosen *c) {
  const float *boxes = w->boxes + list / w->classes * w->n * 4;
  int64_t left = candidates(w, w->scores + list * w->n, heap);
  int64_t *row = w->rows + list * w->room * 3;
  for (int64_t i = left / 2 - 1; i >= 0; i--) sink(heap, left, i, heap[i]);
  c->count = 0;
  memset(c->area, 0, (size_t)c->room * sizeof *c->area);
  while (left && c->count < w->most) {
    int64_t index = (int64_t)(uint32_t)~(uint32_t)heap[0];
    uint64_t last = heap[--left];
    sink(heap, left, 0, last);
    box b = corners(boxes + index * 4, w->centred);
    if (is_covered(c, &b, w->overlap)) continue;
    int64_t at = c->count++;
    c->x0[at] = b.x0, c->y0[at] = b.y0, c->x1[at] = b.x1, c->y1[at] = b.y1, c->area[at] = b.area;
    row[at * 3] = list / w->classes, row[at * 3 + 1] = list % w->classes, row[at * 3 + 2] = index;
  }
  w->kept[list] = c->count;
}

static int32_t share(int32_t task, burnish_environment *environment, void *closure) {
  const work *w = closure;
  size_t room = ((size_t)w->most + BLOCK - 1) / BLOCK * BLOCK;
  uint64_t *heap = burnish_allocate((size_t)(w->n + 1) * sizeof *heap);
  float *memory = heap ? burnish_allocate(room * 5 * sizeof *memory) : NULL;
  if (memory) {
    chosen c = {
        .x0 = memory,
        .y0 = memory + room,
        .x1 = memory + 2 * room,
        .y1 = memory + 3 * room,
        .area = memory + 4 * room,
        .room = (int64_t)room,
    };
    int64_t last = w->lists * (task + 1) / environment->tasks;
    for (int64_t list = w->lists * task / environment->tasks; list < last; list++) {
      choose(w, list, heap, &c);
    }
  }
  burnish_release(memory);
  burnish_release(heap);
  return memory ? 0 : -1;
}

/* Move the rows of all lists together. */
static int64_t join(const work *w) {
  int64_t filled = 0;
  for (int64_t list = 0; list < w->lists; list++) {
    size_t bytes = (size_t)w->kept[list] * 3 * sizeof *w->rows;
    memmove(w->rows + filled * 3, w->rows + list * w->room * 3, bytes);
    filled += w->kept[list];
  }
  return filled;
}

static int run(work *w, int64_t *filled) {
  *filled = 0;
  if (w->most <= 0 || w->lists == 0) return 0;
  w->kept = burnish_allocate((size_t)w->lists * sizeof *w->kept);
  if (!w->kept) return 1;
  int failed = burnish_launch(share, w, w->lists * w->n < SHARED ? 1 : 0);
  if (!failed) *filled = join(w);
  burnish_release(w->kept);
  return failed;
}

int32_t __tvm_ffi_burnish_non_max_suppression(void *handle, const burnish_any *args, int32_t count,
                                              burnish_any *result) {
  (void)handle, (void)result;
  if (count != 8) return burnish_fail("non-maximum suppression takes 8 tensors, not %d", count);
  const int64_t *scores = BURNISH_TENSOR(1)->shape, *options = BURNISH_TENSOR(5)->data;
  int64_t rows = BURNISH_TENSOR(6)->shape[0], most = *(const int64_t *)BURNISH_TENSOR(2)->data;
  work w = {
      .boxes = BURNISH_TENSOR(0)->data,
      .scores = BURNISH_TENSOR(1)->data,
      .lists = scores[0] * scores[1],
      .classes = scores[1],
      .n = scores[2],
      .overlap = *(const float *)BURNISH_TENSOR(3)->data,
      .least = *(const float *)BURNISH_TENSOR(4)->data,
      .centred = options[0] != 0,
      .bounded = options[1] != 0,
      .rows = BURNISH_TENSOR(6)->data,
  };
  if (!(w.overlap >= 0 && w.overlap <= 1)) {
    return burnish_fail("boxes that overlap by %g are to go: give 0 to 1", (double)w.overlap);
  }
  w.room = w.lists ? rows / w.lists : 0;
  w.most = most < w.room ? most : w.room;
  int64_t filled;
  if (run(&w, &filled)) return -1;
  memset(w.rows + filled * 3, 0, (size_t)(rows - filled) * 3 * sizeof *w.rows);
  *(int64_t *)BURNISH_TENSOR(7)->data = filled;
  return 0;
}
