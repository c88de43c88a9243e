// SPDX-License-Identifier: MIT
#include "benchmarks/streams.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "benchmarks/threads.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace batchnorm_benchmarks {
namespace {

using Byte = unsigned char;
constexpr std::size_t line = 64;

using Copy = void (*)(Byte* out, const Byte* a, std::size_t bytes);
using Read = std::uint64_t (*)(const Byte* a, std::size_t bytes);
using Triad = void (*)(Byte* out, const Byte* a, const Byte* b, std::size_t bytes);

std::uint64_t load(const Byte* from) {
  std::uint64_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

void copy_memcpy(Byte* out, const Byte* a, std::size_t bytes) {
  std::memcpy(out, a, bytes);
}

// What any compiler may make vectors of. Sizes are multiples of eight bytes.
std::uint64_t read_plain(const Byte* a, std::size_t bytes) {
  std::uint64_t sum[4] = {0, 0, 0, 0};
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) sum[at / 8 % 4] += load(a + at);
  return sum[0] + sum[1] + sum[2] + sum[3];
}

void triad_plain(Byte* out, const Byte* a, const Byte* b, std::size_t bytes) {
  for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
    const std::uint64_t sum = load(a + at) + load(b + at);
    std::memcpy(out + at, &sum, sizeof sum);
  }
}

#if defined(__x86_64__)
// Integers are added, because they cost the same for every scalar's bits. Whole lines go by
// vectors, what is left goes as above. Non-temporal stores need whole aligned lines.

__attribute__((target("avx2"))) __m256i load_vector(const Byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

__attribute__((target("avx2"))) void store_vector(Byte* to, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v);
}

__attribute__((target("avx2"))) void stream_vector(Byte* to, __m256i v) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), v);
}

__attribute__((target("avx2"))) void copy_vector(Byte* out, const Byte* a, std::size_t bytes) {
  const std::size_t whole = bytes / line * line;
  for (std::size_t at = 0; at < whole; at += line) {
    store_vector(out + at, load_vector(a + at));
    store_vector(out + at + 32, load_vector(a + at + 32));
  }
  std::memcpy(out + whole, a + whole, bytes - whole);
}

__attribute__((target("avx2"))) void copy_past_cache(Byte* out, const Byte* a, std::size_t bytes) {
  const std::size_t whole = bytes / line * line;
  for (std::size_t at = 0; at < whole; at += line) {
    stream_vector(out + at, load_vector(a + at));
    stream_vector(out + at + 32, load_vector(a + at + 32));
  }
  _mm_sfence();
  std::memcpy(out + whole, a + whole, bytes - whole);
}

__attribute__((target("avx2"))) std::uint64_t read_vector(const Byte* a, std::size_t bytes) {
  __m256i sum[8];
  for (__m256i& part : sum) part = _mm256_setzero_si256();
  const std::size_t whole = bytes / (4 * line) * (4 * line);
  for (std::size_t at = 0; at < whole; at += 4 * line) {
    for (std::size_t i = 0; i < 8; ++i) {
      sum[i] = _mm256_add_epi64(sum[i], load_vector(a + at + 32 * i));
    }
  }
  for (std::size_t i = 1; i < 8; ++i) sum[0] = _mm256_add_epi64(sum[0], sum[i]);
  Byte lanes[32];
  store_vector(lanes, sum[0]);
  return read_plain(lanes, 32) + read_plain(a + whole, bytes - whole);
}

__attribute__((target("avx2"))) void triad_vector(Byte* out, const Byte* a, const Byte* b,
                                                  std::size_t bytes) {
  const std::size_t whole = bytes / line * line;
  for (std::size_t at = 0; at < whole; at += 32) {
    store_vector(out + at, _mm256_add_epi64(load_vector(a + at), load_vector(b + at)));
  }
  triad_plain(out + whole, a + whole, b + whole, bytes - whole);
}

__attribute__((target("avx2"))) void triad_past_cache(Byte* out, const Byte* a, const Byte* b,
                                                      std::size_t bytes) {
  const std::size_t whole = bytes / line * line;
  for (std::size_t at = 0; at < whole; at += 32) {
    stream_vector(out + at, _mm256_add_epi64(load_vector(a + at), load_vector(b + at)));
  }
  _mm_sfence();
  triad_plain(out + whole, a + whole, b + whole, bytes - whole);
}

bool has_vectors() {
  return __builtin_cpu_supports("avx2") != 0;
}
#endif

/// Adds ways that use a given number of threads.
class Ways {
 public:
  Ways(const Problem& problem, int threads, std::vector<Way>& all)
      : in_(static_cast<const Byte*>(problem.in)),
        second_(static_cast<const Byte*>(problem.out_gradient)),
        out_(static_cast<Byte*>(problem.out)),
        bytes_(static_cast<std::size_t>(bytes(problem.row))),
        threads_(threads),
        all_(all) {}

  void copy(const char* name, Copy function) {
    add(Stream::copy, name, [in = in_, out = out_, function](std::size_t first, std::size_t last) {
      function(out + first, in + first, last - first);
    });
  }

  void read(const char* name, Read function) {
    add(Stream::read, name, [in = in_, function](std::size_t first, std::size_t last) {
      benchmark::DoNotOptimize(function(in + first, last - first));
    });
  }

  void triad(const char* name, Triad function) {
    add(Stream::triad, name,
        [in = in_, second = second_, out = out_, function](std::size_t first, std::size_t last) {
          function(out + first, in + first, second + first, last - first);
        });
  }

 private:
  template <class Body>
  void add(Stream stream, const char* name, const Body& body) {
    const auto run = [threads = threads_, bytes = bytes_, body] {
      split(threads, bytes, line, body);
      benchmark::ClobberMemory();
    };
    all_.push_back({stream, std::string(name) + "@" + std::to_string(threads_), run});
  }

  const Byte* in_;
  const Byte* second_;
  Byte* out_;
  std::size_t bytes_;
  int threads_;
  std::vector<Way>& all_;
};

void add_ways(const Problem& problem, int threads, std::vector<Way>& all) {
  Ways ways(problem, threads, all);
  ways.copy("memcpy", copy_memcpy);
#if defined(__x86_64__)
  if (has_vectors()) {
    ways.copy("copy", copy_vector);
    ways.copy("copy, non-temporal", copy_past_cache);
    ways.read("read", read_vector);
    ways.triad("triad", triad_vector);
    ways.triad("triad, non-temporal", triad_past_cache);
    return;
  }
#endif
  ways.read("read", read_plain);
  ways.triad("triad", triad_plain);
}

}  // namespace

std::vector<Way> ways_of(const Problem& problem) {
  std::vector<Way> all;
  add_ways(problem, problem.row.threads, all);
  if (problem.row.threads > 1 && bytes(problem.row) < mebibyte) add_ways(problem, 1, all);
  return all;
}

}  // namespace batchnorm_benchmarks
