// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FEDERATION_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FEDERATION_HPP

#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "support/corruption.hpp"
#include "support/digits.hpp"
#include "support/network.hpp"
#include "support/random.hpp"
#include "support/training.hpp"

// Federated averaging (McMahan et al. 2017, arXiv:1602.05629): clients train the network of all on
// images that they keep to themselves, and the server averages what they send back.

namespace example {

/// Somebody with a camera of its own.
struct Client {
  std::string name;
  Digits training, test;
};

/// The training images are dealt out; all test images are photographed by each client's camera.
inline std::vector<Client> clients_of(const DigitsData& data, const std::vector<Camera>& cameras,
                                      Random& random) {
  std::vector<Client> clients;
  for (std::size_t c = 0; c < cameras.size(); ++c) {
    std::vector<Eigen::Index> own;
    for (auto image = static_cast<Eigen::Index>(c); image < data.training.count();
         image += static_cast<Eigen::Index>(cameras.size())) {
      own.push_back(image);
    }
    clients.push_back({"client " + std::to_string(c + 1),
                       cameras[c](data.training.pick(own.begin(), own.end()), random),
                       cameras[c](data.test, random)});
  }
  return clients;
}

/// The mean of all numbers of some networks, their running means and variances among them: what
/// averaging does that takes statistics for weights.
inline Network mean_of(const std::vector<Network>& networks) {
  Network result = networks[0];
  const auto count = static_cast<float>(networks.size());
  const auto mix = [&](auto& to, auto&& part) {
    for (std::size_t i = 1; i < networks.size(); ++i) to += part(networks[i]);
    to /= count;
  };
  const auto mix_layer = [&](HiddenLayer& to, HiddenLayer Network::*layer) {
    mix(to.dense.weight, [&](const Network& n) { return (n.*layer).dense.weight; });
    mix(to.norm.state().gamma, [&](const Network& n) { return (n.*layer).norm.state().gamma; });
    mix(to.norm.state().beta, [&](const Network& n) { return (n.*layer).norm.state().beta; });
    mix(to.norm.state().running_mean,
        [&](const Network& n) { return (n.*layer).norm.state().running_mean; });
    mix(to.norm.state().running_variance,
        [&](const Network& n) { return (n.*layer).norm.state().running_variance; });
  };
  mix_layer(result.first, &Network::first);
  mix_layer(result.second, &Network::second);
  mix(result.last.weight, [](const Network& n) { return n.last.weight; });
  mix(result.last.bias, [](const Network& n) { return n.last.bias; });
  return result;
}

/// One round: every client trains the network of all a little, and the results are averaged.
inline Network train_round(const Network& network, const std::vector<Client>& clients,
                           Random& random) {
  std::vector<Network> trained;
  for (const Client& client : clients) {
    trained.push_back(network);
    train(trained.back(), client.training, 1, random, [](const Network::Step&, const Position&) {});
  }
  return mean_of(trained);
}

/// The moments that clients have of what enters both norms, one entry per client.
struct ClientMoments {
  std::vector<Moments> first, second;
};

inline Moments merged(const std::vector<Moments>& parts) {
  Moments all;
  for (const Moments& part : parts) all.merge(part);
  return all;
}

/// Every client's moments under the network of all. What enters the second norm depends on the
/// statistics of the first one, so that these are merged, told to everybody and used first.
inline ClientMoments moments_under(const Network& network, const std::vector<Client>& clients) {
  ClientMoments moments;
  std::vector<Eigen::MatrixXf> weighted;
  for (const Client& client : clients) {
    weighted.push_back(network.first.dense(client.training.images));
    moments.first.push_back(batchnorm::moments_of(weighted.back()));
  }
  batchnorm::State<float> state = network.first.norm.state();
  batchnorm::set_statistics(state, merged(moments.first));
  const batchnorm::FrozenBatchNorm<float> norm(state, network.first.norm.options());
  for (const Eigen::MatrixXf& in : weighted) {
    const Eigen::MatrixXf hidden = norm(in).cwiseMax(0.0f);
    moments.second.push_back(batchnorm::moments_of(network.second.dense(hidden)));
  }
  return moments;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FEDERATION_HPP
