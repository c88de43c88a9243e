// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MOMENTS_BYTES_HPP
#define BATCHNORM_MATH_MOMENTS_BYTES_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/version.hpp"

// Moments as bytes, to be sent or kept, the same on every machine. Version 1, all numbers little
// endian, for C channels:
//
//     bytes   0 ..  3   the letters BNMO
//     bytes   4 ..  5   1, the version, unsigned
//     bytes   6 ..  7   what the weights say, unsigned: 0 frequency, or nothing was weighted;
//                       1 reliability; 2 importance
//     bytes   8 .. 15   C, signed
//     bytes  16 .. 23   count, signed
//     bytes  24 .. 31   W, the sum of the weights, IEEE double: count where nothing was weighted
//     bytes  32 .. 39   the sum of their squares, IEEE double
//     then C doubles    means
//     then C doubles    sums of squares

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline constexpr std::size_t moments_header_size = 40;
inline constexpr unsigned char moments_magic[] = {'B', 'N', 'M', 'O'};
inline constexpr std::uint64_t moments_version = 1;

/// Appends numbers, the lowest byte first.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<unsigned char>& bytes) : bytes_(bytes) {}

  void whole(std::uint64_t number, int size = 8) {
    for (int byte = 0; byte < size; ++byte) {
      bytes_.push_back(static_cast<unsigned char>((number >> (8 * byte)) & 0xffu));
    }
  }
  void real(double number) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &number, sizeof bits);
    whole(bits);
  }

 private:
  std::vector<unsigned char>& bytes_;
};

/// Reads them again; there must be enough bytes.
class ByteReader {
 public:
  explicit ByteReader(const unsigned char* bytes) : next_(bytes) {}

  std::uint64_t whole(int size = 8) {
    std::uint64_t number = 0;
    for (int byte = 0; byte < size; ++byte) {
      number |= static_cast<std::uint64_t>(*next_++) << (8 * byte);
    }
    return number;
  }
  double real() {
    const std::uint64_t bits = whole();
    double number = 0;
    std::memcpy(&number, &bits, sizeof number);
    return number;
  }

 private:
  const unsigned char* next_;
};

inline constexpr Weights weights_of_number[] = {Weights::frequency, Weights::reliability,
                                                Weights::importance};

inline std::uint64_t number_of(Weights kind) {
  return kind == Weights::frequency ? 0 : kind == Weights::reliability ? 1 : 2;
}

/// Refuses a number that stands for no kind of weights.
inline void check_weights_number(const char* function, std::uint64_t number) {
  if (number <= 2) return;
  fail_argument(function, "what the weights say", "0, 1 or 2", text(number));
}

/// Refuses bytes that are not moments of version 1.
/// @return the number of channels
inline Index check_moments_bytes(const char* function, const unsigned char* bytes,
                                 std::size_t size) {
  if (bytes == nullptr || size < moments_header_size) {
    fail_argument(function, "size of moments in bytes",
                  text("at least the ", moments_header_size, " of the header"),
                  bytes == nullptr ? std::string("a null pointer") : text(size));
  }
  if (std::memcmp(bytes, moments_magic, sizeof moments_magic) != 0) {
    fail_argument(function, "first four bytes", "the letters BNMO", "others");
  }
  ByteReader reader(bytes + sizeof moments_magic);
  const std::uint64_t version = reader.whole(2);
  if (version != moments_version) {
    fail_argument(function, "version of the layout",
                  text(moments_version, ", the one that this library knows"), text(version));
  }
  check_weights_number(function, reader.whole(2));
  const std::uint64_t channels = reader.whole();
  const std::size_t room = size - moments_header_size;
  if (channels > room / 16 || channels * 16 != room) {
    fail_argument(function, text("size of moments of ", channels, " channels"),
                  text(moments_header_size, " bytes and 16 per channel"), text(size));
  }
  return static_cast<Index>(channels);
}

/// The count, which comes from a system whose Index may have more bits.
inline Index count_from_bytes(const char* function, std::uint64_t written) {
  const auto count = static_cast<std::int64_t>(written);
  constexpr Index most = (std::numeric_limits<Index>::max)();
  if (count < 0 || count > most) {
    fail_argument(function, "count of the moments",
                  count < 0 ? std::string("zero or more") : text("at most ", most), text(count));
  }
  return static_cast<Index>(count);
}

}  // namespace detail

/// Moments as bytes; the layout stands above. Reading them again gives the same bits.
/// @throws std::domain_error when a number is not finite: others would take it for data
/// @throws std::invalid_argument when the parts of the moments do not belong together
/// Shapes: of any number of channels. Cost: 40 bytes and 16 per channel.
template <class T, int Channels>
std::vector<unsigned char> to_bytes(const Moments<T, Channels>& moments) {
  static_assert(std::is_floating_point<T>::value && std::numeric_limits<T>::digits <= 53,
                "batchnorm: moments travel in double; convert those of a wider scalar first");
  detail::check_sound_moments("to_bytes", moments);
  std::vector<unsigned char> bytes(std::begin(detail::moments_magic),
                                   std::end(detail::moments_magic));
  bytes.reserve(detail::moments_header_size + 16 * static_cast<std::size_t>(moments.channels()));
  detail::ByteWriter writer(bytes);
  writer.whole(detail::moments_version, 2);
  writer.whole(detail::number_of(moments.weights()), 2);
  writer.whole(static_cast<std::uint64_t>(moments.channels()));
  writer.whole(static_cast<std::uint64_t>(moments.count));
  writer.real(moments.weight());
  writer.real(moments.squared_weight());
  for (const auto* numbers : {&moments.mean, &moments.sum_of_squares}) {
    for (Index channel = 0; channel < moments.channels(); ++channel) {
      writer.real(static_cast<double>((*numbers)[channel]));
    }
  }
  return bytes;
}

/// Moments from bytes that came from anywhere: nothing outside of [bytes, bytes + size) is read,
/// and what no data can leave behind is refused.
///
///     const Moments<double> moments = moments_from_bytes(bytes.data(), bytes.size());
///
/// @throws std::invalid_argument when the bytes are not moments of a version that is known, of
///         another number of channels than the type fixes, or the sums of weights are impossible
/// @throws std::domain_error when a number is not finite, a sum of squares is negative, or that of
///         one value is more than rounding
/// Shapes: `size` bytes, which say the number of channels. Cost: one pass over the bytes.
template <class T = double, int Channels = Eigen::Dynamic>
Moments<T, Channels> moments_from_bytes(const void* bytes, std::size_t size) {
  static_assert(std::is_floating_point<T>::value && std::numeric_limits<T>::digits >= 53,
                "batchnorm: moments travel in double, which this scalar cannot hold");
  constexpr const char* function = "moments_from_bytes";
  const unsigned char* const begin = static_cast<const unsigned char*>(bytes);
  const Index channels = detail::check_moments_bytes(function, begin, size);
  if (Channels != Eigen::Dynamic && channels != Channels) {
    detail::fail_argument(function, "number of channels is fixed by the type",
                          detail::text(Channels), detail::text(channels));
  }
  Moments<T, Channels> moments(channels);
  detail::ByteReader kind(begin + sizeof detail::moments_magic + 2);
  detail::ByteReader reader(begin + sizeof detail::moments_magic + 4 + 8);
  moments.count = detail::count_from_bytes(function, reader.whole());
  const double weight = reader.real();
  const double squared_weight = reader.real();
  for (auto* numbers : {&moments.mean, &moments.sum_of_squares}) {
    for (Index channel = 0; channel < channels; ++channel) {
      (*numbers)[channel] = static_cast<T>(reader.real());
    }
  }
  detail::check_sound_moments(function, moments);
  detail::check_weight(function, moments.count, weight, squared_weight);
  moments.set_weight(weight, squared_weight, detail::weights_of_number[kind.whole(2)]);
  return moments;
}

/// The same from a vector.
template <class T = double, int Channels = Eigen::Dynamic>
Moments<T, Channels> moments_from_bytes(const std::vector<unsigned char>& bytes) {
  return moments_from_bytes<T, Channels>(bytes.data(), bytes.size());
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MOMENTS_BYTES_HPP
