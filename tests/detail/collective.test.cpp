// SPDX-License-Identifier: MIT
#include "batchnorm/detail/collective.hpp"

#include <Eigen/Core>
#include <cstdint>
#include <limits>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// Writes down how it was called, and answers with the share of its second piece.
class Recorder : public detail::Collective {
 public:
  explicit Recorder(bool whole_gradients) : Collective(&join, whole_gradients) {}

  std::uint64_t layer = 0;
  const detail::CollectiveCall* call = nullptr;
  detail::ChannelShare* own = nullptr;

 private:
  static void join(Collective& self, std::uint64_t layer, const detail::CollectiveCall& call,
                   const detail::CollectivePiece& piece, detail::ChannelShare& own,
                   detail::ChannelShare& all) {
    auto& recorder = static_cast<Recorder&>(self);
    recorder.layer = layer;
    recorder.call = &call;
    recorder.own = &own;
    recorder.samples_ = 40;
    piece(3, 4, all);
  }
};

}  // namespace

TEST_CASE("a call and a share begin with nothing") {
  const detail::ChannelShare share;
  CHECK(share.count == 0);
  CHECK(share.weight == 0.0);
  CHECK(share.squared_weight == 0.0);
  CHECK(share.weights == 0);
  CHECK(share.first == nullptr);
  CHECK(share.second == nullptr);
  const detail::CollectiveCall call;
  CHECK(call.channels == 0);
  CHECK(call.samples == 0);
  CHECK(call.scalar == 0);
  CHECK(call.options == 0);
  CHECK(call.state == 0);
  CHECK_FALSE(call.reject_non_finite);
}

TEST_CASE("a call reaches the ranks with all that belongs to it") {
  Recorder ranks(false);
  CHECK(ranks.samples() == 0);
  CHECK_FALSE(ranks.sums_parameter_gradients());
  CHECK(Recorder(true).sums_parameter_gradients());
  const detail::CollectiveCall call;
  detail::ChannelShare own, all;
  const auto body = [](Index first, Index samples, detail::ChannelShare& to) {
    to.count = 100 * first + samples;
  };
  ranks.combine(9, call, detail::CollectivePiece(body), own, all);
  CHECK(ranks.layer == 9);
  CHECK(ranks.call == &call);
  CHECK(ranks.own == &own);
  CHECK(all.count == 304);
  CHECK(own.count == 0);
  CHECK(ranks.samples() == 40);
}

TEST_CASE("a fingerprint is FNV-1a of words, folded") {
  // h = (h xor word) (2^40 + 0x1b3) mod 2^64, then h xor h / 2^29, in integers of any length.
  detail::Fingerprint print;
  CHECK(print.value() == 0xcbf29ce484222325u);
  CHECK(print.add(std::uint64_t{1}).value() == 0xaf63bc49fd1c5448u);
  CHECK(print.add((std::numeric_limits<std::uint64_t>::max)()).value() == 0xdd32c540014aedc2u);
  CHECK(print.add(-0.5).value() == 0x3712edc38ac56eb7u);  // its bits, 0xbfe0000000000000
}

TEST_CASE("every scalar of the ranks has a number") {
  CHECK(detail::scalar_code<float>() == 1);
  CHECK(detail::scalar_code<double>() == 2);
  CHECK(detail::scalar_code<Eigen::half>() == 3);
  CHECK(detail::scalar_code<Eigen::bfloat16>() == 4);
  CHECK(detail::scalar_code<long double>() == 0);
}
