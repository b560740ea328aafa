// Scratch memory, two growing buffers per thread, given back when the thread ends.
#include <stdlib.h>

#include "kernels.h"

namespace {

struct Scratch {
  void* memory = nullptr;
  size_t bytes = 0;
  ~Scratch() { free(memory); }
};

thread_local Scratch of_tasks, of_calls;

void* at_least(Scratch& scratch, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  const size_t rounded = bytes;  // to the byte, and new every time: what is read past it or before it is written shows
#else
  if (bytes <= scratch.bytes && scratch.memory) return scratch.memory;
  if (bytes > SIZE_MAX - 4096) return nullptr;
  const size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096;
#endif
  free(scratch.memory);
  scratch.memory = nullptr;
  scratch.bytes = 0;
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, rounded ? rounded : 1) != 0) return nullptr;
  scratch.memory = memory;
  scratch.bytes = rounded;
  return memory;
}

}  // namespace

extern "C" {

void* gs_scratch(size_t bytes) { return at_least(of_tasks, bytes); }
void* gs_call_scratch(size_t bytes) { return at_least(of_calls, bytes); }

}
