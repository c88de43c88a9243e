// SPDX-License-Identifier: MIT
// What goes over the wire, and no more: the sizes of all messages of a call.
#include "batchnorm/distributed/synchronize.hpp"

#include <cstring>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// Both of two ranks, which have the same numbers. Writes down what it was asked for.
struct Twins {
  std::vector<std::string> messages;

  void operator()(const void* mine, std::size_t bytes, void* all) {
    messages.push_back("gather " + std::to_string(bytes));
    std::memcpy(all, mine, bytes);
    std::memcpy(static_cast<char*>(all) + bytes, mine, bytes);
  }
};
struct SummingTwins : Twins {
  void sum(const double* mine, std::size_t n, double* all) {
    messages.push_back("sum " + std::to_string(n));
    for (std::size_t i = 0; i < n; ++i) all[i] = 2 * mine[i];
  }
};

using Messages = std::vector<std::string>;

/// The messages of train, then those of backward, with five channels and 4 n examples: channel c is
/// c + 1, c + 1, c + 3 and c + 3, n times.
template <class Exchange>
std::vector<Messages> messages_of(const SynchronizeOptions& options, Index n = 1) {
  Exchange exchange;
  Synchronize together(exchange, 0, 2, options);
  BatchNorm<double> layer(5);
  const Eigen::RowVector4d four(1, 1, 3, 3);
  const Eigen::VectorXd offsets = Eigen::VectorXd::LinSpaced(5, 0, 4);
  const Eigen::MatrixXd x = four.replicate(5, n).colwise() + offsets;
  Eigen::MatrixXd y = x;
  const auto batch = layer.train(x, y, together);
  CHECK(batch.count == 8 * n);
  CHECK(batch.mean == Eigen::VectorXd::LinSpaced(5, 2, 6));
  CHECK(batch.sum_of_squares == Eigen::VectorXd::Constant(5, 8.0 * static_cast<double>(n)));
  const Messages first = std::move(exchange.messages);
  exchange.messages.clear();
  layer.backward(batch, x, x, y, together);
  return {first, exchange.messages};
}

}  // namespace

TEST_CASE("a call gathers 64 bytes and then 8 (2 C + 3) of every rank") {
  const Messages gathered = {"gather 64", "gather 104"};
  CHECK(messages_of<Twins>({}) == std::vector<Messages>{gathered, gathered});
  CHECK(messages_of<SummingTwins>({}) == std::vector<Messages>{gathered, gathered});
}

TEST_CASE("sums go in two rounds of C + 3 and 2 C numbers, those of gradients in one") {
  SynchronizeOptions options;
  options.gather_at_most = 9;
  CHECK(messages_of<SummingTwins>(options) ==
        std::vector<Messages>{{"gather 64", "sum 8", "sum 10"}, {"gather 64", "sum 13"}});
  CHECK(messages_of<Twins>(options) ==
        std::vector<Messages>{{"gather 64", "gather 104"}, {"gather 64", "gather 104"}});
  options.gather_at_most = 10;
  CHECK(messages_of<SummingTwins>(options).front() == Messages{"gather 64", "gather 104"});
}

TEST_CASE("blocks are gathered as the fewest nodes of their tree") {
  SynchronizeOptions options;
  options.gather_at_most = 0;
  // n times four examples on each rank: one, three, six and four blocks.
  for (const auto& [block, n, gathered] :
       {std::tuple(12, 3, "gather 104"), std::tuple(4, 3, "gather 208"),
        std::tuple(2, 3, "gather 208"), std::tuple(4, 4, "gather 104")}) {
    CAPTURE(block, n);
    options.block = block;
    const Messages expected = {"gather 64", gathered};
    CHECK(messages_of<SummingTwins>(options, n) == std::vector<Messages>{expected, expected});
  }
}
