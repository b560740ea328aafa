// Scratch memory, one growing buffer per thread, given back when the thread ends.
#include <stdlib.h>

#include "kernels.h"

namespace {

struct Scratch {
  void* memory = nullptr;
  size_t bytes = 0;
  ~Scratch() { free(memory); }
};

thread_local Scratch scratch;

}  // namespace

extern "C" void* gs_scratch(size_t bytes) {
  if (bytes <= scratch.bytes && scratch.memory) return scratch.memory;
  if (bytes > SIZE_MAX - 4096) return nullptr;
  const size_t rounded = (bytes + 4095) / 4096 * 4096 + 4096;
  free(scratch.memory);
  scratch.bytes = 0;
  scratch.memory = aligned_alloc(64, rounded);
  if (scratch.memory) scratch.bytes = rounded;
  return scratch.memory;
}
