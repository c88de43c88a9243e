// SPDX-License-Identifier: MIT
#include "batchnorm/io/scale_layer.hpp"

#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

Tensors caffe_norm(const std::string& bn, const std::string& scale, Index channels = 2) {
  const std::size_t size = static_cast<std::size_t>(channels);
  Tensors tensors("caffe");
  tensors.set(bn + "/0", {2}, std::vector<float>{1, 2});
  tensors.set(bn + "/1", {2}, std::vector<float>{3, 4});
  tensors.set(bn + "/2", {1}, std::vector<float>{1});
  tensors.set(scale + "/0", {channels}, std::vector<float>(size, 5));
  tensors.set(scale + "/1", {channels}, std::vector<float>(size, 6));
  return tensors;
}

std::string scale_of(const Tensors& tensors, const std::string& bn) {
  return detail::with_scale_layer(tensors, bn + "/", Naming::caffe()).parameters;
}

}  // namespace

TEST_CASE("a scale layer is found by its name") {
  CHECK(scale_of(caffe_norm("bn1", "scale1"), "bn1") == "scale1/");
  CHECK(scale_of(caffe_norm("bn_conv1", "scale_conv1"), "bn_conv1") == "scale_conv1/");
  CHECK(scale_of(caffe_norm("conv1/bn", "conv1/scale"), "conv1/bn") == "conv1/scale/");
  CHECK(scale_of(caffe_norm("conv1_bn", "conv1_scale"), "conv1_bn") == "conv1_scale/");
  CHECK(scale_of(caffe_norm("BatchNorm1", "Scale1"), "BatchNorm1") == "Scale1/");
}

TEST_CASE("it is not taken when its channels differ, or another norm is called like that") {
  CHECK(scale_of(caffe_norm("bn1", "scale1", 3), "bn1") == "bn1/");
  CHECK(scale_of(caffe_norm("bn1", "scale2"), "bn1") == "bn1/");
  Tensors two = caffe_norm("bn1", "scale1");
  two.set("sc1/0", {2}, std::vector<float>{7, 8});
  CHECK(scale_of(two, "bn1") == "bn1/");
  Tensors norm = caffe_norm("bn1", "scale1");
  norm.set("scale1/2", {1}, std::vector<float>{1});
  CHECK(scale_of(norm, "bn1") == "bn1/");
}

TEST_CASE("a scale without a shift is one, too") {
  Tensors tensors = caffe_norm("bn1", "scale1");
  tensors.erase("scale1/1");
  CHECK(scale_of(tensors, "bn1") == "scale1/");
}

TEST_CASE("prefixes that were given stay, and other systems have no scale layer") {
  const Tensors tensors = caffe_norm("bn1", "scale1");
  const LayerPrefix given("other/", "bn1/");
  CHECK(detail::with_scale_layer(tensors, given, Naming::caffe()) == given);
  CHECK(detail::with_scale_layer(tensors, "bn1/", Naming::rtneural()) == LayerPrefix("bn1/"));
}

TEST_CASE("three arrays are a norm of Caffe only when they are called so") {
  CHECK(find_batch_norms(caffe_norm("bn1", "scale1")).size() == 1);
  CHECK(find_batch_norms(caffe_norm("params", "scale1")).empty());
  Tensors four = caffe_norm("bn1", "scale1");
  four.set("bn1/3", {2}, std::vector<float>{1, 1});
  CHECK(find_batch_norms(four).empty());
  Tensors wide = caffe_norm("bn1", "scale1");
  wide.set("bn1/2", {2}, std::vector<float>{1, 1});
  CHECK(find_batch_norms(wide).empty());
}
