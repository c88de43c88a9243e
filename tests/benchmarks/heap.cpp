// SPDX-License-Identifier: MIT
// Replaces the allocation functions of the C library in the program that this is linked into.
#include "benchmarks/heap.hpp"

#include <atomic>
#include <cstdlib>

#if defined(__GLIBC__)
#include <malloc.h>

#include <cerrno>

// Under these names glibc keeps its own.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* memory);
}

namespace {

std::atomic<std::ptrdiff_t> taken{0};
std::atomic<std::ptrdiff_t> most_taken{0};

void* count(void* memory) {
  const auto size = static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
  const std::ptrdiff_t now = taken.fetch_add(size) + size;
  std::ptrdiff_t most = most_taken.load();
  while (now > most && !most_taken.compare_exchange_weak(most, now)) {
  }
  return memory;
}

void discount(void* memory) {
  taken -= static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) {
  return count(__libc_malloc(size));
}
void* calloc(std::size_t number, std::size_t size) {
  return count(__libc_calloc(number, size));
}
void* realloc(void* memory, std::size_t size) {
  discount(memory);
  return count(__libc_realloc(memory, size));
}
void* memalign(std::size_t alignment, std::size_t size) {
  return count(__libc_memalign(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return count(__libc_memalign(alignment, size));
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = count(__libc_memalign(alignment, size));
  return *memory == nullptr ? ENOMEM : 0;
}
void free(void* memory) {
  discount(memory);
  __libc_free(memory);
}

}  // extern "C"

bool batchnorm_benchmarks::heap_is_counted() {
  return true;
}
void batchnorm_benchmarks::restart_heap_count() {
  taken = 0;
  most_taken = 0;
}
std::size_t batchnorm_benchmarks::peak_heap_bytes() {
  return static_cast<std::size_t>(most_taken.load());
}

#else

bool batchnorm_benchmarks::heap_is_counted() {
  return false;
}
void batchnorm_benchmarks::restart_heap_count() {}
std::size_t batchnorm_benchmarks::peak_heap_bytes() {
  return 0;
}

#endif
