// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_DAMAGE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_DAMAGE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "support/network.hpp"

// What people do to trained networks that leaves their running statistics behind.

namespace example {

/// Rounds weights to `bits` bits: to whole multiples, of either sign, of one step per matrix.
inline void round_weights(Eigen::MatrixXf& weight, int bits) {
  const float levels = std::exp2(static_cast<float>(bits - 1)) - 1;
  const float step = weight.cwiseAbs().maxCoeff() / levels;
  if (step > 0) weight = (weight / step).array().round().matrix() * step;
}

/// Rows of equal mean 0 and norm 1: products of two such rows are correlations.
inline Eigen::MatrixXf standardised(Eigen::MatrixXf rows) {
  rows.colwise() -= rows.rowwise().mean().eval();
  for (auto row : rows.rowwise()) row /= std::max(row.norm(), 1e-12f);
  return rows;
}

/// For each unit of a network the one of another network that does the same, as far as there is
/// one: the sum of the correlations over some images is a maximum that exchanging two units does
/// not raise. @param mine  outputs of the units, one row each; @param others  the same for others
inline std::vector<Eigen::Index> match(const Eigen::MatrixXf& mine, const Eigen::MatrixXf& others) {
  const Eigen::MatrixXf alike = standardised(mine) * standardised(others).transpose();
  std::vector<Eigen::Index> partner;
  for (Eigen::Index unit = 0; unit < alike.rows(); ++unit) partner.push_back(unit);
  for (bool improved = true; improved;) {
    improved = false;
    for (std::size_t i = 0; i < partner.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        const auto a = static_cast<Eigen::Index>(i), b = static_cast<Eigen::Index>(j);
        const float now = alike(a, partner[i]) + alike(b, partner[j]);
        if (alike(a, partner[j]) + alike(b, partner[i]) <= now + 1e-5f) continue;
        std::swap(partner[i], partner[j]);
        improved = true;
      }
    }
  }
  return partner;
}

/// The same units in another order: rows of the weights, and channels of the norm.
inline HiddenLayer reordered(const HiddenLayer& layer, const std::vector<Eigen::Index>& order) {
  HiddenLayer result = layer;
  result.dense.weight = layer.dense.weight(order, Eigen::all);
  const batchnorm::State<float>& from = layer.norm.state();
  batchnorm::State<float>& to = result.norm.state();
  to.gamma = from.gamma(order);
  to.beta = from.beta(order);
  to.running_mean = from.running_mean(order);
  to.running_variance = from.running_variance(order);
  return result;
}

/// The network with its hidden units in the order of those of `model` that they are most like,
/// judged by what they answer to some images.
inline Network matched(Network network, const Network& model, const Eigen::MatrixXf& images) {
  const auto answers = [](const HiddenLayer& layer, const Eigen::MatrixXf& in) {
    return layer.norm.infer(layer.dense(in)).cwiseMax(0.0f).eval();
  };
  const Eigen::MatrixXf wanted_first = answers(model.first, images);
  const auto first = match(wanted_first, answers(network.first, images));
  network.first = reordered(network.first, first);
  network.second.dense.weight = network.second.dense.weight(Eigen::all, first).eval();
  const Eigen::MatrixXf hidden = answers(network.first, images);
  const auto second = match(answers(model.second, wanted_first), answers(network.second, hidden));
  network.second = reordered(network.second, second);
  network.last.weight = network.last.weight(Eigen::all, second).eval();
  return network;
}

/// All numbers half way between those of two networks, the running statistics among them.
inline Network average(const Network& a, const Network& b) {
  Network result = a;
  const auto mix = [](auto& to, const auto& other) { to = (to + other) / 2; };
  const auto mix_layers = [&](HiddenLayer& to, const HiddenLayer& other) {
    mix(to.dense.weight, other.dense.weight);
    mix(to.norm.state().gamma, other.norm.state().gamma);
    mix(to.norm.state().beta, other.norm.state().beta);
    mix(to.norm.state().running_mean, other.norm.state().running_mean);
    mix(to.norm.state().running_variance, other.norm.state().running_variance);
  };
  mix_layers(result.first, b.first);
  mix_layers(result.second, b.second);
  mix(result.last.weight, b.last.weight);
  mix(result.last.bias, b.last.bias);
  return result;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_DAMAGE_HPP
