// SPDX-License-Identifier: MIT
#include "batchnorm/distributed/call_header.hpp"

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"

using batchnorm::detail::CallHeader;
using batchnorm::detail::CallHeaders;
using batchnorm::detail::CollectiveKind;
using batchnorm::detail::Verdict;
using namespace batchnorm_test;

namespace {

class Headers {
 public:
  explicit Headers(int ranks) : headers_(static_cast<std::size_t>(ranks)) {
    for (CallHeader& header : headers_) {
      header.call = 3;
      header.channels = 8;
      header.scalar = 2;
      header.samples = 10;
    }
  }
  CallHeader& operator[](int rank) { return headers_[static_cast<std::size_t>(rank)]; }
  CallHeaders read() {
    bytes_.resize(headers_.size() * 64);
    std::memcpy(bytes_.data(), headers_.data(), bytes_.size());
    return {bytes_.data(), static_cast<int>(headers_.size())};
  }

 private:
  std::vector<CallHeader> headers_;
  std::vector<unsigned char> bytes_;
};

}  // namespace

TEST_CASE("headers that agree pass, whatever samples and verdicts they have") {
  Headers headers(3);
  headers[1].samples = 0;
  headers[2].verdict = Verdict::domain;
  CHECK_NOTHROW(headers.read().check_same_call());
  CHECK(headers.read().samples() == 20);
  CHECK(headers.read().first_refusal() == 2);
  headers[2].verdict = Verdict::accepted;
  CHECK(headers.read().first_refusal() == 3);
}

TEST_CASE("ranks without weights go with ranks that have some, of one kind") {
  Headers headers(4);
  CHECK(headers.read().check_same_weights() == 0);
  headers[1].weights = 2;
  headers[3].weights = 2;
  CHECK(headers.read().check_same_weights() == 2);
  CHECK_NOTHROW(headers.read().check_same_call());
  headers[3].weights = 3;
  CHECK_THROWS_MATCHES(headers.read().check_same_weights(), std::invalid_argument,
                       says("Synchronize: what the weights of all ranks say: expected as on rank "
                            "1, weights of reliability, got weights of importance on rank 3"));
}

TEST_CASE("every field that must agree is compared") {
  const auto differs = [](auto change) {
    Headers headers(3);
    change(headers[2]);
    CHECK_THROWS_MATCHES(headers.read().check_same_call(), std::invalid_argument,
                         says("rank 0: train, call 3, of layer 0 with 8 channels of double, got "
                              "from rank 2: "));
  };
  differs([](CallHeader& header) { header.kind = CollectiveKind::backward; });
  differs([](CallHeader& header) { header.call = 4; });
  differs([](CallHeader& header) { header.channels = 9; });
  differs([](CallHeader& header) { header.layer = 1; });
  differs([](CallHeader& header) { header.options = 1; });
  differs([](CallHeader& header) { header.state = 1; });
  differs([](CallHeader& header) { header.scalar = 1; });
}

TEST_CASE("headers of another version or byte order are refused") {
  Headers headers(2);
  headers[1].magic = 0x424e5331;
  CHECK_THROWS_MATCHES(headers.read().check_same_call(), std::invalid_argument,
                       says("another beginning from rank 1"));
}

TEST_CASE("a rank that refuses agrees with every call of the others") {
  Headers headers(3);
  headers[0] = CallHeader();
  headers[0].kind = CollectiveKind::refusal;
  headers[0].verdict = Verdict::other;
  CHECK_NOTHROW(headers.read().check_same_call());
  CHECK(headers.read().first_refusal() == 0);
  headers[2].channels = 7;
  CHECK_THROWS_MATCHES(headers.read().check_same_call(), std::invalid_argument,
                       says("that of rank 1: train"));
}

TEST_CASE("verdicts become exceptions of their kind") {
  using batchnorm::detail::fail_for_rank;
  CHECK_THROWS_AS(fail_for_rank(Verdict::argument, "a"), std::invalid_argument);
  CHECK_THROWS_AS(fail_for_rank(Verdict::domain, "a"), std::domain_error);
  CHECK_THROWS_MATCHES(fail_for_rank(Verdict::other, "why"), std::runtime_error, says("why"));
}

TEST_CASE("scalars and weights have names, those of other versions too") {
  using batchnorm::detail::scalar_name;
  using batchnorm::detail::weights_name;
  CHECK(std::strcmp(scalar_name(1), "float") == 0);
  CHECK(std::strcmp(scalar_name(4), "bfloat16") == 0);
  CHECK(std::strcmp(weights_name(3), "importance") == 0);
  for (const std::uint32_t code : {0u, 5u, 77u}) {
    CHECK(std::strcmp(scalar_name(code), "another scalar") == 0);
  }
  for (const std::uint32_t code : {0u, 4u, 77u}) {
    CHECK(std::strcmp(weights_name(code), "no kind") == 0);
  }
}

TEST_CASE("what does not stand in a call is named where the rest is the same") {
  using batchnorm::detail::hidden_difference;
  CallHeader a, b;
  CHECK(hidden_difference(a, b).empty());
  a.state = 4;
  b.state = 5;
  CHECK(hidden_difference(a, b) == ", after 5 minibatches and not 4");
  a.kind = b.kind = CollectiveKind::backward;
  CHECK(hidden_difference(a, b) == ", with the moments of another minibatch");
  b.options = 1;
  CHECK(hidden_difference(a, b) == ", with other options of layer or Synchronize");
}
