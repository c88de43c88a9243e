// SPDX-License-Identifier: MIT
// Four clients teach one network to read, each with a camera of its own, and no image ever leaves a
// client. Weights are averaged by the server round after round. What about the statistics of batch
// norm? Five answers that programs give, on one and the same network: they are dropped; running
// means and variances are averaged as if they were weights, so that what lies between the clients
// is lost; the moments of all clients are merged, exactly; each client keeps its own (FedBN, Li et
// al. 2021, arXiv:2102.07623), in a bank of four domains; and the totals of all are merged again in
// every round, which counts the first of k rounds 4^(k - 1) times.
//
//   12_federated [--data FILE] [--csv FILE] [--plot FILE.svg] [--epochs N] [--seed N]
//
// --epochs are the rounds, of one epoch on each client.
//
// Prints (another compiler or processor may change the last digits)
//
//   digits   1437 to train, 360 to test: drawn by this program, seed 1
//   10 rounds; a client tells 808 and 552 bytes of moments of its 360 images in each of them
//   merged they count 1437 images, totals that were merged again in every round 502267425
//   between the clients lie 24 and 18 % of the variance in front of the two norms
//
//   test accuracy in %            client 1  client 2  client 3  client 4     mean    worst
//   dropped                           22.5      12.2      14.4      11.4     15.1     11.4
//   mean of variances                 96.7      91.9      25.0      76.1     72.4     25.0
//   exact merge                       96.4      93.9      40.6      81.7     78.1     40.6
//   kept per client                   97.8      97.5      98.1      97.2     97.6     97.2
//   totals merged again               89.2      55.0      65.6      47.8     64.4     47.8

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "support/bars.hpp"
#include "support/checks.hpp"
#include "support/federation.hpp"
#include "support/program.hpp"
#include "support/report.hpp"

namespace {

using namespace example;
using Bank = batchnorm::StatisticBank<float>;

constexpr int default_rounds = 10;

const std::vector<Camera> cameras = {Camera{1, 0, 0}, Camera{0.6, 0.15, 0}, Camera{0.35, -0.2, 0},
                                     Camera{0.8, 0.3, 0}};

/// The network with other statistics, which are those of its weights.
FrozenNetwork freeze_with(const Network& network, const Moments& first, const Moments& second) {
  Network frozen = network;
  batchnorm::set_statistics(frozen.first.norm.state(), first);
  batchnorm::set_statistics(frozen.second.norm.state(), second);
  return frozen.freeze();
}

/// The network as it is sent without statistics: mean 0, variance 1.
FrozenNetwork without_statistics(Network network) {
  network.first.norm.state().forget_statistics();
  network.second.norm.state().forget_statistics();
  const auto freeze = [](const batchnorm::BatchNorm<float>& norm) {
    return batchnorm::FrozenBatchNorm<float>(norm.state(), norm.options());
  };
  return {network.first.dense, freeze(network.first.norm), network.second.dense,
          freeze(network.second.norm), network.last};
}

/// One network, and statistics for each client under its name.
struct Banks {
  Banks(const Network& network, const std::vector<Client>& clients)
      : first(network.first.norm.state(), network.first.norm.options()),
        second(network.second.norm.state(), network.second.norm.options()) {
    for (const Client& client : clients) {
      const ClientMoments own = moments_under(network, {client});
      first.set(client.name, own.first[0]);
      second.set(client.name, own.second[0]);
    }
  }

  FrozenNetwork freeze(const Network& network, const Client& client) const {
    return {network.first.dense, first.frozen(client.name), network.second.dense,
            second.frozen(client.name), network.last};
  }

  Bank first, second;
};

/// Totals that are merged again in every round, and told to everybody.
struct Totals {
  Moments first, second;

  void merge_again(const ClientMoments& round) {
    const auto again = [](Moments& total, const std::vector<Moments>& round_of) {
      std::vector<Moments> totals(round_of.size(), total);  // what everybody was told last time
      for (std::size_t c = 0; c < totals.size(); ++c) totals[c].merge(round_of[c]);
      total = merged(totals);
    };
    again(first, round.first);
    again(second, round.second);
  }
};

/// One answer, and what each client reads with it, in per cent.
struct Answer {
  std::string name;
  std::vector<double> accuracies;

  double mean() const {
    double sum = 0;
    for (const double accuracy : accuracies) sum += accuracy;
    return sum / static_cast<double>(accuracies.size());
  }
  double worst() const { return *std::min_element(accuracies.begin(), accuracies.end()); }
};

/// @param network_of  the network that a client reads with
template <class NetworkOf>
Answer answer(const std::string& name, const std::vector<Client>& clients, NetworkOf&& network_of) {
  Answer result{name, {}};
  for (const Client& client : clients) {
    const FrozenNetwork network = network_of(client);
    result.accuracies.push_back(percent(count_right(network, client.test), client.test.count()));
  }
  return result;
}

void print(const std::vector<Answer>& answers) {
  std::printf(
      "\ntest accuracy in %%            client 1  client 2  client 3  client 4     mean    "
      "worst\n");
  for (const Answer& a : answers) {
    std::printf("%-28s", a.name.c_str());
    for (const double accuracy : a.accuracies) std::printf("%10.1f", accuracy);
    std::printf("%9.1f%9.1f\n", a.mean(), a.worst());
  }
}

std::string table_of(const std::vector<Answer>& answers) {
  std::ostringstream table;
  table << "statistics,client,test_accuracy_in_percent\n";
  for (const Answer& a : answers) {
    for (std::size_t client = 0; client < a.accuracies.size(); ++client) {
      table << "\"" << a.name << "\"," << client + 1 << "," << a.accuracies[client] << "\n";
    }
  }
  return table.str();
}

void save_picture(const std::string& path, const std::vector<Answer>& answers) {
  std::vector<BarGroup> groups;
  for (const Answer& a : answers) groups.push_back({a.name, {a.mean(), a.worst()}});
  save_bars(path, "One network, four clients, five ways to treat statistics",
            {"mean of the clients", "worst client"}, groups, "font ',11'");
}

/// The share of the variance of all clients' values that lies between the clients, and that every
/// average of their variances lacks: mean over all channels.
double share_between(const std::vector<Moments>& parts) {
  Eigen::VectorXd within = Eigen::VectorXd::Zero(parts[0].channels());
  for (const Moments& part : parts) within += part.sum_of_squares;
  const Moments all = merged(parts);
  return 1 - (within.array() / all.sum_of_squares.array()).mean();
}

/// Whether the merged moments are those of all images at one place, up to rounding.
bool is_exact(const Moments& all, const Network& network, const std::vector<Client>& clients) {
  Eigen::MatrixXf images(pixels, 0);
  for (const Client& client : clients) {
    const Eigen::Index before = images.cols();
    images.conservativeResize(pixels, before + client.training.count());
    images.rightCols(client.training.count()) = client.training.images;
  }
  const Moments at_once = batchnorm::moments_of(network.first.dense(images));
  return all.count == at_once.count && all.mean.isApprox(at_once.mean, 1e-5) &&
         all.sum_of_squares.isApprox(at_once.sum_of_squares, 1e-5);
}

int check(const std::vector<Answer>& answers, bool exact_moments) {
  const Answer &dropped = answers[0], &averaged = answers[1], &exact = answers[2],
               &own = answers[3], &totals = answers[4];
  Checks checks;
  checks.expect(exact_moments, "moments that were merged to be those of all images");
  checks.expect(own.mean() > 85 && own.worst() > 80, "statistics of its own to serve every client");
  checks.expect(own.mean() > dropped.mean() + 10, "dropped statistics to cost 10 % or more");
  checks.expect(own.mean() > totals.mean() + 5, "totals merged again to cost 5 % or more");
  checks.expect(exact.mean() > averaged.mean() - 5, "the exact merge to serve as averages do");
  checks.expect(exact.mean() > dropped.mean(), "the exact merge to serve better than none");
  return checks.exit_code();
}

int run(const Arguments& arguments) {
  const DigitsData data = digits_of(arguments);
  Random random(arguments.seed);
  const std::vector<Client> clients = clients_of(data, cameras, random);
  Network network = Network::random(random);
  ClientMoments moments;
  Totals totals;
  const int rounds = arguments.epochs.value_or(default_rounds);
  for (int round = 0; round < rounds; ++round) {
    network = train_round(network, clients, random);
    moments = moments_under(network, clients);
    totals.merge_again(moments);
  }
  const Moments first = merged(moments.first), second = merged(moments.second);
  std::printf(
      "%d rounds; a client tells %d and %d bytes of moments of its %d images in each of them\n"
      "merged they count %d images, totals that were merged again in every round %.0f\n"
      "between the clients lie %.0f and %.0f %% of the variance in front of the two norms\n",
      rounds, static_cast<int>(batchnorm::to_bytes(moments.first[0]).size()),
      static_cast<int>(batchnorm::to_bytes(moments.second[0]).size()),
      static_cast<int>(moments.first[0].count), static_cast<int>(first.count),
      totals.first.weight(), 100 * share_between(moments.first),
      100 * share_between(moments.second));

  const Banks banks(network, clients);
  const std::vector<Answer> answers = {
      answer("dropped", clients, [&](const Client&) { return without_statistics(network); }),
      answer("mean of variances", clients, [&](const Client&) { return network.freeze(); }),
      answer("exact merge", clients,
             [&](const Client&) { return freeze_with(network, first, second); }),
      answer("kept per client", clients,
             [&](const Client& client) { return banks.freeze(network, client); }),
      answer("totals merged again", clients,
             [&](const Client&) { return freeze_with(network, totals.first, totals.second); })};
  print(answers);
  if (arguments.csv) save_text(*arguments.csv, table_of(answers));
  if (arguments.plot) save_picture(*arguments.plot, answers);
  return rounds == default_rounds ? check(answers, is_exact(first, network, clients)) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const example::Program program = {
      "12_federated",
      "Four clients train one network; compares five ways to treat its statistics.",
      {"--data", "--csv", "--plot", "--epochs", "--seed"},
      default_rounds};
  return example::run_program(program, argc, argv, run);
}
