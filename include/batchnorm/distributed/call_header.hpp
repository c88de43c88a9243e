// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DISTRIBUTED_CALL_HEADER_HPP
#define BATCHNORM_DISTRIBUTED_CALL_HEADER_HPP

#include <cstdint>
#include <cstring>
#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// What goes first: 64 bytes in which every rank says which call it makes and whether it accepts its
// part of the minibatch. Only when all say the same do they exchange numbers, so that the lengths
// of those messages agree.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What a rank has found out about its part of a minibatch; which exception it would throw.
enum class Verdict : std::uint32_t { accepted, argument, domain, other };

/// As it travels, in the byte order of the machine: of ranks with different ones none finds the
/// magic number of the others.
struct CallHeader {
  std::uint32_t magic = 0x31534e42;  ///< the letters BNS1 on a little-endian machine
  CollectiveKind kind = CollectiveKind::train;
  std::uint64_t call = 0;  ///< how many calls this rank has made, this one included
  std::int64_t channels = 0;
  std::uint64_t layer = 0;
  std::uint64_t options = 0;
  std::uint64_t state = 0;
  std::uint16_t scalar = 0;
  std::uint16_t weights = 0;  ///< what those of this rank say, as in ChannelShare
  Verdict verdict = Verdict::accepted;
  std::int64_t samples = 0;  ///< of this rank; all others must be the same
};
static_assert(sizeof(CallHeader) == 64, "the header is 64 bytes without gaps");

inline const char* name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::train:
      return "train";
    case CollectiveKind::normalize:
      return "normalize";
    case CollectiveKind::moments:
      return "the moments of an input";
    case CollectiveKind::backward:
      return "backward";
    default:
      return "refuse";
  }
}

inline const char* scalar_name(std::uint32_t code) {
  constexpr const char* names[] = {"another scalar", "float", "double", "half", "bfloat16"};
  return names[code < 5 ? code : 0];
}

inline const char* weights_name(std::uint32_t weights) {
  constexpr const char* names[] = {"no kind", "frequency", "reliability", "importance"};
  return names[weights < 4 ? weights : 0];
}

inline std::string describe(const CallHeader& header) {
  return text(name_of(header.kind), ", call ", header.call, ", of layer ", header.layer, " with ",
              header.channels, " channels of ", scalar_name(header.scalar));
}

/// What two ranks that make the same call by the looks of it disagree about.
inline std::string hidden_difference(const CallHeader& a, const CallHeader& b) {
  if (a.options != b.options) return ", with other options of layer or Synchronize";
  if (a.state == b.state) return {};
  if (a.kind == CollectiveKind::backward) return ", with the moments of another minibatch";
  return text(", after ", static_cast<std::int64_t>(b.state), " minibatches and not ",
              static_cast<std::int64_t>(a.state));
}

inline bool is_same_call(const CallHeader& a, const CallHeader& b) {
  return a.kind == b.kind && a.call == b.call && a.channels == b.channels && a.layer == b.layer &&
         a.options == b.options && a.state == b.state && a.scalar == b.scalar;
}

/// The headers of all ranks, one after the other.
class CallHeaders {
 public:
  CallHeaders(const void* bytes, int ranks)
      : bytes_(static_cast<const char*>(bytes)), ranks_(ranks) {}

  int ranks() const { return ranks_; }
  CallHeader operator[](int rank) const {
    CallHeader header;
    std::memcpy(&header, bytes_ + sizeof header * static_cast<std::size_t>(rank), sizeof header);
    return header;
  }

  /// Of all ranks together.
  Index samples() const {
    Index samples = 0;
    for (int rank = 0; rank < ranks_; ++rank) samples += (*this)[rank].samples;
    return samples;
  }

  /// Refuses ranks that do not make the same call, with the same message on all of them. A rank
  /// that refuses, instead of a call that it cannot make, agrees with all.
  void check_same_call() const {
    int first = 0;
    while (first < ranks_ && (*this)[first].kind == CollectiveKind::refusal) ++first;
    for (int rank = 0; rank < ranks_; ++rank) {
      const CallHeader other = (*this)[rank];
      if (other.magic != CallHeader().magic) {
        fail_argument("Synchronize", "all ranks run the same version on the same kind of machine",
                      "their headers to begin alike", text("another beginning from rank ", rank));
      }
      if (other.kind == CollectiveKind::refusal || is_same_call((*this)[first], other)) continue;
      fail_argument("Synchronize", "all ranks make the same calls in the same order",
                    text("that of rank ", first, ": ", describe((*this)[first])),
                    text("from rank ", rank, ": ", describe(other),
                         hidden_difference((*this)[first], other)));
    }
  }

  /// What the weights of all ranks say. Ranks without any go with all.
  std::uint32_t check_same_weights() const {
    int first = 0;
    while (first < ranks_ && (*this)[first].weights == 0) ++first;
    if (first == ranks_) return 0;
    const std::uint32_t weights = (*this)[first].weights;
    for (int rank = first; rank < ranks_; ++rank) {
      const std::uint32_t other = (*this)[rank].weights;
      if (other == 0 || other == weights) continue;
      fail_argument("Synchronize", "what the weights of all ranks say",
                    text("as on rank ", first, ", weights of ", weights_name(weights)),
                    text("weights of ", weights_name(other), " on rank ", rank));
    }
    return weights;
  }

  /// The first rank that does not accept its part of the minibatch; the number of ranks when all
  /// do.
  int first_refusal() const {
    int rank = 0;
    while (rank < ranks_ && (*this)[rank].verdict == Verdict::accepted) ++rank;
    return rank;
  }

 private:
  const char* bytes_;
  int ranks_;
};

/// Fails on behalf of a rank, with the kind of exception that it would throw.
[[noreturn]] inline void fail_for_rank(Verdict verdict, const std::string& message) {
  if (verdict == Verdict::argument) raise_invalid_argument(message);
  if (verdict == Verdict::domain) raise_domain_error(message);
  raise_runtime_error(message);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DISTRIBUTED_CALL_HEADER_HPP
