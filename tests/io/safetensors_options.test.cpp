// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_options.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

Tensors with_metadata(const std::string& text) {
  Tensors tensors("net");
  tensors.metadata()["batchnorm:1."] = text;
  return tensors;
}

void check_same(const Options& a, const Options& b) {
  CHECK(a.epsilon == b.epsilon);
  CHECK(a.running == b.running);
  CHECK(a.running_variance == b.running_variance);
  CHECK(a.scale == b.scale);
  CHECK(a.shift == b.shift);
  CHECK(a.epilogue == b.epilogue);
  CHECK(a.non_finite == b.non_finite);
  CHECK(a.single_value == b.single_value);
}

Options read_back(const Options& options) {
  return load_options(with_metadata(detail::options_to_json(options).dump()), "1.");
}

}  // namespace

TEST_CASE("every preset survives") {
  for (const Options& options :
       {Options::pytorch(), Options::keras(), Options::flax(), Options::haiku(0.9), Options::onnx(),
        Options::dlib(), Options::matlab(), Options::paper()}) {
    check_same(read_back(options), options);
  }
}

TEST_CASE("every field survives, to the last bit") {
  Options options;
  options.running = RunningUpdate::population();
  options.running_variance = VarianceEstimator::population;
  options.scale = false;
  options.shift = false;
  options.single_value = SingleValue::use_running_statistics;
  for (const NonFinite policy : {NonFinite::reject, NonFinite::skip_update, NonFinite::propagate}) {
    options.non_finite = policy;
    for (const double epsilon : {0.0, 0.1, 1e-5, 5e-324, (std::numeric_limits<double>::max)()}) {
      options.epsilon = epsilon;
      check_same(read_back(options), options);
    }
  }
  for (const double slope : {0.0, 0.01, 1.0, 5e-324, (std::numeric_limits<double>::max)()}) {
    options.epilogue = Epilogue::leaky_relu(slope);
    check_same(read_back(options), options);
  }
}

TEST_CASE("a file from before there were epilogues has none") {
  nlohmann::json object = detail::options_to_json(Options::keras());
  object.erase("slope");
  check_same(load_options(with_metadata(object.dump()), "1."), Options::keras());
}

TEST_CASE("weights of every rule survive, to the last bit") {
  Options options;
  for (const double weight : {0.0, 1.0 / 3.0, 0.1, 0.3, 0.7, 0.99, 0.999, 1e-17, 1.0}) {
    for (const RunningUpdate& running :
         {RunningUpdate::take_new(weight), RunningUpdate::keep_old(weight),
          RunningUpdate::keep_old_debiased(weight)}) {
      options.running = running;
      check_same(read_back(options), options);
    }
  }
  options.running = RunningUpdate::windowed((std::numeric_limits<Index>::max)());
  check_same(read_back(options), options);
}

TEST_CASE("a file of a framework has no options, and says so") {
  const Tensors plain("net");
  CHECK_FALSE(has_options(plain, "1."));
  CHECK_THROWS_MATCHES(load_options(plain, "1."), std::runtime_error,
                       says("load_options: \"net\": metadata \"batchnorm:1.\": expected options of "
                            "a layer, got none; give them in the program"));
  const Tensors counted = with_metadata("{\"samples_seen\":3}");
  CHECK_FALSE(has_options(counted, "1."));
  CHECK_FALSE(has_options(with_metadata(detail::options_to_json(Options()).dump()), "2."));
}

TEST_CASE("a field is in the metadata of a layer or is not") {
  const Tensors tensors = with_metadata("{\"samples_seen\":3}");
  CHECK(detail::has_in_metadata(tensors, "1.", "samples_seen"));
  CHECK_FALSE(detail::has_in_metadata(tensors, "1.", "batches_seen"));
  CHECK_FALSE(detail::has_in_metadata(tensors, "2.", "samples_seen"));
  CHECK_FALSE(detail::has_in_metadata(Tensors("net"), "1.", "samples_seen"));
  CHECK_THROWS_MATCHES(detail::has_in_metadata(with_metadata("[]"), "1.", "x"), std::runtime_error,
                       says("load_state: \"net\": metadata \"batchnorm:1.\""));
}

TEST_CASE("counts and numbers are taken up to both ends of their range") {
  const nlohmann::json object = nlohmann::json::parse(
      R"({"least": 0, "most": 9223372036854775807, "more": 9223372036854775808, "half": 0.5})");
  const detail::OptionsReader reader({"read", "net"}, "key", object);
  CHECK(reader.count("least", 0) == 0);
  CHECK(reader.count("most", 0) == (std::numeric_limits<Index>::max)());
  CHECK_THROWS_MATCHES(reader.count("more", 0), std::runtime_error,
                       says("read: \"net\": metadata \"key\": more: expected a whole number from "
                            "0, got 9223372036854775808"));
  CHECK_THROWS_AS(reader.count("half", 0), std::runtime_error);
  CHECK_THROWS_AS(reader.count("least", 1), std::runtime_error);
  CHECK(reader.number("half", 0.5, 0.5) == 0.5);
  CHECK_THROWS_AS(reader.number("half", 0.0, 0.25), std::runtime_error);
  CHECK_THROWS_AS(reader.number("half", 0.75, 1.0), std::runtime_error);
  CHECK(reader.has("half"));
  CHECK_FALSE(reader.has("none"));
}

TEST_CASE("metadata that is no JSON object is refused") {
  for (const std::string text : {"", "1", "[]", "{", "{\"epsilon\":1e-5", "null", "\"\xff\""}) {
    INFO(text);
    CHECK_THROWS_MATCHES(has_options(with_metadata(text), "1."), std::runtime_error,
                         says("has_options: \"net\": metadata \"batchnorm:1.\": expected a JSON "
                              "object, got "));
  }
}

TEST_CASE("a field that is wrong is named, with what stands there") {
  struct Case {
    std::string field;
    std::string value;
    std::string message;
  };
  const std::string name = ": expected one of the names that this version knows, got ";
  const std::vector<Case> cases = {
      {"epsilon", "-1.0", "epsilon: expected a number from 0 to 1.79769313e+308, got -1.0"},
      {"epsilon", "\"1e-5\"", "epsilon: expected a number from 0 to 1.79769313e+308, got \"1e-5\""},
      {"epsilon", "null", "epsilon: expected a number from 0 to 1.79769313e+308, got null"},
      {"running", "\"adam\"", "running" + name + "\"adam\""},
      {"running", "1", "running" + name + "1"},
      {"new_weight", "1.5", "new_weight: expected a number from 0 to 1, got 1.5"},
      {"new_weight", "-0.5", "new_weight: expected a number from 0 to 1, got -0.5"},
      {"running_variance", "true", "running_variance" + name + "true"},
      {"scale", "1", "scale: expected true or false, got 1"},
      {"shift", "\"yes\"", "shift: expected true or false, got \"yes\""},
      {"slope", "-0.5", "slope: expected a number from 0 to 1.79769313e+308, got -0.5"},
      {"slope", "null", "slope: expected a number from 0 to 1.79769313e+308, got null"},
      {"non_finite", "\"\"", "non_finite" + name + "\"\""},
      {"single_value", "[]", "single_value" + name + "[]"}};
  for (const Case& wrong : cases) {
    INFO(wrong.field << " = " << wrong.value);
    nlohmann::json object = detail::options_to_json(Options());
    object[wrong.field] = nlohmann::json::parse(wrong.value);
    CHECK_THROWS_MATCHES(
        load_options(with_metadata(object.dump()), "1."), std::runtime_error,
        says("load_options: \"net\": metadata \"batchnorm:1.\": " + wrong.message));
  }
}

TEST_CASE("a field that is missing is named") {
  for (const std::string field : {"running", "new_weight", "running_variance", "scale", "shift",
                                  "non_finite", "single_value"}) {
    nlohmann::json object = detail::options_to_json(Options());
    object.erase(field);
    CHECK_THROWS_MATCHES(load_options(with_metadata(object.dump()), "1."), std::runtime_error,
                         says(field + ": expected the field, got none"));
  }
}

TEST_CASE("the window is a whole number from 1") {
  Options options;
  options.running = RunningUpdate::windowed(1);
  check_same(read_back(options), options);
  options.running = RunningUpdate::windowed(5);
  for (const std::string window : {"0", "-3", "2.5", "18446744073709551615"}) {
    nlohmann::json object = detail::options_to_json(options);
    object["window"] = nlohmann::json::parse(window);
    CHECK_THROWS_MATCHES(load_options(with_metadata(object.dump()), "1."), std::runtime_error,
                         says("window: expected a whole number from 1, got " + window));
  }
}
