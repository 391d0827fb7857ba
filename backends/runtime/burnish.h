/*
 * burnish.h: the C interface of a compiled model.
 *
 * A compiled model is one shared library and one weights file. Nothing else is needed where it runs.
 *
 *     burnish_model *model = burnish_open("weights.bin", 0);
 *     if (!model) { fprintf(stderr, "%s\n", burnish_last_error()); return 1; }
 *     const void *inputs[] = { image };
 *     void *outputs[] = { scores };
 *     if (burnish_run(model, inputs, outputs)) fprintf(stderr, "%s\n", burnish_last_error());
 *     burnish_close(model);
 *
 * Tensors are row-major and contiguous, in the shapes and dtypes that burnish_input and
 * burnish_output report. Inputs and outputs must not overlap. A tensor whose address is a
 * multiple of BURNISH_ALIGNMENT is used where it lies; any other is copied.
 *
 * burnish_run may be called from several threads at once on one model. Functions that can fail
 * return NULL or a non-zero int, and burnish_last_error then says why, in the calling thread. NULL in
 * the place of a model, a context or an array is such a failure; only burnish_close ignores it.
 *
 * Several models may be loaded into one process: each library calls its own functions, and dlopen and
 * dlsym reach those of each.
 *
 * Some models find out as they run how large an output is: how many boxes they keep, say. Such an
 * output has one counted axis. burnish_output reports the shape that it has at most, which is what
 * the caller gives memory for, row by row as ever; a run fills a part of the counted axis, from its
 * start, and burnish_run_counted tells how large a part. What lies beyond has no meaning.
 *
 * An entry is one set of input shapes. Every model has entry 0; where there are several, they share
 * weights and threads, and burnish_choose_entry finds the one for an input.
 */
#ifndef BURNISH_H
#define BURNISH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BURNISH_ABI 1
#define BURNISH_ALIGNMENT 16

#if defined(_WIN32)
#define BURNISH_API __declspec(dllexport)
#else
#define BURNISH_API __attribute__((visibility("default")))
#endif

typedef struct burnish_model burnish_model;
typedef struct burnish_context burnish_context;

/* One input or output. Strings and shapes live as long as the library. */
typedef struct {
  const char *name;
  const char *dtype; /* as numpy spells it, or "bfloat16" */
  int32_t rank;
  const int64_t *shape;
  uint64_t bytes;
} burnish_tensor;

/* Return BURNISH_ABI of the library. */
BURNISH_API int burnish_abi(void);

/* Why the last call in this thread failed; "" if none has. */
BURNISH_API const char *burnish_last_error(void);

/* An instruction set that the model needs and this processor lacks; NULL if there is none. */
BURNISH_API const char *burnish_missing_feature(void);

/*
 * Open the model with its weights file and start its threads. threads counts the caller: 1 starts
 * none, 0 means the number chosen when the model was compiled, or as many as there are
 * processors to use if those are fewer. NULL if this processor lacks a
 * feature that the model was compiled for, or the weights are not the ones that belong to it.
 *
 * On Linux the environment variable BURNISH_AFFINITY binds the threads that are started to
 * processors, one each in turn: "1,4-7" the first to 1, the second to 4. The caller's own thread
 * is left as it is. Between runs these threads spin for 60 microseconds and then sleep.
 */
BURNISH_API burnish_model *burnish_open(const char *weights, int threads);

/* The same, for weights that begin offset bytes into a file (a multiple of 4096). */
BURNISH_API burnish_model *burnish_open_at(const char *file, uint64_t offset, int threads);

/* Stop the threads and free everything. No run may be in progress. NULL is ignored. */
BURNISH_API void burnish_close(burnish_model *model);

BURNISH_API int burnish_threads(const burnish_model *model);
BURNISH_API int burnish_entry_count(const burnish_model *model);
BURNISH_API int burnish_input_count(const burnish_model *model, int entry);
BURNISH_API int burnish_output_count(const burnish_model *model, int entry);
BURNISH_API int burnish_input(const burnish_model *model, int entry, int index, burnish_tensor *out);
BURNISH_API int burnish_output(const burnish_model *model, int entry, int index, burnish_tensor *out);

/* The axis of an output of which a run may fill a part only; -1 if there is none. */
BURNISH_API int burnish_counted_axis(const burnish_model *model, int entry, int output);

/*
 * The entry whose inputs have these shapes, one array for each input in the order of entry 0, with
 * as many sizes as the input has axes there; -1 if there is none.
 */
BURNISH_API int burnish_choose_entry(const burnish_model *model, const int64_t *const *shapes);

/* Bytes of scratch memory that one run of the entry needs; each concurrent run has its own. */
BURNISH_API uint64_t burnish_arena_bytes(const burnish_model *model, int entry);

/* Run entry 0, or the given entry, on the caller's memory. */
BURNISH_API int burnish_run(burnish_model *model, const void *const *inputs, void *const *outputs);
BURNISH_API int burnish_run_entry(burnish_model *model, int entry, const void *const *inputs,
                                  void *const *outputs);

/*
 * The same, and counts, one number for each output, is set to the size of its counted axis after
 * this run, or to -1 where there is none. counts may be NULL.
 */
BURNISH_API int burnish_run_counted(burnish_model *model, int entry, const void *const *inputs,
                                    void *const *outputs, int64_t *counts);

/*
 * A run in parts, for models of which another engine runs some. begin takes a context and binds
 * the caller's memory; range runs the calls first..last-1; buffer is where a tensor lies and how
 * many bytes it has, by the number that the manifest gives it; counts tells, once all calls have
 * run, what burnish_run_counted does; end writes the outputs back and returns the context, and
 * must follow every begin that returned one.
 */
BURNISH_API burnish_context *burnish_begin(burnish_model *model, int entry,
                                           const void *const *inputs, void *const *outputs);
BURNISH_API int burnish_range(burnish_context *context, int first, int last);
BURNISH_API void *burnish_buffer(burnish_context *context, int buffer, uint64_t *bytes);
BURNISH_API int burnish_counts(const burnish_context *context, int64_t *counts);
BURNISH_API int burnish_end(burnish_context *context);

/*
 * Time every call from now on (on = 1) or stop (0). profile_read adds up the nanoseconds of each
 * call over all runs since profiling was switched on, what reading the clock takes left out;
 * profile_rounds says how often each was made: in a loop more than once, in a branch not taken
 * never. ns and rounds hold burnish_call_count numbers. No run may be in progress in any of these.
 */
BURNISH_API int burnish_call_count(const burnish_model *model, int entry);
BURNISH_API const char *burnish_call_name(const burnish_model *model, int entry, int call);
BURNISH_API void burnish_profile(burnish_model *model, int on);
BURNISH_API int burnish_profile_read(burnish_model *model, int entry, uint64_t *ns);
BURNISH_API int burnish_profile_rounds(burnish_model *model, int entry, uint64_t *rounds);

/*
 * For measuring: which calls of an entry the calling thread runs without the others, instead of
 * those that were chosen when the model was compiled. alone holds burnish_call_count bytes, 1 for
 * such calls, and must stay there; NULL ends it. No run may be in progress.
 */
BURNISH_API int burnish_share(burnish_model *model, int entry, const uint8_t *alone);

#ifdef __cplusplus
}
#endif

#endif
