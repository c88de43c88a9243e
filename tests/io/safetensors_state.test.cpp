// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_state.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::contains_text;
using batchnorm_test::says;

namespace {

template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> example_state() {
  using Scalar = typename State<T, Channels>::Scalar;
  State<T, Channels> state(3);
  for (int channel = 0; channel < 3; ++channel) {
    state.gamma[channel] = static_cast<Scalar>(1 - channel * 0.3);
    state.beta[channel] = static_cast<Scalar>(channel * 0.7 - 1);
    state.running_mean[channel] = static_cast<Scalar>(channel / 3.0);
    state.running_variance[channel] = static_cast<Scalar>(channel * 1.1);
  }
  state.batches_seen = 5;
  state.samples_seen = 5000000000;
  return state;
}

template <class T, int Channels, int Other>
void check_same(const State<T, Channels>& a, const State<T, Other>& b) {
  CHECK((a.gamma.array() == b.gamma.array()).all());
  CHECK((a.beta.array() == b.beta.array()).all());
  CHECK((a.running_mean.array() == b.running_mean.array()).all());
  CHECK((a.running_variance.array() == b.running_variance.array()).all());
  CHECK(a.batches_seen == b.batches_seen);
  CHECK(a.samples_seen == b.samples_seen);
}

/// A file of PyTorch: no metadata of ours.
Tensors pytorch_file() {
  Tensors tensors("pt");
  tensors.set("bn.weight", {2}, std::vector<float>{1.5f, -2.5f});
  tensors.set("bn.bias", {2}, std::vector<float>{0.5f, 0.25f});
  tensors.set("bn.running_mean", {2}, std::vector<float>{-1.0f, 3.0f});
  tensors.set("bn.running_var", {2}, std::vector<float>{4.0f, 0.0f});
  tensors.set_value("bn.num_batches_tracked", std::int64_t{460});
  return tensors;
}

template <class T>
std::string domain_error_of(const Tensors& tensors) {
  try {
    load_state<T>(tensors, "bn.", Options());
  } catch (const std::domain_error& error) {
    return error.what();
  }
  return "";
}

/// Systems that store gamma, beta, mean and variance and, beside a counter, nothing else.
std::vector<Naming> plain_namings() {
  std::vector<Naming> plain;
  for (const Naming& naming : Naming::known()) {
    const bool is_plain = naming.is_exact() && !naming.has_scale_layer() && !naming.saves_epsilon();
    if (is_plain) plain.push_back(naming);
  }
  return plain;
}

}  // namespace

TEST_CASE("PyTorch's names mean gamma, beta, mean and variance") {
  const State<float> state = load_state<float>(pytorch_file(), "bn.", Options());
  CHECK(state.gamma == Eigen::Vector2f(1.5f, -2.5f));
  CHECK(state.beta == Eigen::Vector2f(0.5f, 0.25f));
  CHECK(state.running_mean == Eigen::Vector2d(-1.0f, 3.0f));
  CHECK(state.running_variance == Eigen::Vector2d(4.0f, 0.0f));
  CHECK(state.batches_seen == 460);
  CHECK(state.samples_seen == State<float>::unknown);
}

TEST_CASE("epsilon has no default: without one in the file the caller gives it") {
  CHECK_THROWS_MATCHES(
      load_state<float>(pytorch_file(), "bn."), std::runtime_error,
      says("load_state: \"pt\": layer \"bn.\": epsilon is needed, and most files do not carry it: "
           "expected one in the file or from the caller; PyTorch usually has Epsilon(1e-05), "
           "got neither"));
  Tensors ours;
  save_state(ours, "bn.", example_state<float>());
  CHECK_THROWS_MATCHES(load_state<float>(ours, "bn."), std::runtime_error, says("epsilon"));
  save_state(ours, "bn.", example_state<float>(), Options::keras());
  CHECK(load_state<float>(ours, "bn.").batches_seen == 5);
}

TEST_CASE("a saved state has the names, dtypes and shapes that PyTorch expects") {
  Tensors tensors;
  save_state(tensors, "bn.", example_state<float>());
  CHECK(tensors.keys() == std::vector<std::string>{"bn.bias", "bn.num_batches_tracked",
                                                   "bn.running_mean", "bn.running_var",
                                                   "bn.weight"});
  CHECK(tensors.dtype("bn.num_batches_tracked") == "I64");
  CHECK(tensors.shape("bn.num_batches_tracked").empty());
  CHECK(tensors.value<std::int64_t>("bn.num_batches_tracked") == 5);
  CHECK(tensors.dtype("bn.weight") == "F32");
  CHECK(tensors.shape("bn.running_var") == std::vector<Index>{3});
  CHECK(tensors.values<float>("bn.weight")[1] == 0.7f);
  CHECK(tensors.values<float>("bn.running_var")[2] == 2.2f);
  CHECK(tensors.metadata().at("batchnorm:bn.") == "{\"samples_seen\":5000000000}");
}

TEST_CASE("states of all scalars come back as they were") {
  Tensors tensors;
  save_state(tensors, "f.", example_state<float>());
  save_state(tensors, "d.", example_state<double>());
  save_state(tensors, "h.", example_state<Eigen::half>());
  save_state(tensors, "b.", example_state<Eigen::bfloat16>());
  check_same(load_state<float>(tensors, "f.", Options()), example_state<float>());
  check_same(load_state<double>(tensors, "d.", Options()), example_state<double>());
  check_same(load_state<Eigen::half>(tensors, "h.", Options()), example_state<Eigen::half>());
  check_same(load_state<Eigen::bfloat16>(tensors, "b.", Options()),
             example_state<Eigen::bfloat16>());
  CHECK(tensors.dtype("h.weight") == "F32");
  CHECK(tensors.dtype("d.weight") == "F64");
}

TEST_CASE("statistics keep the digits that float has not, unless one type is asked for") {
  State<float> state = example_state<float>();
  state.running_mean << 1e4 + 0x1p-30, -0.1, 3.0;
  state.running_variance << 0.1, 1.0 + 0x1p-40, 2.0;
  Tensors tensors;
  save_state(tensors, "exact.", state);
  save_state(tensors, "named.", state, Options::keras());
  save_state(tensors, "flax.", state, Options::flax(), Naming::keras());
  for (const char* const name : {"exact.running_mean", "exact.running_var", "named.running_mean",
                                 "flax.moving_mean", "flax.moving_variance"}) {
    CHECK(tensors.dtype(name) == "F64");
  }
  CHECK(tensors.dtype("exact.weight") == "F32");
  check_same(load_state<float>(tensors, "exact.", Options()), state);
  check_same(load_state<float>(tensors, "named."), state);

  const StoredStatistics in_float = StoredStatistics::as_parameters;
  save_state(tensors, "exact.", state, in_float);
  save_state(tensors, "named.", state, Options::keras(), in_float);
  save_state(tensors, "flax.", state, Options::flax(), Naming::keras(), in_float);
  for (const char* const name : {"exact.running_mean", "exact.running_var", "named.running_mean",
                                 "flax.moving_mean", "flax.moving_variance"}) {
    CHECK(tensors.dtype(name) == "F32");
  }
  const State<float> rounded = load_state<float>(tensors, "named.");
  CHECK(rounded.running_mean == Eigen::Vector3d(1e4, static_cast<double>(-0.1f), 3.0));
  CHECK(rounded.running_variance == Eigen::Vector3d(static_cast<double>(0.1f), 1.0, 2.0));

  state.running_variance[1] = 1e39;
  CHECK_NOTHROW(save_state(tensors, "exact.", state));
  CHECK_THROWS_MATCHES(save_state(tensors, "exact.", state, in_float), std::domain_error,
                       says("save_state: \"exact.running_var\" of channel 1: expected a number in "
                            "the range of float, got one outside of it"));
}

TEST_CASE("channels fixed by the type are the same in the file") {
  Tensors tensors("net");
  save_state(tensors, "", example_state<double, 3>());
  check_same(load_state<double>(tensors, "", Options()), example_state<double>());
  check_same(load_state<double, 3>(tensors, "", Options()), example_state<double>());
  CHECK_THROWS_MATCHES((load_state<double, 4>(tensors, "", Options())), std::runtime_error,
                       says("load_state: \"net\": tensor \"running_mean\": number of channels is "
                            "fixed by the type: expected 4, got 3"));
}

TEST_CASE("a scalar without a dtype is stored as F64 and rounded once") {
  State<long double> state = example_state<long double>();
  state.gamma[0] = 1.0L + std::numeric_limits<long double>::epsilon();
  Tensors tensors;
  save_state(tensors, "", state);
  CHECK(tensors.dtype("weight") == "F64");
  CHECK(load_state<long double>(tensors, "", Options()).gamma[0] == 1.0L);
  if (std::numeric_limits<long double>::max_exponent > 1024) {
    state.running_mean[2] = std::ldexp(1.0L, 1024);
    CHECK_THROWS_MATCHES(save_state(tensors, "", state), std::domain_error,
                         says("save_state: \"running_mean\" of channel 2: expected a number in the "
                              "range of double, got one outside of it"));
    state.gamma[0] = 2.0L;
    CHECK_THROWS_AS(save_state(tensors, "", state), std::domain_error);
    CHECK(tensors.values<double>("weight")[0] == 1.0);
  }
}

TEST_CASE("loading as another scalar rounds, and refuses to overflow") {
  Tensors tensors("net");
  State<double> state = example_state<double>();
  state.gamma[0] = 1.0 + 1e-12;
  save_state(tensors, "", state);
  CHECK(load_state<float>(tensors, "", Options()).gamma[0] == 1.0f);
  CHECK(load_state<float>(tensors, "", Options()).beta[1] == static_cast<float>(0.7 - 1));
  state.beta[1] = 1e39;
  save_state(tensors, "", state);
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "", Options()), std::domain_error,
                       says("\"net\": tensor \"bias\": element 1: expected a number in the range"));
}

TEST_CASE("statistics that no data can have are refused by name") {
  Tensors tensors = pytorch_file();
  tensors.set("bn.running_var", {2}, std::vector<float>{1.0f, -1e-9f});
  CHECK(
      domain_error_of<float>(tensors) ==
      "load_state: \"pt\": tensor \"bn.running_var\": channel 1: expected a finite number, zero or "
      "larger, got a negative number");
  for (const double bad : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    tensors = pytorch_file();
    tensors.set("bn.running_mean", {2}, std::vector<double>{bad, 1.0});
    CHECK_THAT(domain_error_of<float>(tensors),
               contains_text("tensor \"bn.running_mean\": channel 0: expected a finite number"));
    tensors = pytorch_file();
    tensors.set("bn.running_var", {2}, std::vector<double>{1.0, bad});
    CHECK_THAT(domain_error_of<double>(tensors),
               contains_text("tensor \"bn.running_var\": channel 1: expected a finite number"));
  }
}

TEST_CASE("a layer that lets NaN through can be loaded as it was saved") {
  State<double> state = example_state<double>();
  state.running_mean[1] = std::nan("");
  state.running_variance[1] = std::nan("");
  Options options;
  options.non_finite = NonFinite::propagate;
  Tensors tensors;
  save_state(tensors, "bn.", state, options);
  CHECK(std::isnan(load_state<double>(tensors, "bn.").running_mean[1]));
  CHECK_THROWS_AS(load_state<double>(tensors, "bn.", Options()), std::domain_error);
  tensors.set("bn.running_var", {3}, std::vector<double>{1.0, -1.0, 1.0});
  CHECK_THROWS_AS(load_state<double>(tensors, "bn."), std::domain_error);
}

TEST_CASE("a tensor that is missing is named, and the prefixes that there are") {
  Tensors tensors = pytorch_file();
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn1."), std::runtime_error,
                       says("load_state: \"pt\": tensor \"bn1.running_mean\": tensors of a batch "
                            "norm layer: expected this one, got none; prefixes of such layers "
                            "here: \"bn.\""));
  tensors.erase("bn.weight");
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("tensor \"bn.weight\": tensors of a batch norm layer: expected this"));
  CHECK_THROWS_MATCHES(load_state<float>(Tensors("empty"), ""), std::runtime_error,
                       says("got a file without batch norm layers"));
}

TEST_CASE("a layer without scale or shift is loaded when its options say so") {
  Tensors tensors = pytorch_file();
  Options options;
  options.scale = false;
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", options), std::runtime_error,
                       says("tensor \"bn.weight\": options of the layer: expected no such tensor, "
                            "got one"));
  tensors.erase("bn.weight");
  CHECK(load_state<float>(tensors, "bn.", options).gamma == Eigen::Vector2f(1.0f, 1.0f));
  CHECK(load_state<float>(tensors, "bn.", options).beta == Eigen::Vector2f(0.5f, 0.25f));
  tensors.erase("bn.bias");
  options.shift = false;
  CHECK(load_state<float>(tensors, "bn.", options).beta == Eigen::Vector2f(0.0f, 0.0f));
}

TEST_CASE("a layer without scale and shift leaves them out, and is recognised") {
  Options options;
  options.scale = false;
  options.shift = false;
  Tensors tensors;
  save_state(tensors, "bn.", example_state<float>());
  save_state(tensors, "bn.", example_state<float>(), options);
  CHECK_FALSE(tensors.contains("bn.weight"));
  CHECK_FALSE(tensors.contains("bn.bias"));
  const State<float> state = load_state<float>(tensors, "bn.");
  CHECK(state.gamma == Eigen::Vector3f(1.0f, 1.0f, 1.0f));
  CHECK(state.running_mean == example_state<float>().running_mean);
}

TEST_CASE("wrong shapes are named") {
  Tensors tensors = pytorch_file();
  tensors.set("bn.running_var", {3}, std::vector<float>{1, 1, 1});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("tensor \"bn.running_var\": shape: expected [2], got [3]"));
  tensors.set("bn.running_mean", {2, 2}, std::vector<float>{1, 1, 1, 1});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("tensor \"bn.running_mean\": shape: expected [3], got [2, 2]"));
  tensors.set("bn.running_mean", {0}, std::vector<float>());
  CHECK_THROWS_AS(load_state<float>(tensors, "bn.", Options()), std::runtime_error);
}

TEST_CASE("tensors of another kind are named") {
  Tensors tensors = pytorch_file();
  tensors.set("bn.weight", {2}, std::vector<bool>{true, true});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("tensor \"bn.weight\": dtype: expected F64, F32, F16 or BF16"));
  tensors = pytorch_file();
  tensors.set_value("bn.num_batches_tracked", 1.0f);
  CHECK(load_state<float>(tensors, "bn.", Options()).batches_seen == 1);
  tensors.set_value("bn.num_batches_tracked", 1.5f);
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("tensor \"bn.num_batches_tracked\": number of minibatches: expected a "
                            "whole number, 0 or more, got 1.5"));
}

TEST_CASE("counters: missing is unknown, negative is wrong") {
  Tensors tensors = pytorch_file();
  tensors.erase("bn.num_batches_tracked");
  CHECK(load_state<float>(tensors, "bn.", Options()).batches_seen == State<float>::unknown);
  tensors.set_value("bn.num_batches_tracked", std::int64_t{-1});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("tensor \"bn.num_batches_tracked\": number of minibatches: expected 0 "
                            "or more, got -1"));
  tensors = pytorch_file();
  tensors.metadata()["batchnorm:bn."] = "{\"samples_seen\":-4}";
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Options()), std::runtime_error,
                       says("metadata \"batchnorm:bn.\": samples_seen: expected a whole number "
                            "from 0, got -4"));
}

TEST_CASE("a state whose vectors differ in size is not saved") {
  Tensors tensors;
  State<float> state = example_state<float>();
  state.beta.resize(2);
  CHECK_THROWS_MATCHES(save_state(tensors, "bn.", state), std::invalid_argument,
                       says("save_state: size of beta must be that of gamma: expected 3, got 2"));
  Options options;
  options.epsilon = -1.0;
  CHECK_THROWS_AS(save_state(tensors, "bn.", example_state<float>(), options),
                  std::invalid_argument);
  CHECK(tensors.size() == 0);
}

TEST_CASE("counters that nobody knows are left out, and come back so") {
  State<float> state = example_state<float>();
  state.batches_seen = State<float>::unknown;
  state.samples_seen = State<float>::unknown;
  for (const Naming& naming : plain_namings()) {
    INFO(naming.system());
    Tensors tensors;
    save_state(tensors, "bn.", example_state<float>(), Options::keras(), naming);
    save_state(tensors, "bn.", state, Options::keras(), naming);
    CHECK(tensors.size() == 4);
    const std::string& metadata = tensors.metadata().at("batchnorm:bn.");
    CHECK(metadata.find("seen") == std::string::npos);
  }
  Tensors tensors;
  save_state(tensors, "bn.", state, Options::keras());
  check_same(load_state<float>(tensors, "bn."), state);
  state.batches_seen = 0;
  save_state(tensors, "bn.", state, Options::keras());
  check_same(load_state<float>(tensors, "bn."), state);
  state.samples_seen = 12;
  state.batches_seen = State<float>::unknown;
  save_state(tensors, "bn.", state, Options::keras());
  check_same(load_state<float>(tensors, "bn."), state);
}

TEST_CASE("several layers share a file") {
  Tensors tensors;
  State<float> other = example_state<float>();
  other.gamma[0] = 9.0f;
  save_state(tensors, "1.", example_state<float>(), Options::keras());
  save_state(tensors, "4.", other, Options::dlib());
  CHECK(load_state<float>(tensors, "4.").gamma[0] == 9.0f);
  CHECK(load_state<float>(tensors, "1.").gamma[0] == 1.0f);
  CHECK(load_options(tensors, "4.").running == RunningUpdate::windowed(100));
  CHECK(load_options(tensors, "1.").epsilon == 1e-3);
}

TEST_CASE("one of scale and shift has no place in a list of arrays, and one under every name") {
  for (const Naming& naming : plain_namings()) {
    for (const bool scale : {true, false}) {
      for (const bool shift : {true, false}) {
        INFO(naming.system() << ", scale " << scale << ", shift " << shift);
        Options options = Options::keras();
        options.scale = scale;
        options.shift = shift;
        Tensors tensors;
        const auto save = [&] {
          save_state(tensors, "bn.", example_state<float>(), options, naming);
        };
        if (naming.system() == "RTNeural" && scale != shift) {
          CHECK_THROWS_MATCHES(save(), std::invalid_argument,
                               says("save_state: arrays of RTNeural: expected a layer with scale "
                                    "and shift, or none, got one of the two"));
          CHECK(tensors.size() == 0);
          CHECK(tensors.metadata().empty());
        } else {
          save();
          const bool counter = !naming.name(Role::counter).empty();
          const int expected = 2 + (scale ? 1 : 0) + (shift ? 1 : 0) + (counter ? 1 : 0);
          CHECK(static_cast<int>(tensors.size()) == expected);
        }
      }
    }
  }
}

TEST_CASE("how many minibatches an average was given comes back, also when nobody knows") {
  for (const Index given : {Index{0}, Index{3}, State<float>::unknown}) {
    INFO(given);
    State<float> state = example_state<float>();
    state.batches_given = given;
    Tensors tensors;
    save_state(tensors, "bn.", state, Options::keras());
    CHECK(load_state<float>(tensors, "bn.").batches_given == given);
    const std::string& metadata = tensors.metadata().at("batchnorm:bn.");
    const std::string text = given == 3 ? "\"batches_given\":3" : "\"batches_given\":null";
    CHECK((metadata.find(text) == std::string::npos) == (given == 0));
  }
}

TEST_CASE("vectors of a list are counted without what is not there, unless it has parts") {
  Options bare;
  bare.scale = bare.shift = false;
  Options no_scale;
  no_scale.scale = false;
  const auto keys = [](const LayerPrefix& prefix, const Naming& naming, const Options* options) {
    std::string all;
    for (const Role role : detail::vector_roles) {
      all += detail::vector_key(prefix, naming, options, role) + " ";
    }
    return all;
  };
  const Options whole;
  CHECK(keys("a.", Naming::rtneural(), nullptr) == "a.0 a.1 a.2 a.3 ");
  CHECK(keys("a.", Naming::rtneural(), &whole) == "a.0 a.1 a.2 a.3 ");
  CHECK(keys("a.", Naming::rtneural(), &no_scale) == "a.0 a.0 a.1 a.2 ");
  CHECK(keys("a.", Naming::rtneural(), &bare) == "a.0 a.0 a.0 a.1 ");
  // Two lists of their own, and one with an epsilon at its end.
  CHECK(keys({"s.", "b."}, Naming::caffe(), &bare) == "s.0 s.1 b.0 b.1 ");
  CHECK(keys("a.", Naming::nam(), &bare) == "a.2 a.3 a.0 a.1 ");
  CHECK(keys("a.", Naming::pytorch(), &bare) == "a.weight a.bias a.running_mean a.running_var ");
}
