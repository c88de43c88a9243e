// SPDX-License-Identifier: MIT
// The lines that the page ends with, as a program: what stands between the two marks is shown, and
// names.ts says what each line is called elsewhere.

#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <cstdio>

using namespace batchnorm;

int main() {
  Eigen::MatrixXf W = Eigen::MatrixXf::Identity(32, 32), x(32, 16), dy(32, 16);
  Eigen::VectorXf b;
  for (float& value : x.reshaped()) value = static_cast<float>((&value - x.data()) * 7 % 11);
  for (float& value : dy.reshaped()) value = static_cast<float>((&value - dy.data()) * 5 % 13);
  const float rate = 0.3f;

  // The page shows:
  BatchNorm<float> norm(32);        // 32 channels
  auto [y, batch] = norm.train(x);  // minibatch statistics
  auto [dx, dgamma, dbeta] = norm.backward(batch, x, dy);
  norm.state().gamma -= rate * dgamma;
  norm.state().beta -= rate * dbeta;
  Options rule;
  rule.running = RunningUpdate::keep_old(0.99);  // or take_new(0.01)
  BatchNorm<float> follower(32, rule);
  follower.commit(batch);       // running statistics alone
  auto frozen = norm.freeze();  // test time
  auto one = frozen(x.col(0));  // a single example
  auto adapted = adapt(norm, moments_of(x), Adaptation::prior(16));
  fold_after(linear(W), b, norm);  // the layer is gone
  // End of the page.

  const bool is_folded = (W * x.col(0) + b).isApprox(one, 1e-5f);
  const bool is_finite = y.allFinite() && dx.allFinite() && adapted(x).allFinite();
  std::printf("%s\n", is_folded && is_finite ? "the lines of the page work" : "they do not");
  return is_folded && is_finite ? 0 : 1;
}
