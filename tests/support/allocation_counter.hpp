// SPDX-License-Identifier: MIT
// Counts what is taken from the heap. This header DEFINES the global allocation functions, so it is
// included in exactly one translation unit of a program: a test file that counts. Eigen takes its
// memory from malloc and not from operator new; it is made to assert instead, for which the test
// file defines EIGEN_RUNTIME_NO_MALLOC in its first line of code.
#ifndef BATCHNORM_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP
#define BATCHNORM_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP

#ifndef EIGEN_RUNTIME_NO_MALLOC
#error "a test that counts allocations defines EIGEN_RUNTIME_NO_MALLOC first"
#endif
#ifdef NDEBUG
#error "programs that count allocations need Eigen's assertions: no NDEBUG"
#endif

#include <Eigen/Core>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace batchnorm_test {
namespace detail {

inline std::atomic<long>& calls() {
  static std::atomic<long> count{0};
  return count;
}

inline void* take(std::size_t size, std::size_t alignment) noexcept {
  ++calls();
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;  // aligned_alloc's rule
  return std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
}

inline void* take_or_throw(std::size_t size, std::size_t alignment) {
  void* memory = take(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace detail

/// While it lives, memory that Eigen takes from the heap is a failed assertion.
class EigenMayNotAllocate {
 public:
  EigenMayNotAllocate() { Eigen::internal::set_is_malloc_allowed(false); }
  ~EigenMayNotAllocate() { Eigen::internal::set_is_malloc_allowed(true); }
  EigenMayNotAllocate(const EigenMayNotAllocate&) = delete;
  EigenMayNotAllocate& operator=(const EigenMayNotAllocate&) = delete;
};

/// How often the heap is asked for memory by operator new while the body runs; what Eigen would
/// take from malloc is a failed assertion.
template <class Body>
long allocations_during(const Body& body) {
  const EigenMayNotAllocate guard;
  const long before = detail::calls().load();
  body();
  return detail::calls().load() - before;
}

}  // namespace batchnorm_test

// Not inlined, because compilers then take malloc and delete for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t size) {
  return batchnorm_test::detail::take_or_throw(size, 1);
}
[[gnu::noinline]] void* operator new[](std::size_t size) {
  return batchnorm_test::detail::take_or_throw(size, 1);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  return batchnorm_test::detail::take_or_throw(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment) {
  return batchnorm_test::detail::take_or_throw(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return batchnorm_test::detail::take(size, 1);
}
[[gnu::noinline]] void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return batchnorm_test::detail::take(size, 1);
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment,
                                     const std::nothrow_t&) noexcept {
  return batchnorm_test::detail::take(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new[](std::size_t size, std::align_val_t alignment,
                                       const std::nothrow_t&) noexcept {
  return batchnorm_test::detail::take(size, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t,
                                       const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t,
                                         const std::nothrow_t&) noexcept {
  std::free(memory);
}

#endif  // BATCHNORM_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP
