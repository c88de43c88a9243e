// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FOLD_DEMO_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FOLD_DEMO_HPP

#include <batchnorm/batchnorm.hpp>
#include <batchnorm/io/checkpoint.hpp>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>

#include "support/checks.hpp"
#include "support/fold_arguments.hpp"
#include "support/random.hpp"

namespace example {

/// Sequential(Linear(6, 5), BatchNorm(5), ReLU, BatchNorm(5), Linear(5, 3)), with statistics of
/// random data: one batch norm behind a layer, and one in front of another.
class DemoNetwork {
 public:
  explicit DemoNetwork(const std::string& path) : file_(batchnorm::open_checkpoint(path)) {}

  static void save(const std::string& path) {
    Random random(8);
    const auto drawn = [&](Eigen::Index rows, Eigen::Index columns) {
      Eigen::MatrixXf matrix(rows, columns);
      for (float& value : matrix.reshaped()) value = static_cast<float>(random.normal());
      return matrix;
    };
    const Eigen::MatrixXf first = drawn(5, 6), last = drawn(3, 5);
    batchnorm::BatchNorm<float> behind(5), before(5, batchnorm::Options::keras());
    behind.state().gamma << 1.5f, -0.5f, 1.0f, 2.0f, 0.25f;
    behind.state().beta << 0.0f, 0.5f, -0.5f, 1.0f, 2.0f;
    for (int batch = 0; batch < 50; ++batch) {
      const Eigen::MatrixXf hidden = behind.train(first * drawn(6, 20)).output.cwiseMax(0.0f);
      before.train(hidden);
    }
    batchnorm::Tensors tensors;
    tensors.set("0.weight", first);
    batchnorm::save_state(tensors, "1.", behind.state(), behind.options());
    batchnorm::save_state(tensors, "3.", before.state(), before.options());
    tensors.set("4.weight", last);
    tensors.set("4.bias", Eigen::VectorXf(drawn(3, 1)));
    batchnorm::write_safetensors(path, tensors);
  }

  /// What the network in the file gives, with whichever of its batch norms are still there.
  Eigen::VectorXf output(const Eigen::VectorXf& input) const {
    return layer("4.", norm("3.", norm("1.", layer("0.", input)).cwiseMax(0.0f)));
  }

 private:
  Eigen::VectorXf layer(const std::string& prefix, const Eigen::VectorXf& input) const {
    Eigen::VectorXf out = file_.matrix<float>(prefix + "weight") * input;
    if (file_.contains(prefix + "bias")) out += file_.matrix<float>(prefix + "bias");
    return out;
  }

  Eigen::VectorXf norm(const std::string& prefix, const Eigen::VectorXf& input) const {
    if (!file_.contains(prefix + "running_var")) return input;
    const auto saved = batchnorm::LoadOptions::saved();
    return batchnorm::load_state<float>(file_, prefix, saved).freeze()(input);
  }

  batchnorm::Tensors file_;
};

/// Makes a checkpoint, inspects and folds it, and compares the outputs of both.
inline int demonstrate(const std::function<int(const FoldArguments&)>& run) {
  namespace fs = std::filesystem;
  fs::path folder;
  // Says false for a folder that another program has at the moment.
  for (int number = 0; folder.empty(); ++number) {
    const fs::path candidate = fs::temp_directory_path() / ("fold_demo_" + std::to_string(number));
    if (fs::create_directory(candidate)) folder = candidate;
  }
  const std::string in = (folder / "network.safetensors").string();
  const std::string out = (folder / "folded.safetensors").string();
  DemoNetwork::save(in);
  Checks checks;
  FoldArguments arguments;
  arguments.command = "inspect";
  arguments.files = {in};
  checks.expect(run(arguments) == 0, "the checkpoint to be inspected");
  std::printf("\n");
  arguments.command = "fold";
  arguments.files = {in, out};
  checks.expect(run(arguments) == 0, "everything to be folded");

  const DemoNetwork before(in), after(out);
  Random random(9);
  float worst = 0.0f;
  for (int image = 0; image < 100; ++image) {
    Eigen::VectorXf input(6);
    for (float& value : input) value = static_cast<float>(random.normal());
    const Eigen::VectorXf expected = before.output(input);
    worst = std::max(worst, (after.output(input) - expected).cwiseAbs().maxCoeff());
  }
  std::printf("largest difference of an output on 100 inputs: %.1e\n", double{worst});
  checks.expect(worst < 1e-4f, "outputs of both files within 1e-4");
  checks.expect(batchnorm::find_batch_norms(out).empty(), "no batch norm in the folded file");
  fs::remove_all(folder);
  return checks.exit_code();
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FOLD_DEMO_HPP
