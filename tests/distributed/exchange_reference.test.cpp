// SPDX-License-Identifier: MIT
#include "batchnorm/distributed/exchange_reference.hpp"

#include <cstring>
#include <stdexcept>

#include "support/catch.hpp"

using batchnorm::detail::ExchangeReference;
using namespace batchnorm_test;

namespace {

struct Copy {
  bool fail = false;
  void operator()(const void* mine, std::size_t bytes, void* all) const {
    if (fail) throw std::logic_error("failed");
    std::memcpy(all, mine, bytes);
  }
};
struct Doubling : Copy {
  void sum(const double* mine, std::size_t n, double* all) const {
    if (fail) throw std::logic_error("failed");
    for (std::size_t i = 0; i < n; ++i) all[i] = 2 * mine[i];
  }
};

}  // namespace

TEST_CASE("an exchange is called through its reference") {
  Copy copy;
  ExchangeReference plain(copy);
  CHECK_FALSE(plain.can_sum());
  const double mine[] = {1.0, 2.0};
  double all[2] = {};
  plain.gather(mine, sizeof mine, all);
  CHECK(all[1] == 2.0);
  Doubling doubling;
  ExchangeReference summing(doubling);
  REQUIRE(summing.can_sum());
  summing.sum(mine, 2, all);
  CHECK(all[1] == 4.0);
}

TEST_CASE("calls are counted until an exchange fails") {
  Doubling exchange;
  ExchangeReference reference(exchange);
  char byte = 0;
  double number = 0;
  for (int call = 0; call < 3; ++call) {
    reference.begin_call();
    reference.gather(&byte, 1, &byte);
  }
  CHECK(reference.calls() == 3);
  exchange.fail = true;
  CHECK_THROWS_AS(reference.sum(&number, 1, &number), std::logic_error);
  CHECK_THROWS_MATCHES(reference.begin_call(), std::runtime_error, says("call 3 has failed"));
  CHECK(reference.calls() == 3);

  ExchangeReference other(exchange);
  CHECK_THROWS_AS(other.gather(&byte, 1, &byte), std::logic_error);
  CHECK_THROWS_AS(other.begin_call(), std::runtime_error);
}
