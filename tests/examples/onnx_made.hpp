// SPDX-License-Identifier: MIT
// Models of random weights, one for every way in which a norm stands beside a layer that takes it.
#ifndef BATCHNORM_TESTS_EXAMPLES_ONNX_MADE_HPP
#define BATCHNORM_TESTS_EXAMPLES_ONNX_MADE_HPP

#include <batchnorm/io/onnx.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "../support/onnx_models.hpp"
#include "support/random.hpp"

namespace example {

using batchnorm_test::Extents;
using batchnorm_test::set_int;
using batchnorm_test::set_ints;

/// A model in which `x` becomes `y`, with four channels normalised on the way.
class MadeModel : public batchnorm_test::ModelMaker {
 public:
  MadeModel(std::string what, const Extents& x, const Extents& y) : ModelMaker(13), random_(1) {
    model.name = std::move(what);
    input("x", x);
    output("y", y);
  }

  void weights(const std::string& name, const Extents& shape) {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    std::vector<float> values;
    while (static_cast<std::int64_t>(values.size()) < count) {
      values.push_back(static_cast<float>(random_.normal()));
    }
    floats(name, shape, values);
  }

  void norm_of(const std::string& from, const std::string& to) {
    for (const char* name : {"s", "b", "m"}) weights(name, {4});
    std::vector<float> variance;
    for (int channel = 0; channel < 4; ++channel) {
      variance.push_back(static_cast<float>(std::exp(random_.normal())));
    }
    floats("v", {4}, variance);
    norm(from, to);
  }

  void axes(const std::string& type, const std::string& from, const std::string& to,
            std::int64_t axis) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(to + "_axes");
    tensor.set_data_type(onnx::TensorProto::INT64);
    tensor.add_dims(1);
    tensor.add_int64_data(axis);
    node(type, type, {from, to + "_axes"}, {to});
  }

 private:
  Random random_;
};

inline std::vector<MadeModel> models_of_layers_in_front() {
  std::vector<MadeModel> made;
  made.emplace_back("convolution with groups and padding", Extents{2, 6, 5}, Extents{2, 4, 5});
  set_int(made.back().node("Conv", "layer", {"x", "w", "c"}, {"h"}), "group", 2);
  set_ints(*made.back().graph().mutable_node(0), "pads", {1, 1});
  made.back().weights("w", {4, 3, 3});
  made.back().weights("c", {4});
  made.back().norm_of("h", "y");

  made.emplace_back("transposed convolution with groups", Extents{2, 6, 5}, Extents{2, 4, 11});
  set_int(made.back().node("ConvTranspose", "layer", {"x", "w"}, {"h"}), "group", 2);
  set_ints(*made.back().graph().mutable_node(0), "strides", {2});
  made.back().weights("w", {6, 2, 3});
  made.back().norm_of("h", "y");

  made.emplace_back("Gemm and Unsqueeze", Extents{3, 6}, Extents{3, 4, 1});
  made.back().node("Gemm", "layer", {"x", "w", "c"}, {"h"});
  made.back().weights("w", {6, 4});
  made.back().weights("c", {4});
  made.back().axes("Unsqueeze", "h", "u", 2);
  made.back().norm_of("u", "y");

  made.emplace_back("MatMul between Unsqueeze and Squeeze", Extents{3, 6}, Extents{3, 4});
  made.back().node("MatMul", "layer", {"x", "w"}, {"h"});
  made.back().weights("w", {6, 4});
  made.back().axes("Unsqueeze", "h", "u", 2);
  made.back().norm_of("u", "n");
  made.back().axes("Squeeze", "n", "y", 2);

  made.emplace_back("MatMul, Add and Transpose", Extents{2, 4, 6}, Extents{2, 4, 4});
  made.back().node("MatMul", "layer", {"x", "w"}, {"h"});
  made.back().weights("w", {6, 4});
  made.back().weights("c", {4});
  made.back().node("Add", "add", {"h", "c"}, {"a"});
  set_ints(made.back().node("Transpose", "turn", {"a"}, {"t"}), "perm", {0, 2, 1});
  made.back().norm_of("t", "y");
  return made;
}

inline std::vector<MadeModel> models_of_layers_behind() {
  std::vector<MadeModel> made;
  made.emplace_back("MatMul and Transpose, without Add", Extents{2, 4, 6}, Extents{2, 4, 4});
  made.back().node("MatMul", "layer", {"x", "w"}, {"h"});
  made.back().weights("w", {6, 4});
  set_ints(made.back().node("Transpose", "turn", {"h"}, {"t"}), "perm", {0, 2, 1});
  made.back().norm_of("t", "y");

  made.emplace_back("convolution behind", Extents{2, 4, 5}, Extents{2, 6, 3});
  made.back().norm_of("x", "h");
  set_int(made.back().node("Conv", "layer", {"h", "w"}, {"y"}), "group", 2);
  made.back().weights("w", {6, 2, 3});

  made.emplace_back("Gemm behind", Extents{3, 4}, Extents{3, 6});
  made.back().norm_of("x", "h");
  set_int(made.back().node("Gemm", "layer", {"h", "w", "c"}, {"y"}), "transB", 1);
  made.back().weights("w", {6, 4});
  made.back().weights("c", {6});

  made.emplace_back("MatMul behind", Extents{3, 4}, Extents{3, 6});
  made.back().norm_of("x", "h");
  made.back().node("MatMul", "layer", {"h", "w"}, {"y"});
  made.back().weights("w", {4, 6});
  return made;
}

}  // namespace example

#endif  // BATCHNORM_TESTS_EXAMPLES_ONNX_MADE_HPP
