/* Does this processor have what the kernels were compiled for? Compiled for the plainest
 * processor of the architecture, so that it runs where the kernels would not. */
#include <string.h>

#include "internal.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

/* What the system must save on a context switch for a register to be usable (XCR0). */
enum { NO_STATE = 0, AVX_STATE = 0x6, AVX512_STATE = 0xe6, AMX_STATE = 0x60000 };

typedef struct {
  const char *name;
  unsigned leaf, subleaf;
  int reg, bit;
  uint64_t state;
} feature;

static const feature FEATURES[] = {
    {"sse3", 1, 0, ECX, 0, NO_STATE},
    {"ssse3", 1, 0, ECX, 9, NO_STATE},
    {"fma", 1, 0, ECX, 12, AVX_STATE},
    {"sse4.1", 1, 0, ECX, 19, NO_STATE},
    {"sse4.2", 1, 0, ECX, 20, NO_STATE},
    {"movbe", 1, 0, ECX, 22, NO_STATE},
    {"popcnt", 1, 0, ECX, 23, NO_STATE},
    {"avx", 1, 0, ECX, 28, AVX_STATE},
    {"f16c", 1, 0, ECX, 29, AVX_STATE},
    {"bmi", 7, 0, EBX, 3, NO_STATE},
    {"avx2", 7, 0, EBX, 5, AVX_STATE},
    {"bmi2", 7, 0, EBX, 8, NO_STATE},
    {"avx512f", 7, 0, EBX, 16, AVX512_STATE},
    {"avx512dq", 7, 0, EBX, 17, AVX512_STATE},
    {"avx512ifma", 7, 0, EBX, 21, AVX512_STATE},
    {"avx512cd", 7, 0, EBX, 28, AVX512_STATE},
    {"avx512bw", 7, 0, EBX, 30, AVX512_STATE},
    {"avx512vl", 7, 0, EBX, 31, AVX512_STATE},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512_STATE},
    {"avx512vbmi2", 7, 0, ECX, 6, AVX512_STATE},
    {"avx512vnni", 7, 0, ECX, 11, AVX512_STATE},
    {"avx512bitalg", 7, 0, ECX, 12, AVX512_STATE},
    {"avx512vpopcntdq", 7, 0, ECX, 14, AVX512_STATE},
    {"amx-bf16", 7, 0, EDX, 22, AMX_STATE},
    {"avx512fp16", 7, 0, EDX, 23, AVX512_STATE},
    {"amx-tile", 7, 0, EDX, 24, AMX_STATE},
    {"amx-int8", 7, 0, EDX, 25, AMX_STATE},
    {"avxvnni", 7, 1, EAX, 4, AVX_STATE},
    {"avx512bf16", 7, 1, EAX, 5, AVX512_STATE},
    {"lzcnt", 0x80000001u, 0, ECX, 5, NO_STATE},
};

static uint64_t saved_state(void) {
  unsigned r[4], low, high;
  if (!__get_cpuid(1, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) || !(r[ECX] >> 27 & 1)) return 0;
  __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static int is_present(const feature *wanted) {
  unsigned r[4];
  if (!__get_cpuid_count(wanted->leaf, wanted->subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX])) {
    return 0;
  }
  return (r[wanted->reg] >> wanted->bit & 1) && (saved_state() & wanted->state) == wanted->state;
}

#elif defined(__linux__) && (defined(__aarch64__) || defined(__arm__))

#include <sys/auxv.h>

typedef struct {
  const char *name;
  unsigned long kind, bit;
} feature;

#if defined(__aarch64__)
static const feature FEATURES[] = {
    {"neon", AT_HWCAP, 1},     {"lse", AT_HWCAP, 8},
    {"fullfp16", AT_HWCAP, 10}, {"dotprod", AT_HWCAP, 20},
    {"sve", AT_HWCAP, 22},     {"sve2", AT_HWCAP2, 1},     {"i8mm", AT_HWCAP2, 13},
    {"bf16", AT_HWCAP2, 14},
};
#else
static const feature FEATURES[] = {
    {"neon", AT_HWCAP, 12},
    {"vfp3", AT_HWCAP, 13},
    {"vfp4", AT_HWCAP, 16},
};
#endif

static int is_present(const feature *wanted) {
  return getauxval(wanted->kind) >> wanted->bit & 1;
}

#else

typedef struct {
  const char *name;
} feature;

static const feature FEATURES[] = {{""}};

static int is_present(const feature *wanted) {
  (void)wanted;
  return 1;
}

#endif

const char *burnish_first_missing(const char *const *features) {
  for (; *features; features++) {
    for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++) {
      if (!strcmp(*features, FEATURES[i].name) && !is_present(&FEATURES[i])) return *features;
    }
  }
  return NULL;
}
