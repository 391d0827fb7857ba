/*
 * Scratch memory of kernels: a stack per thread, grown when it is too small and kept, so that
 * after the first runs no kernel reaches malloc.
 *
 * Memory comes in chunks. A block that does not fit opens a larger chunk; when the stack is empty
 * again, all chunks are replaced by one of their total size.
 */
#include <stdlib.h>

#include "internal.h"

enum { FIRST_CHUNK = 64 * 1024 };

typedef struct chunk {
  struct chunk *below;
  size_t size, used;
  size_t block; /* offset of the topmost header, 0 if the chunk holds no block */
} chunk;

/* One before each block; takes a whole line so that the block stays aligned. */
typedef struct {
  size_t previous_used;
  size_t previous_block; /* offset in the chunk of the header of the block below; 0: none */
  int freed;
} header;

struct burnish_workspace {
  chunk *top;
  size_t live;
};

static _Thread_local burnish_workspace *current;

static size_t lines(size_t bytes) {
  return (bytes + BURNISH_LINE - 1) / BURNISH_LINE * BURNISH_LINE;
}

static chunk *push_chunk(burnish_workspace *workspace, size_t size) {
  chunk *fresh = aligned_alloc(BURNISH_LINE, lines(sizeof *fresh) + size);
  if (!fresh) return NULL;
  fresh->below = workspace->top;
  fresh->size = lines(sizeof *fresh) + size;
  fresh->used = lines(sizeof *fresh);
  fresh->block = 0;
  workspace->top = fresh;
  return fresh;
}

static void drop_chunks(burnish_workspace *workspace) {
  while (workspace->top) {
    chunk *below = workspace->top->below;
    free(workspace->top);
    workspace->top = below;
  }
}

static void merge_chunks(burnish_workspace *workspace) {
  size_t total = 0;
  for (chunk *each = workspace->top; each; each = each->below) total += each->size;
  drop_chunks(workspace);
  push_chunk(workspace, lines(total));
}

burnish_workspace *burnish_workspace_new(void) { return calloc(1, sizeof(burnish_workspace)); }

void burnish_workspace_delete(burnish_workspace *workspace) {
  if (!workspace) return;
  drop_chunks(workspace);
  free(workspace);
}

void burnish_workspace_use(burnish_workspace *workspace) { current = workspace; }

void *burnish_allocate(size_t bytes) {
  burnish_workspace *workspace = current;
  size_t needed = lines(sizeof(header)) + lines(bytes);
  chunk *top = workspace ? workspace->top : NULL;
  if (!workspace || needed < bytes) {
    burnish_fail("a kernel asked for scratch memory outside a run");
    return NULL;
  }
  if (!top || top->size - top->used < needed) {
    top = push_chunk(workspace, needed > FIRST_CHUNK ? needed : FIRST_CHUNK);
    if (!top) {
      burnish_fail("out of memory: a kernel needs %zu bytes of scratch memory", bytes);
      return NULL;
    }
  }
  size_t at = top->used;
  header *block = (header *)((char *)top + at);
  block->previous_used = at;
  block->previous_block = top->block;
  block->freed = 0;
  top->block = at;
  top->used += needed;
  workspace->live++;
  return (char *)block + lines(sizeof(header));
}

void burnish_release(void *pointer) {
  burnish_workspace *workspace = current;
  if (!pointer || !workspace) return;
  ((header *)((char *)pointer - lines(sizeof(header))))->freed = 1;
  /* Blocks are nearly always freed in reverse order; one that is not waits for those above. */
  for (chunk *top = workspace->top; top; top = top->below) {
    while (top->block) {
      header *block = (header *)((char *)top + top->block);
      if (!block->freed) return;
      top->used = block->previous_used;
      top->block = block->previous_block;
      workspace->live--;
    }
  }
  if (workspace->live == 0 && workspace->top && workspace->top->below) merge_chunks(workspace);
}
