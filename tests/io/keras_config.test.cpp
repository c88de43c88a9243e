// SPDX-License-Identifier: MIT
#include "batchnorm/io/keras_config.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using detail::read_keras_config;

namespace {

std::string norm(const std::string& name, const std::string& more) {
  return "{\"class_name\":\"BatchNormalization\",\"config\":{\"name\":\"" + name + "\"" + more +
         "}}";
}

std::string model(const std::string& layers) {
  return "{\"class_name\":\"Functional\",\"config\":{\"layers\":[" + layers + "]}}";
}

const std::string epsilon = ",\"epsilon\":0.5";

}  // namespace

TEST_CASE("the options of a layer are those of its JSON") {
  const auto norms = read_keras_config(
      model(norm("a", ",\"epsilon\":0.002,\"momentum\":0.75,\"scale\":false,\"center\":true")));
  REQUIRE(norms.size() == 1);
  CHECK(norms[0].name == "a");
  CHECK(norms[0].folder == "layers/batch_normalization/");
  CHECK(norms[0].options().epsilon == 0.002);
  CHECK(norms[0].options().running == RunningUpdate::keep_old(0.75));
  CHECK(norms[0].options().running_variance == VarianceEstimator::population);
  CHECK_FALSE(norms[0].options().scale);
  CHECK(norms[0].options().shift);
}

TEST_CASE("folders are counted by class, in the order of the layers and inside of models") {
  const std::string dense = "{\"class_name\":\"Dense\",\"config\":{}}";
  const auto norms =
      read_keras_config(model(norm("a", epsilon) + "," + dense + "," + norm("b", epsilon) + "," +
                              model(dense + "," + norm("c", epsilon)) + "," + norm("d", epsilon)));
  std::vector<std::string> folders;
  for (const auto& found : norms) folders.push_back(found.name + " " + found.folder);
  CHECK(folders == std::vector<std::string>{"a layers/batch_normalization/",
                                            "b layers/batch_normalization_1/",
                                            "c layers/functional/layers/batch_normalization/",
                                            "d layers/batch_normalization_2/"});
}

TEST_CASE("layers are found in wrappers, cells and lists of somebody's own") {
  const auto inside = [](const std::string& kind, const std::string& name,
                         const std::string& field) {
    return "{\"class_name\":\"" + kind + "\",\"config\":{\"name\":\"" + name + "\"," + field + "}}";
  };
  const auto wrapper = [&](const std::string& kind, const std::string& name,
                           const std::string& layer) {
    return inside(kind, name, "\"layer\":" + layer);
  };
  const auto norms = read_keras_config(model(
      wrapper("TimeDistributed", "t", norm("a", epsilon)) + "," +
      wrapper("TimeDistributed", "u", wrapper("SpectralNormalization", "v", norm("b", epsilon))) +
      "," + wrapper("Bidirectional", "w", inside("RNN", "r", "\"cell\":" + norm("c", epsilon))) +
      "," +
      inside("own>ConvBlock", "x",
             "\"kernel\":[3,3],\"norm\":" + norm("d", epsilon) + ",\"parts\":[" +
                 norm("e", epsilon) + "," + norm("f", epsilon) + "]")));
  std::vector<std::string> folders;
  for (const auto& found : norms) {
    std::string around;
    for (const std::string& name : found.around) around += name + "/";
    folders.push_back(around + found.name + (found.is_wrapped ? " wrapped " : " ") + found.folder);
  }
  CHECK(folders == std::vector<std::string>{"t/a wrapped layers/time_distributed/layer/",
                                            "u/v/b wrapped layers/time_distributed_1/layer/layer/",
                                            "w/r/c layers/bidirectional/forward_layer/cell/",
                                            "x/d layers/conv_block/norm/",
                                            "x/e layers/conv_block/parts/batch_normalization/",
                                            "x/f layers/conv_block/parts/batch_normalization_1/"});
}

TEST_CASE("Keras 1 has the layers of a Sequential in place of the config") {
  const auto norms = read_keras_config("{\"class_name\":\"Sequential\",\"config\":[" +
                                       norm("bn_1", ",\"epsilon\":1e-6") + "]}");
  REQUIRE(norms.size() == 1);
  CHECK(norms[0].options().epsilon == 1e-6);
}

TEST_CASE("without an epsilon nothing is known, and nonsense is nothing") {
  CHECK(read_keras_config(model(norm("a", ""))).empty());
  CHECK(read_keras_config(model(norm("a", ",\"epsilon\":-1"))).empty());
  CHECK(read_keras_config(model(norm("a", ",\"epsilon\":\"1e-3\""))).empty());
  CHECK(read_keras_config(model("1,null,[],\"x\",{}")).empty());
  for (const char* text : {"", "x", "[]", "{}", "null", "{\"config\":3}", "{\"config\":{}}",
                           "{\"config\":{\"layers\":{}}}"}) {
    CHECK(read_keras_config(text).empty());
  }
  std::string deep = norm("a", epsilon);
  for (int depth = 0; depth < 100; ++depth) deep = model(deep);
  CHECK(read_keras_config(deep).empty());
}

TEST_CASE("a momentum that is no share is as good as none") {
  for (const char* momentum : {"1.5", "-0.5", "\"0.5\"", "null"}) {
    const auto norms = read_keras_config(model(norm("a", epsilon + ",\"momentum\":" + momentum)));
    REQUIRE(norms.size() == 1);
    CHECK(norms[0].options().epsilon == 0.5);
    CHECK(norms[0].options().running == RunningUpdate::keep_old(0.99));
  }
}

// What to_snake_case of keras/src/utils/naming.py gives: a word begins at a capital letter behind a
// small one, or in front of one.
TEST_CASE("classes become folders as Keras writes them") {
  CHECK(detail::snake_case("BatchNormalization") == "batch_normalization");
  CHECK(detail::snake_case("Conv2D") == "conv2d");
  CHECK(detail::snake_case("GlobalAveragePooling2D") == "global_average_pooling2d");
  CHECK(detail::snake_case("SeparableConv2D") == "separable_conv2d");
  CHECK(detail::snake_case("ReLU") == "re_lu");
  CHECK(detail::snake_case("PReLU") == "p_re_lu");
  CHECK(detail::snake_case("LSTM") == "lstm");
  CHECK(detail::snake_case("GRUCell") == "gru_cell");
  CHECK(detail::snake_case("ConvLSTM2D") == "conv_lstm2d");
  CHECK(detail::snake_case("Conv2DTranspose") == "conv2d_transpose");
  CHECK(detail::snake_case("TFOpLambda") == "tf_op_lambda");
  CHECK(detail::snake_case("ABc") == "a_bc");
  CHECK(detail::snake_case("AZaz") == "a_zaz");
  CHECK(detail::snake_case("ABlock") == "a_block");
  CHECK(detail::snake_case("aB") == "a_b");
  CHECK(detail::snake_case("") == "");
}

TEST_CASE("epsilon is 0 or more, and momentum a share, both ends included") {
  const auto options = [](const std::string& fields) {
    const auto norms = read_keras_config(model(norm("a", fields)));
    REQUIRE(norms.size() == 1);
    return norms[0].options();
  };
  CHECK(options(",\"epsilon\":0").epsilon == 0.0);
  CHECK(options(epsilon).scale);
  CHECK(options(epsilon).shift);
  CHECK_FALSE(options(epsilon + ",\"center\":false").shift);
  CHECK(options(epsilon + ",\"momentum\":0").running == RunningUpdate::keep_old(0.0));
  CHECK(options(epsilon + ",\"momentum\":1").running == RunningUpdate::keep_old(1.0));
}

TEST_CASE("a model is read 64 models deep") {
  const auto found = [](int depth) {
    std::string json = norm("a", epsilon);
    for (int i = 0; i < depth; ++i) json = model(json);
    return read_keras_config(json).size();
  };
  // The outermost model is no part of another.
  CHECK(found(65) == 1);
  CHECK(found(66) == 0);
}
