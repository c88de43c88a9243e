// SPDX-License-Identifier: MIT
// Counts the bytes that Eigen, operator new or any library takes from malloc. Under
// glibc this header DEFINES malloc and its like, so it is included in exactly one translation unit
// of a program. Sanitizers have a heap of their own, and tell what is asked of it.
#ifndef BATCHNORM_TESTS_SUPPORT_HEAP_COUNTER_HPP
#define BATCHNORM_TESTS_SUPPORT_HEAP_COUNTER_HPP

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BATCHNORM_TEST_HEAP_IS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BATCHNORM_TEST_HEAP_IS_SANITIZED
#endif
#endif

#if defined(BATCHNORM_TEST_HEAP_IS_SANITIZED) || defined(__GLIBC__)
#define BATCHNORM_TEST_HEAP_IS_COUNTED
#endif

namespace batchnorm_test {
namespace detail {

// Constant initialisation: malloc is called before any constructor has run.
inline std::atomic<std::size_t> heap_bytes{0};

}  // namespace detail

/// The bytes that the body asks the heap for, whether or not it gives them back.
template <class Body>
std::size_t heap_bytes_during(const Body& body) {
  const std::size_t before = detail::heap_bytes.load();
  body();
  return detail::heap_bytes.load() - before;
}

}  // namespace batchnorm_test

#if defined(BATCHNORM_TEST_HEAP_IS_SANITIZED)

extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*,
                                                                  std::size_t),
                                                         void (*)(const volatile void*));

namespace batchnorm_test {
namespace detail {

inline const int heap_hooks = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t size) { heap_bytes += size; },
    [](const volatile void*) {});

}  // namespace detail
}  // namespace batchnorm_test

#elif defined(__GLIBC__)

extern "C" {

void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) noexcept {
  batchnorm_test::detail::heap_bytes += size;
  return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
  batchnorm_test::detail::heap_bytes += count * size;
  return __libc_calloc(count, size);
}

void* realloc(void* memory, std::size_t size) noexcept {
  batchnorm_test::detail::heap_bytes += size;
  return __libc_realloc(memory, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  batchnorm_test::detail::heap_bytes += size;
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept {
  batchnorm_test::detail::heap_bytes += size;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"

#endif

#endif  // BATCHNORM_TESTS_SUPPORT_HEAP_COUNTER_HPP
