/* burnish_roi_align(x, boxes, batch, options, scale, y): averages of samples between four pixels,
 * as ONNX defines RoiAlign (after He et al., Mask R-CNN, section 3).
 *
 * x is float32 [pictures, height, width, channels]: a sample is four rows to add. boxes is float32
 * [n, 4], corners as x, y, x, y, to be multiplied by the one number in scale; batch is [n], the
 * picture of each. options is int64[2]: samples per bin along each axis (0: by the size of the
 * box), half pixels. y is [n, channels, rows, columns]. */
#include <math.h>

#include "../kernels.h"

int32_t __tvm_ffi_burnish_roi_align(void *handle, const burnish_any *args, int32_t count,
                                    burnish_any *result);

enum {
  CHUNK = 64,
  SHARED = 1 << 15, /* multiplications that are worth a fork */
  LARGEST = 1 << 20 /* pixels along a bin: larger ones hold next to nothing of a picture */
};

typedef struct {
  const float *picture, *boxes;
  const burnish_dltensor *batch;
  float *result;
  int64_t pictures, height, width, channels, count, rows, columns, sampling;
  float scale;
  int half_pixel;
} work;

/* Where along one axis samples of a box begin, and how far apart bins and samples are. */
typedef struct {
  float start, bin, step;
  int64_t samples;
} axis;

typedef struct {
  int64_t low, high;
  float towards_low, towards_high;
} neighbours;

static axis along(const work *w, float from, float to, int64_t bins) {
  float offset = w->half_pixel ? 0.5f : 0.0f;
  float start = from * w->scale - offset, size = to * w->scale - offset - start;
  if (!w->half_pixel && size < 1.0f) size = 1.0f;
  float bin = size / (float)bins;
  int64_t samples = w->sampling;
  if (samples <= 0) samples = bin > 0.0f && bin < LARGEST ? (int64_t)ceilf(bin) : 0;
  return (axis){start, bin, samples > 0 ? bin / (float)samples : 0.0f, samples};
}

/* The pixels on both sides of a sample; 0 if it lies outside the picture. */
static int find(const axis *a, int64_t bin, int64_t sample, int64_t size, neighbours *found) {
  float at = a->start + (float)bin * a->bin + ((float)sample + 0.5f) * a->step;
  if (!(at >= -1.0f && at <= (float)size && size)) return 0;
  if (at < 0.0f) at = 0.0f;
  int64_t low = (int64_t)at;
  if (low >= size - 1) {
    *found = (neighbours){size - 1, size - 1, 1.0f, 0.0f};
  } else {
    *found = (neighbours){low, low + 1, 1.0f - (at - (float)low), at - (float)low};
  }
  return 1;
}

static void add(const work *w, const float *picture, const neighbours *y, const neighbours *x,
                int64_t channels, float *restrict sum) {
  const float *top = picture + y->low * w->width * w->channels;
  const float *bottom = picture + y->high * w->width * w->channels;
  const float *a = top + x->low * w->channels, *b = top + x->high * w->channels;
  const float *c = bottom + x->low * w->channels, *d = bottom + x->high * w->channels;
  float wa = y->towards_low * x->towards_low, wb = y->towards_low * x->towards_high;
  float wc = y->towards_high * x->towards_low, wd = y->towards_high * x->towards_high;
  for (int64_t i = 0; i < channels; i++) {
    sum[i] += wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
  }
}

/* One bin of one box, for some channels. */
static void average(const work *w, const float *picture, const axis *ys, const axis *xs,
                    int64_t row, int64_t column, int64_t channels, float *sum) {
  for (int64_t i = 0; i < channels; i++) sum[i] = 0.0f;
  for (int64_t i = 0; i < ys->samples; i++) {
    neighbours y, x;
    if (!find(ys, row, i, w->height, &y)) continue;
    for (int64_t j = 0; j < xs->samples; j++) {
      if (find(xs, column, j, w->width, &x)) add(w, picture, &y, &x, channels, sum);
    }
  }
  int64_t count = ys->samples * xs->samples;
  float share = 1.0f / (float)(count > 1 ? count : 1);
  for (int64_t i = 0; i < channels; i++) sum[i] *= share;
}

static int box(const work *w, int64_t number) {
  int64_t which = burnish_index(w->batch, number, w->pictures);
  if (which < 0) {
    return burnish_fail("box %lld is in a picture that is not there", (long long)number);
  }
  const float *corners = w->boxes + number * 4;
  const float *picture = w->picture + which * w->height * w->width * w->channels;
  axis ys = along(w, corners[1], corners[3], w->rows);
  axis xs = along(w, corners[0], corners[2], w->columns);
  int64_t bins = w->rows * w->columns;
  float *result = w->result + number * w->channels * bins, sum[CHUNK];
  for (int64_t first = 0; first < w->channels; first += CHUNK) {
    int64_t channels = w->channels - first < CHUNK ? w->channels - first : CHUNK;
    for (int64_t bin = 0; bin < bins; bin++) {
      average(w, picture + first, &ys, &xs, bin / w->columns, bin % w->columns, channels, sum);
      for (int64_t i = 0; i < channels; i++) result[(first + i) * bins + bin] = sum[i];
    }
  }
  return 0;
}

static int32_t share(int32_t task, burnish_environment *environment, void *closure) {
  const work *w = closure;
  int64_t last = w->count * (task + 1) / environment->tasks;
  for (int64_t number = w->count * task / environment->tasks; number < last; number++) {
    if (box(w, number)) return -1;
  }
  return 0;
}

int32_t __tvm_ffi_burnish_roi_align(void *handle, const burnish_any *args, int32_t count,
                                    burnish_any *result) {
  (void)handle, (void)result;
  if (count != 6) return burnish_fail("burnish_roi_align takes 6 tensors, not %d", count);
  const int64_t *picture = BURNISH_TENSOR(0)->shape, *out = BURNISH_TENSOR(5)->shape;
  const int64_t *options = BURNISH_TENSOR(3)->data;
  work w = {
      .picture = BURNISH_TENSOR(0)->data,
      .boxes = BURNISH_TENSOR(1)->data,
      .batch = BURNISH_TENSOR(2),
      .result = BURNISH_TENSOR(5)->data,
      .pictures = picture[0],
      .height = picture[1],
      .width = picture[2],
      .channels = picture[3],
      .count = out[0],
      .rows = out[2],
      .columns = out[3],
      .sampling = options[0],
      .scale = *(const float *)BURNISH_TENSOR(4)->data,
      .half_pixel = options[1] != 0,
  };
  int64_t samples = w.sampling > 0 ? w.sampling * w.sampling : 4;
  int64_t multiplications = burnish_elements(BURNISH_TENSOR(5)) * samples * 4;
  return burnish_launch(share, &w, multiplications < SHARED ? 1 : 0);
}
