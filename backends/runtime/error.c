/* The error text of each thread. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static _Thread_local char text[1024];

const char *burnish_last_error(void) { return text; }

void burnish_clear_error(void) { text[0] = 0; }

int burnish_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return 1;
}

int burnish_is_missing(const void *given, const char *what) {
  return given ? 0 : burnish_fail("%s is NULL", what);
}

void burnish_set_error_parts(const char *kind, const char *const *parts, int32_t count) {
  size_t used = (size_t)snprintf(text, sizeof text, "%s: ", kind);
  for (int32_t i = 0; i < count && used < sizeof text; i++) {
    if (parts[i]) used += (size_t)snprintf(text + used, sizeof text - used, "%s", parts[i]);
  }
}
