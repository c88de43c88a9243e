// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_bank.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/safetensors.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

State<float> state_of(double mean, double variance, Index batches) {
  State<float> state(2);
  state.set_statistics(Eigen::Vector2d(mean, 0.1), Eigen::Vector2d(variance, 1.0 / 3.0), batches,
                       9 * batches);
  return state;
}

StatisticBank<float> some_bank(const Options& options = Options::keras()) {
  State<float> parameters(2);
  parameters.gamma << 0.3f, 2;
  parameters.beta << -1, 0.7f;
  StatisticBank<float> bank(parameters, options);
  bank.set("day", state_of(0.7, 2, 5));
  bank.set("night.rain \"2\"", state_of(1.0 / 7.0, 3, 6));
  bank.add("snow");
  return bank;
}

void check_same(const StatisticBank<float>& a, const StatisticBank<float>& b) {
  CHECK(a.domains() == b.domains());
  CHECK(a.parameters().gamma == b.parameters().gamma);
  CHECK(a.parameters().beta == b.parameters().beta);
  CHECK(a.options().epsilon == b.options().epsilon);
  CHECK(a.options().running == b.options().running);
  CHECK(a.options().scale == b.options().scale);
  CHECK(a.options().shift == b.options().shift);
  for (const std::string& domain : a.domains()) {
    CHECK(a.state(domain).running_mean == b.state(domain).running_mean);
    CHECK(a.state(domain).running_variance == b.state(domain).running_variance);
    CHECK(a.state(domain).batches_seen == b.state(domain).batches_seen);
    CHECK(a.state(domain).samples_seen == b.state(domain).samples_seen);
    CHECK(a.state(domain).batches_given == b.state(domain).batches_given);
    CHECK(a.state(domain).gamma == b.state(domain).gamma);
  }
}

}  // namespace

TEST_CASE("a bank comes back from a file to the last bit") {
  const batchnorm_test::TemporaryFolder folder;
  const std::string path = folder.file("bank.safetensors");
  const StatisticBank<float> bank = some_bank();
  Tensors tensors;
  save_bank(tensors, "1.", bank);
  write_safetensors(path, tensors);
  const StatisticBank<float> loaded = load_bank<float>(read_safetensors(path), "1.");
  check_same(loaded, bank);
  const Eigen::Vector2f x(3, 4);
  CHECK(loaded.frozen("day")(x) == bank.frozen("day")(x));
  CHECK_THROWS_AS(loaded.frozen("snow"), std::domain_error);
}

TEST_CASE("gamma and beta stand in a file once, and only where there are such") {
  Tensors tensors;
  save_bank(tensors, "1.", some_bank());
  CHECK(tensors.values<float>("1.weight") == std::vector<float>{0.3f, 2});
  CHECK(tensors.contains("1.domains.day.running_mean"));
  CHECK_FALSE(tensors.contains("1.domains.day.weight"));
  Options options = Options::pytorch();
  options.shift = false;
  save_bank(tensors, "1.", some_bank(options));
  CHECK(tensors.contains("1.weight"));
  CHECK_FALSE(tensors.contains("1.bias"));
  CHECK_FALSE(load_bank<float>(tensors, "1.").options().shift);
}

TEST_CASE("a domain can be read as a batch norm without scale and shift") {
  Tensors tensors;
  save_bank(tensors, "1.", some_bank());
  const std::vector<FoundBatchNorm> found = find_batch_norms(tensors);
  REQUIRE(found.size() == 3);
  CHECK(found[0].prefix.parameters == "1.domains.day.");
  const State<float> day = load_state<float>(tensors, "1.domains.day.");
  CHECK(day.running_mean == some_bank().state("day").running_mean);
  CHECK(day.gamma == Eigen::Vector2f(1, 1));
}

TEST_CASE("saving replaces the bank with that prefix, and nothing else") {
  Tensors tensors;
  save_bank(tensors, "1.", some_bank());
  save_bank(tensors, "2.", some_bank());
  StatisticBank<float> smaller = some_bank();
  smaller.erase("day");
  save_bank(tensors, "1.", smaller);
  check_same(load_bank<float>(tensors, "1."), smaller);
  check_same(load_bank<float>(tensors, "2."), some_bank());
  for (const auto& entry : tensors.metadata()) {
    CHECK(entry.first.find("1.domains.day") == std::string::npos);
  }
}

TEST_CASE("other scalars, and fixed numbers of channels") {
  Tensors tensors;
  save_bank(tensors, "", some_bank());
  const auto wide = load_bank<double, 2>(tensors, "");
  CHECK(wide.parameters().gamma[0] == double{0.3f});
  CHECK(wide.state("day").running_variance[1] == 1.0 / 3.0);
  CHECK_THROWS_AS((load_bank<float, 3>(tensors, "")), std::runtime_error);
}

TEST_CASE("files without a bank, and with one that is damaged") {
  Tensors tensors;
  CHECK_THROWS_MATCHES(load_bank<float>(tensors, "1."), std::runtime_error,
                       says("\"1.domains.NAME.running_mean\""));
  save_bank(tensors, "1.", some_bank());
  CHECK_THROWS_AS(load_bank<float>(tensors, "2."), std::runtime_error);
  const auto with = [&](const std::string& name, const auto& value) {
    Tensors changed = tensors;
    changed.set(name, value);
    return changed;
  };
  CHECK_THROWS_MATCHES(load_bank<float>(with("1.weight", Eigen::Vector3f(1, 2, 3)), "1."),
                       std::runtime_error, says("\"1.weight\""));
  CHECK_THROWS_AS(
      load_bank<float>(with("1.domains.day.running_mean", Eigen::Vector3d(1, 2, 3)), "1."),
      std::runtime_error);
  CHECK_THROWS_AS(load_bank<float>(with("1.domains.day.running_var", Eigen::Vector2d(1, -2)), "1."),
                  std::domain_error);
  Tensors other = tensors;
  Tensors of_other;
  save_bank(of_other, "1.", some_bank(Options::pytorch()));
  const std::string key = "batchnorm:1.domains.snow.";
  other.metadata()[key] = of_other.metadata()[key];
  CHECK_THROWS_MATCHES(load_bank<float>(other, "1."), std::runtime_error,
                       says("epsilon of domain \"snow\""));
}

TEST_CASE("a bank that cannot be loaded is not saved") {
  Tensors tensors;
  save_bank(tensors, "1.", some_bank());
  const StatisticBank<float> none(State<float>(2), Options());
  CHECK_THROWS_MATCHES(save_bank(tensors, "1.", none), std::invalid_argument,
                       says("save_bank: domains of a bank"));
  check_same(load_bank<float>(tensors, "1."), some_bank());
}
