// SPDX-License-Identifier: MIT
#include "batchnorm/io/layer_prefix.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("a prefix is one text or a pair") {
  const LayerPrefix one = "bn1.";
  CHECK(one.of(Role::gamma) == "bn1.");
  CHECK(one.of(Role::counter) == "bn1.");
  CHECK_FALSE(one.is_pair());
  const LayerPrefix two("params/bn1/", "batch_stats/bn1/");
  CHECK(two.of(Role::beta) == "params/bn1/");
  CHECK(two.of(Role::mean) == "batch_stats/bn1/");
  CHECK(two.is_pair());
  CHECK(one != two);
  CHECK(two == LayerPrefix("params/bn1/", "batch_stats/bn1/"));
}

TEST_CASE("parts of a path are replaced whole, the first that fits") {
  const auto replaced = [](std::string path) {
    const bool done = detail::replace_part(path, "params", "stats");
    return done ? path : "no: " + path;
  };
  CHECK(replaced("params/bn/") == "stats/bn/");
  CHECK(replaced("model.params.bn.") == "model.stats.bn.");
  CHECK(replaced("params/params/") == "stats/params/");
  CHECK(replaced("my_params/bn/") == "no: my_params/bn/");
  CHECK(replaced("params2.bn.") == "no: params2.bn.");
  CHECK(replaced("params") == "stats");
  CHECK(replaced("") == "no: ");
}

TEST_CASE("names that say batch norm") {
  for (const char* name :
       {"bn.", "bn1.", "a.conv_bn.", "x/BatchNorm_0/", "batch_normalization_3/", "BATCHNORM",
        "layer.2.downsample_bn2.", "sync_batch_norm.", "x.BN.", "BatchZNorm.bn_z"}) {
    INFO(name);
    CHECK(detail::is_called_batch_norm(name));
  }
  for (const char* name : {"", "subnet.", "bn.0.", "norm1.", "abn.", "bnx.", "bn/fc/", "b.n.",
                           "ZBN.", "zbn.", "b1n."}) {
    INFO(name);
    CHECK_FALSE(detail::is_called_batch_norm(name));
  }
}

TEST_CASE("the last part of a prefix, and what stands in front of it") {
  CHECK(detail::is_in_folder("net/BatchNorm_1/", "BatchNorm"));
  CHECK_FALSE(detail::is_in_folder("BatchNorm/net/", "BatchNorm"));
  CHECK_FALSE(detail::is_in_folder("my_vars/", "vars"));
  CHECK(detail::parent_of("a/bn/vars/") == "a/bn/");
  CHECK(detail::parent_of("bn.") == "");
  CHECK(detail::parent_of("a/b/") == "a/");
  CHECK(detail::is_in_folder("a/b/", "b"));
  CHECK(detail::parent_of("") == "");
}

TEST_CASE("a name stands behind one of its separators, or alone") {
  CHECK(detail::ends_with_name("bn/gamma", "gamma", "/"));
  CHECK(detail::ends_with_name("gamma", "gamma", "/"));
  CHECK(detail::ends_with_name("arg:bn0_gamma", "gamma", "_"));
  CHECK_FALSE(detail::ends_with_name("bn.gamma", "gamma", "/_"));
  CHECK_FALSE(detail::ends_with_name("xgamma", "gamma", "/"));
  CHECK_FALSE(detail::ends_with_name("bn/alpha", "gamma", "/"));
  CHECK_FALSE(detail::ends_with_name("amma", "gamma", "/"));
}

TEST_CASE("a part of a path may end in a colon") {
  std::string path = "arg:bn0_";
  CHECK(detail::replace_part(path, "arg", "aux"));
  CHECK(path == "aux:bn0_");
  path = "p_bn_";
  CHECK_FALSE(detail::replace_part(path, "p", "b"));
  CHECK(detail::replace_part(path, "p", "b", "_"));
  CHECK(path == "b_bn_");
  CHECK_FALSE(detail::replace_part(path, "", "x"));
}

TEST_CASE("numbers in names count as numbers") {
  const std::vector<std::string> sorted = {
      "",       "1",      "01", "2.",    "9.bn", "10.", "10.a", "a", "a0",      "a1.b2",
      "a1.b10", "a1.b20", "a2", "a2.b1", "a2x",  "a9z", "a10",  "b", "\xc3\xa9"};
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    for (std::size_t k = 0; k < sorted.size(); ++k) {
      INFO(sorted[i] << " and " << sorted[k]);
      // "1" and "01" are one number; then the order is that of the texts.
      const bool leading_zero = sorted[i] == "1" || sorted[i] == "01";
      const bool both = leading_zero && (sorted[k] == "1" || sorted[k] == "01");
      const bool expected = both ? sorted[i] < sorted[k] : i < k;
      CHECK((detail::natural_order(sorted[i]) < detail::natural_order(sorted[k])) == expected);
    }
  }
}
