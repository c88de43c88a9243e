// SPDX-License-Identifier: MIT
#include "batchnorm/distributed/share_tree.hpp"

#include <utility>
#include <vector>

#include "batchnorm/math/moments.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using batchnorm::Index;
using batchnorm::Moments;
using batchnorm::detail::nodes_of;
using batchnorm::detail::ShareNode;
using batchnorm::detail::ShareTree;
using namespace batchnorm_test;

namespace {

using Numbers = std::vector<double>;

/// Of one channel with the given count, weighing 1 each.
Numbers numbers_of(double count, double first, double second) {
  return {count, count, count, first, second};
}

Numbers leaf_of(Random& random) {
  return numbers_of(1 + static_cast<double>(random.below(9)), random.normal(), random.uniform());
}

/// The tree as it is defined, from the root down: over [first, first + size) of the leaves.
Moments<double> merged(const std::vector<Numbers>& leaves, Size first, Size size) {
  Moments<double> moments(1);
  if (first >= leaves.size()) return moments;
  if (size == 1) {
    moments.count = static_cast<Index>(leaves[first][0]);
    moments.mean[0] = leaves[first][3];
    moments.sum_of_squares[0] = leaves[first][4];
    return moments;
  }
  moments = merged(leaves, first, size / 2);
  moments.merge(merged(leaves, first + size / 2, size / 2));
  return moments;
}

bool are_nodes(const std::vector<ShareNode>& nodes,
               const std::vector<std::vector<Index>>& expected) {
  bool same = nodes.size() == expected.size();
  for (Size i = 0; same && i < nodes.size(); ++i) {
    same = nodes[i].first == expected[i][0] && nodes[i].size == expected[i][1];
  }
  return same;
}

}  // namespace

TEST_CASE("a range of leaves is as few nodes as can be") {
  CHECK(are_nodes(nodes_of(0, 0), {}));
  CHECK(are_nodes(nodes_of(5, 5), {}));
  CHECK(are_nodes(nodes_of(0, 8), {{0, 8}}));
  CHECK(are_nodes(nodes_of(4, 8), {{4, 4}}));
  CHECK(are_nodes(nodes_of(2, 8), {{2, 2}, {4, 4}}));
  CHECK(are_nodes(nodes_of(1, 8), {{1, 1}, {2, 2}, {4, 4}}));
  CHECK(are_nodes(nodes_of(3, 14), {{3, 1}, {4, 4}, {8, 4}, {12, 2}}));
}

TEST_CASE("leaves of any cut come to the root of one tree, to the bit") {
  Random random(1);
  for (Size count = 1; count < 20; ++count) {
    std::vector<Numbers> leaves;
    for (Size leaf = 0; leaf < count; ++leaf) leaves.push_back(leaf_of(random));
    if (count > 3) leaves[2] = numbers_of(0, 0, 0);
    const Moments<double> expected = merged(leaves, 0, 32);
    for (Size cut = 0; cut <= count; ++cut) {
      ShareTree root(true, 1);
      for (const auto& [begin, end] : {std::pair(Size(0), cut), std::pair(cut, count)}) {
        ShareTree part(true, 1);
        for (Size leaf = begin; leaf < end; ++leaf) {
          part.add({static_cast<Index>(leaf), 1}, leaves[leaf].data());
        }
        const auto nodes = nodes_of(static_cast<Index>(begin), static_cast<Index>(end));
        REQUIRE(part.nodes().size() == nodes.size());
        for (Size i = 0; i < nodes.size(); ++i) {
          CHECK(part.nodes()[i].first == nodes[i].first);
          CHECK(part.nodes()[i].size == nodes[i].size);
          root.add(nodes[i], part.numbers() + 5 * i);
        }
      }
      const double* numbers = root.finish();
      CHECK(static_cast<Index>(numbers[0]) == expected.count);
      CHECK(numbers[3] == expected.mean[0]);
      CHECK(numbers[4] == expected.sum_of_squares[0]);
    }
  }
}

TEST_CASE("weights are merged as moments merge them") {
  Moments<double> a(1), b(1);
  a.count = 3;
  a.mean[0] = 1.5;
  a.sum_of_squares[0] = 2.0;
  a.set_weight(4.0, 6.0);
  b.count = 2;
  b.mean[0] = -0.25;
  b.sum_of_squares[0] = 0.125;
  b.set_weight(1.0, 0.5);
  ShareTree tree(true, 1);
  tree.add({0, 1}, Numbers{3, 4.0, 6.0, 1.5, 2.0}.data());
  tree.add({1, 1}, Numbers{2, 1.0, 0.5, -0.25, 0.125}.data());
  a.merge(b);
  const double* numbers = tree.finish();
  CHECK(numbers[1] == a.weight());
  CHECK(numbers[2] == a.squared_weight());
  CHECK(numbers[3] == a.mean[0]);
  CHECK(numbers[4] == a.sum_of_squares[0]);
}

TEST_CASE("sums are added") {
  ShareTree tree(false, 1);
  for (Index leaf = 0; leaf < 3; ++leaf) tree.add({leaf, 1}, numbers_of(2, 1.5, -1).data());
  const double* numbers = tree.finish();
  CHECK(numbers[0] == 6);
  CHECK(numbers[3] == 4.5);
  CHECK(numbers[4] == -3);
}

TEST_CASE("sums of values that do not count are sums all the same") {
  for (const bool first : {true, false}) {
    ShareTree tree(false, 1);
    tree.add({0, 1}, numbers_of(first ? 0 : 2, 1.5, -1).data());
    tree.add({1, 1}, numbers_of(first ? 2 : 0, 0.25, 4).data());
    const double* numbers = tree.finish();
    CHECK(numbers[0] == 2);
    CHECK(numbers[3] == 1.75);
    CHECK(numbers[4] == 3);
  }
}

TEST_CASE("a tree without leaves is nothing") {
  ShareTree tree(true, 2);
  const double* numbers = tree.finish();
  for (int i = 0; i < 7; ++i) CHECK(numbers[i] == 0);
}

TEST_CASE("the numbers of a share are those of its channels, one kind after the other") {
  const Numbers numbers{4, 5, 6, 1, 2, 3, -1, -2, -3};
  batchnorm::detail::ChannelShare share;
  batchnorm::detail::numbers_to_share(numbers.data(), 3, share);
  CHECK(share.count == 4);
  CHECK(share.weight == 5);
  CHECK(share.squared_weight == 6);
  Numbers first(3), second(3);
  share.first = first.data();
  share.second = second.data();
  batchnorm::detail::numbers_to_share(numbers.data(), 3, share);
  CHECK(first == Numbers{1, 2, 3});
  CHECK(second == Numbers{-1, -2, -3});
}
