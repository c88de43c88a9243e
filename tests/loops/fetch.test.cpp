// SPDX-License-Identifier: MIT
#include "batchnorm/loops/fetch.hpp"

#include <cstddef>

#include "support/catch.hpp"

#if defined(__unix__)
#include <sys/mman.h>
#include <unistd.h>
#endif

using batchnorm::Index;
using namespace batchnorm::loops;

namespace {

template <class T, std::size_t Inputs>
using Fetcher = RowFetcher<T, Inputs, Nearness::first_level, 4096>;

}  // namespace

TEST_CASE("asking ahead pays for long rows, by their bytes, of several inputs for shorter ones") {
  CHECK_FALSE(Fetcher<float, 1>::pays(0));
  CHECK_FALSE(Fetcher<float, 1>::pays(127));
  CHECK(Fetcher<float, 1>::pays(128));
  CHECK(Fetcher<float, 1>::pays(Index{1} << 50));
  CHECK_FALSE(Fetcher<double, 1>::pays(63));
  CHECK(Fetcher<double, 1>::pays(64));
  CHECK_FALSE(Fetcher<float, 2>::pays(63));
  CHECK(Fetcher<float, 2>::pays(64));
  CHECK_FALSE(Fetcher<Eigen::half, 3>::pays(127));
  CHECK(Fetcher<Eigen::half, 3>::pays(128));
}

TEST_CASE("a fetcher of runs looks into the next run past the end of one") {
  using Runs = RunFetcher<float, 2, Nearness::first_level, 4096>;
  const Runs fetcher({5000, -7000}, 3136, true);
  REQUIRE(fetcher.active());
  CHECK(fetcher.ahead(0, 0, 3136) == 1024);
  CHECK(fetcher.ahead(1, 2111, 3136) == 3135);
  // The first element of the next run, then one further in, from the beginning of this one.
  CHECK(fetcher.ahead(0, 2112, 3136) == 5000);
  CHECK(fetcher.ahead(1, 2112, 3136) == -7000);
  CHECK(fetcher.ahead(1, 3135, 3136) == -7000 + 1023);
  // Half as many elements are as far in bytes where they are twice as large.
  CHECK(RunFetcher<double, 1, Nearness::first_level, 4096>({5000}, 3136, true).ahead(0, 0, 3136) ==
        512);
}

TEST_CASE("a fetcher of runs does nothing for runs shorter than its way, or when told so") {
  using Runs = RunFetcher<float, 1, Nearness::first_level, 4096>;
  CHECK(Runs({5000}, 1024, true).active());
  CHECK_FALSE(Runs({5000}, 1023, true).active());
  CHECK_FALSE(Runs({5000}, 1024, false).active());
}

#if defined(__unix__)

namespace {

/// Memory behind which, and before which, nothing may be read: that ends the process.
class Guarded {
 public:
  Guarded()
      : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))),
        memory_(static_cast<unsigned char*>(
            mmap(nullptr, 3 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    REQUIRE(memory_ != MAP_FAILED);
    REQUIRE(mprotect(memory_ + page_, page_, PROT_READ | PROT_WRITE) == 0);
  }
  ~Guarded() { munmap(memory_, 3 * page_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  const float* begin() const { return reinterpret_cast<const float*>(memory_ + page_); }
  const float* end() const { return reinterpret_cast<const float*>(memory_ + 2 * page_); }

 private:
  std::size_t page_;
  unsigned char* memory_;
};

}  // namespace

TEST_CASE("a fetcher may be used at the very end of the memory, whatever the step of its rows") {
  const Guarded memory;
  for (const Index step : {Index{0}, Index{1}, Index{-1}, Index{256}, Index{300}, Index{-300},
                           Index{1} << 30, -(Index{1} << 30)}) {
    for (const Index columns : {Index{1}, Index{15}, Index{16}, Index{256}, Index{1} << 20}) {
      for (const bool active : {false, true}) {
        Fetcher<float, 2> first({memory.end() - 1, memory.begin()}, {step, -step}, columns, active);
        RowFetcher<float, 1, Nearness::second_level, 16384> second({memory.end() - 1}, {step},
                                                                   columns, active);
        for (const Index elements : {0, 1, 15, 16, 17, 512}) {
          first.fetch(elements);
          second.fetch(elements);
        }
      }
    }
  }
  // Had it been read, this would not be reached.
  CHECK(*memory.begin() == 0.0f);
}

TEST_CASE("a fetcher of runs may be used at the very end of the memory, whatever the next run") {
  const Guarded memory;
  using Runs = RunFetcher<float, 2, Nearness::first_level, 4096>;
  for (const Index step : {Index{0}, Index{1024}, Index{-1024}, Index{1} << 40}) {
    for (const Index length : {Index{0}, Index{1}, Index{1023}, Index{1024}, Index{1} << 30}) {
      for (const bool active : {false, true}) {
        const Runs fetcher({step, -step}, length, active);
        for (const Index at : {Index{0}, Index{1}, length - 1, length}) {
          fetcher.fetch<128>({memory.end() - 1, memory.begin()}, at, length);
        }
      }
    }
  }
  CHECK(*memory.begin() == 0.0f);
}

TEST_CASE("a line may be asked for where there is no memory") {
  const Guarded memory;
  fetch_line<Nearness::first_level>(address_of(memory.end()));
  fetch_line<Nearness::second_level>(address_of(memory.begin()) - sizeof(float));
  fetch_line<Nearness::first_level>(0);
  CHECK(memory.end()[-1] == 0.0f);
}

#endif
