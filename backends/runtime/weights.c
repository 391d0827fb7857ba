/* The weights file: a header of one cache line, then the payload, mapped and never copied. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

typedef struct {
  char magic[8];
  uint64_t payload_bytes; /* little-endian, as everything in the file */
  uint8_t hash[32];
  uint8_t unused[16];
} weights_header;

static const char MAGIC[8] = {'B', 'U', 'R', 'N', 'W', 'T', '0', '1'};

static int check_header(const weights_header *header, const char *path, uint64_t payload_bytes,
                        const uint8_t hash[32]) {
  if (memcmp(header->magic, MAGIC, sizeof MAGIC)) {
    return burnish_fail("%s is not a weights file of a compiled model", path);
  }
  if (header->payload_bytes != payload_bytes || memcmp(header->hash, hash, 32)) {
    return burnish_fail("%s holds the weights of another model; use the file that was compiled "
                        "together with this library", path);
  }
  return 0;
}

enum { PLACE = 4096 }; /* what a file inside an archive begins at a multiple of */

static int map_file(burnish_weights *weights, int file, const char *path, uint64_t offset,
                    uint64_t payload_bytes) {
  struct stat status;
  uint64_t needed = offset + sizeof(weights_header) + payload_bytes;
  if (fstat(file, &status)) return burnish_fail("cannot read %s: %s", path, strerror(errno));
  if ((uint64_t)status.st_size < needed || needed > SIZE_MAX) {
    return burnish_fail("%s has %llu bytes where at least %llu are needed; the file is cut short",
                        path, (unsigned long long)status.st_size, (unsigned long long)needed);
  }
  uint64_t slack = offset % (uint64_t)sysconf(_SC_PAGESIZE);
  weights->length = (size_t)(needed - offset + slack);
  weights->base = mmap(NULL, weights->length, PROT_READ, MAP_SHARED, file, (off_t)(offset - slack));
  if (weights->base == MAP_FAILED) {
    weights->base = NULL;
    return burnish_fail("cannot map %s: %s", path, strerror(errno));
  }
  weights->payload = (const uint8_t *)weights->base + slack + sizeof(weights_header);
  return 0;
}

int burnish_weights_map(burnish_weights *weights, const char *path, uint64_t offset,
                        uint64_t payload_bytes, const uint8_t hash[32]) {
  memset(weights, 0, sizeof *weights);
  if (offset % PLACE) {
    return burnish_fail("the weights in %s begin at byte %llu, not at a multiple of %d; use the "
                        "archive as burnish wrote it, or unpack it", path,
                        (unsigned long long)offset, PLACE);
  }
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return burnish_fail("cannot open %s: %s", path, strerror(errno));
  int failed = map_file(weights, file, path, offset, payload_bytes);
  close(file);
  if (failed) return 1;
  const weights_header *header = (const weights_header *)(weights->payload - sizeof *header);
  if (check_header(header, path, payload_bytes, hash)) {
    burnish_weights_unmap(weights);
    return 1;
  }
  return 0;
}

void burnish_weights_unmap(burnish_weights *weights) {
  if (weights->base) munmap(weights->base, weights->length);
  memset(weights, 0, sizeof *weights);
}
