// SPDX-License-Identifier: MIT
// More memory than the machine has: pages become real only when they are touched, so that offsets
// beyond 2^31 elements are tried at the price of a few pages.
#ifndef BATCHNORM_TESTS_SUPPORT_SPARSE_MEMORY_HPP
#define BATCHNORM_TESTS_SUPPORT_SPARSE_MEMORY_HPP

#include <cstddef>
#include <cstdint>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace batchnorm_test {

class SparseMemory {
 public:
  /// All bytes are zero. The system may refuse; then data() is null, and the test says so.
  explicit SparseMemory(std::uint64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
#if defined(MAP_NORESERVE) && defined(MAP_ANONYMOUS)
    if (bytes_ != bytes) return;  // more than this machine can address
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) data_ = memory;
#endif
  }
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  ~SparseMemory() {
#if defined(MAP_NORESERVE) && defined(MAP_ANONYMOUS)
    if (data_ != nullptr) munmap(data_, bytes_);
#endif
  }

  template <class T>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  std::size_t bytes_;
  void* data_ = nullptr;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_SPARSE_MEMORY_HPP
