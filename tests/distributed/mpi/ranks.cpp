// SPDX-License-Identifier: MIT
// One rank of the tests of distributed/mpi.hpp: mpirun -n P mpi_ranks SCENARIO. Prints what is
// wrong and exits with 1; with 0 when all is well; with 3 when a rank was lost, as it should be.
#include "batchnorm/distributed/mpi.hpp"
// Twice, and before everything else: it needs nothing.
#include "batchnorm/distributed/mpi.hpp"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "batchnorm/compiled.hpp"
#include "batchnorm/math/masked.hpp"
#include "distributed/mpi/calls.hpp"
#include "support/shards.hpp"
#include "support/weighted_reference.hpp"

using batchnorm::BatchNorm;
using batchnorm::Execution;
using batchnorm::Index;
using batchnorm::masked;
using batchnorm::MpiOptions;
using batchnorm::MpiSynchronize;
using batchnorm::ParameterGradients;
using batchnorm::Synchronize;
using batchnorm::weighted;
using Eigen::MatrixXd;
using namespace batchnorm_test;

namespace {

int rank = 0, ranks = 1, failures = 0;

void expect(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::fprintf(stderr, "rank %d of %d: FAILED: %s\n", rank, ranks, what.c_str());
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool near(const std::vector<Real>& a, const std::vector<Real>& b) {
  Real scale = 1;
  for (const Real value : b) scale = std::max(scale, std::fabs(value));
  bool good = a.size() == b.size();
  for (Size i = 0; good && i < a.size(); ++i) good = std::fabs(a[i] - b[i]) <= 1e-12L * scale;
  return good;
}

template <class A, class B>
bool near_each(const A& a, const B& b) {
  // Not the largest difference: what Eigen says of one that is NaN is not defined.
  return ((a - b).array().abs() <= 1e-12 * std::max(1.0, b.cwiseAbs().maxCoeff())).all();
}

/// The sizes of shards, for as many ranks as there are.
std::vector<Size> sizes_of(const std::vector<Size>& pattern) {
  std::vector<Size> sizes;
  for (int r = 0; r < ranks; ++r) sizes.push_back(pattern[static_cast<Size>(r) % pattern.size()]);
  return sizes;
}

Size sum_of(const std::vector<Size>& sizes) {
  Size sum = 0;
  for (const Size size : sizes) sum += size;
  return sum;
}

/// Whether some numbers have the same bits on all ranks.
template <class Vector>
bool same_everywhere(const Vector& numbers) {
  const auto bytes = static_cast<Size>(numbers.size()) * sizeof(numbers[0]);
  std::vector<unsigned char> first(bytes);
  std::memcpy(first.data(), numbers.data(), bytes);
  PMPI_Bcast(first.data(), static_cast<int>(bytes), MPI_BYTE, 0, MPI_COMM_WORLD);
  return std::memcmp(first.data(), numbers.data(), bytes) == 0;
}

/// train and backward on this rank's shard, against the whole minibatch on one.
void compare_with_one(const std::vector<Size>& pattern, Size positions, const MpiOptions& options) {
  Random random(1);
  const std::vector<Size> sizes = sizes_of(pattern);
  const Size own = static_cast<Size>(rank);
  if (sum_of(sizes) < 2) return;
  const Batch x = stored_as<double>(normal_batch(random, sum_of(sizes), 5, positions, 3));
  const Batch dy = stored_as<double>(normal_batch(random, sum_of(sizes), 5, positions));
  BatchNorm<double> whole = some_layer<double>(5);
  const Step<double> expected = step_of(whole, x, dy, Layout::channels_first, {});
  MpiSynchronize together(MPI_COMM_WORLD, options);
  BatchNorm<double> layer = some_layer<double>(5);
  const auto step = step_of(layer, shards_of(x, sizes)[own], shards_of(dy, sizes)[own],
                            Layout::channels_first, together);
  expect(near(step.y.values, shards_of(expected.y, sizes)[own].values), "outputs");
  expect(near(step.dx.values, shards_of(expected.dx, sizes)[own].values), "input gradients");
  expect(near_each(step.state.running_mean, expected.state.running_mean), "running mean");
  expect(near_each(step.state.running_variance, expected.state.running_variance),
         "running variance");
  expect(step.state.samples_seen == expected.state.samples_seen, "samples seen");
  Eigen::VectorXd gamma = step.gradients.gamma;
  if (options.synchronize.parameter_gradients == ParameterGradients::of_this_rank) {
    PMPI_Allreduce(MPI_IN_PLACE, gamma.data(), 5, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  } else {
    expect(same_everywhere(gamma), "bits of summed gradients");
  }
  expect(near_each(gamma, expected.gradients.gamma), "gradients of gamma");
  expect(same_everywhere(step.state.running_mean) && same_everywhere(step.batch.sum_of_squares) &&
             same_everywhere(step.state.running_variance),
         "bits of statistics on all ranks");
}

void agree() {
  for (const auto& pattern : std::vector<std::vector<Size>>{{0, 1, 7, 100}, {100, 7, 1, 0}, {2}}) {
    MpiOptions options;
    compare_with_one(pattern, 1, options);
    options.synchronize.parameter_gradients = ParameterGradients::of_all_ranks;
    compare_with_one(pattern, 9, options);
    options.synchronize.gather_at_most = 0;
    compare_with_one(pattern, 1, options);
  }
  expect(calls.communicators == 0 && calls.requests == 0 && calls.keyvals == 0, "leaks");
}

/// Weights, and masks that leave out all that one rank has, against the oracle on all shards.
void masks_and_weights() {
  constexpr double epsilon = 1e-5;
  Random random(3);
  const std::vector<Size> sizes = sizes_of({6, 1, 9, 0});
  const Size own = static_cast<Size>(rank);
  const Size all = sum_of(sizes), first = sum_of({sizes.begin(), sizes.begin() + rank});
  const Batch x = stored_as<double>(normal_batch(random, all, 5, 2, 3));
  const Batch dy = stored_as<double>(normal_batch(random, all, 5, 2));
  const BatchNorm<double> plain = some_layer<double>(5);
  PerChannel gamma, beta;
  for (Index c = 0; c < 5; ++c) gamma.push_back(plain.state().gamma[c]);
  for (Index c = 0; c < 5; ++c) beta.push_back(plain.state().beta[c]);
  for (const bool mask : {true, false}) {
    std::vector<Real> w = random_weights(random, all * 2, mask);
    for (Size place = 6 * 2; place < std::min<Size>(7, all) * 2; ++place) w[place] = 0;
    w[0] = 1;
    w[1] = mask ? 1 : 0.5L;
    const WeightedStep expected = weighted_step(x, dy, w, gamma, beta, Real(epsilon));
    const auto weights = weight_matrix(w, first, sizes[own], 2);
    MpiSynchronize together(MPI_COMM_WORLD);
    BatchNorm<double> layer = plain;
    const Stored<double> in(shards_of(x, sizes)[own], Layout::channels_first);
    const auto go = [&](const auto& input) {
      return step_on(layer, input, in, shards_of(dy, sizes)[own], Layout::channels_first, together);
    };
    const auto step = mask ? go(masked(in.view(), weights > 0.0))
                           : go(weighted(in.view(), weights, batchnorm::Weights::frequency));
    expect(step.batch.count == static_cast<Index>(expected.count), "values that count");
    expect(std::fabs(step.batch.weight() - expected.weight) < 1e-12L, "the sum of weights");
    expect(near(step.y.values, shards_of(expected.y, sizes)[own].values), "weighted outputs");
    expect(near(step.dx.values, shards_of(expected.dx, sizes)[own].values), "weighted gradients");
    expect(same_everywhere(step.state.running_variance), "bits of weighted statistics");
  }
}

/// The block rule: the bits of one rank.
void blocks() {
  constexpr Size block = 4;
  Random random(2);
  for (const auto& pattern : std::vector<std::vector<Size>>{{0, 4, 8, 100}, {12}, {16, 0}}) {
    std::vector<Size> sizes = sizes_of(pattern);
    sizes.back() += 3;
    const Size own = static_cast<Size>(rank);
    const Batch x = stored_as<float>(normal_batch(random, sum_of(sizes), 7, 6, 2));
    MpiOptions options;
    options.synchronize.block = static_cast<Index>(block);
    options.synchronize.parameter_gradients = ParameterGradients::of_all_ranks;
    auto nobody = [](const void*, std::size_t, void*) {};
    Synchronize alone(nobody, 0, 1, options.synchronize);
    BatchNorm<float> whole = some_layer<float>(7), layer = whole;
    const auto expected = step_of(whole, x, x, Layout::channels_last, alone);
    MpiSynchronize together(MPI_COMM_WORLD, options);
    const Batch shard = shards_of(x, sizes)[own];
    const auto step = step_of(layer, shard, shard, Layout::channels_last, together);
    expect(step.y.values == shards_of(expected.y, sizes)[own].values, "bits of outputs");
    expect(step.dx.values == shards_of(expected.dx, sizes)[own].values, "bits of input gradients");
    expect(step.state.running_mean == expected.state.running_mean &&
               step.state.running_variance == expected.state.running_variance,
           "bits of running statistics");
    expect(step.gradients.gamma == expected.gradients.gamma, "bits of gradients");
  }
}

/// Four examples of two channels.
struct Small {
  BatchNorm<double> layer{2};
  MatrixXd x = MatrixXd::Random(2, 4);
  MatrixXd y = MatrixXd::Zero(2, 4);
};

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// NaN on the last rank: all refuse, and go on.
void not_a_number() {
  Small small;
  MpiSynchronize together(MPI_COMM_WORLD);
  small.x(1, 2) = rank == ranks - 1 ? std::nan("") : 0.5;
  const std::string error = error_of([&] { small.layer.train(small.x, small.y, together); });
  expect(has(error, "NaN, infinity or overflow in channel 1"), error);
  expect(ranks == 1 || has(error, "by rank " + std::to_string(ranks - 1)), error);
  expect(small.layer.state().batches_seen == 0 && small.y == MatrixXd::Zero(2, 4), "untouched");
  small.x(1, 2) = 0.5;
  small.layer.train(small.x, small.y, together);
  expect(small.layer.state().samples_seen == 4 * ranks, "goes on");
}

/// Rank 0 calls another layer: all throw the same, at once.
void mismatch() {
  Small small;
  BatchNorm<double> other(3);
  MatrixXd x = MatrixXd::Random(3, 4);
  MpiSynchronize together(MPI_COMM_WORLD);
  for (int kind = 0; kind < 3; ++kind) {
    const double start = seconds();
    const std::string error = error_of([&] {
      if (rank != 0) {
        small.layer.train(small.x, small.y, together);
      } else if (kind == 0) {
        other.train(x, x, together);
      } else if (kind == 1) {
        small.layer.normalize(small.x, small.y, together);
      } else {
        small.layer.train(small.x, small.y, Execution().with(together, 9));
      }
    });
    expect(seconds() - start < 1.0, "in less than a second");
    if (ranks == 1) continue;
    expect(has(error, "rank 0: ") && has(error, "rank 1: train"), error);
    std::vector<char> text(error.begin(), error.end());
    text.resize(400);
    expect(same_everywhere(text), "the same error: " + error);
    expect(small.layer.state().batches_seen == 0, "untouched");
  }
}

/// Not on many ranks, which on few cores would wait for each other and for nothing else.
void thousand() {
  if (ranks > 4) return;
  Small small;
  {
    MpiSynchronize together(MPI_COMM_WORLD);
    calls.exchanges = 0;
    for (int call = 0; call < 1000; ++call) small.layer.train(small.x, small.y, together);
    expect(calls.requests == 0, "requests are all ended");
    expect(calls.communicators == 1 && calls.keyvals == 1, "one communicator");
    expect(ranks == 1 || calls.exchanges == 2000, "two exchanges per call");
    expect(small.layer.state().samples_seen == 4000 * ranks, "every call counts");
  }
  for (int object = 0; object < 20; ++object) MpiSynchronize together(MPI_COMM_WORLD);
  expect(calls.communicators == 0 && calls.keyvals == 0, "communicators are freed");
}

/// Statistics over groups of ranks.
void groups() {
  MPI_Comm group = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank / 2, rank, &group);
  {
    Small small;
    MpiSynchronize together(group);
    PMPI_Comm_free(&group);  // it has a duplicate
    small.x.setConstant(rank);
    small.x.col(0).setConstant(rank + 1);
    const auto batch = small.layer.train(small.x, small.y, together);
    const int first = rank / 2 * 2, size = std::min(2, ranks - first);
    expect(batch.count == 4 * size, "values of the group");
    expect(std::fabs(batch.mean[0] - (first + (size - 1) / 2.0 + 0.25)) < 1e-12,
           "mean of the group");
  }
}

/// Below MPI_THREAD_SERIALIZED other threads are refused, without a call of MPI.
void other_thread() {
  Small small;
  MpiSynchronize together(MPI_COMM_WORLD);
  std::string made, called;
  std::thread([&] {
    made = error_of([&] { MpiSynchronize second(MPI_COMM_WORLD); });
    if (ranks > 1) called = error_of([&] { small.layer.train(small.x, small.y, together); });
  }).join();
  expect(has(made, "only one thread calls MPI"), made);
  expect(ranks == 1 || has(called, "only one thread calls MPI"), called);
}

void between_two_groups() {
  MPI_Comm group = MPI_COMM_NULL, between = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank == 0, rank, &group);
  MPI_Intercomm_create(group, 0, MPI_COMM_WORLD, rank == 0, 7, &between);
  expect(has(error_of([&] { MpiSynchronize none(between); }), "got an intercommunicator"), "two");
  PMPI_Comm_free(&between);
  PMPI_Comm_free(&group);
}

void wrong_arguments() {
  expect(has(error_of([] { MpiSynchronize none(MPI_COMM_NULL); }), "MPI_COMM_NULL"), "null");
  MpiOptions options;
  options.deadline = 0.0;
  expect(has(error_of([&] { MpiSynchronize none(MPI_COMM_WORLD, options); }), "deadline"),
         "deadline");
  options.deadline = 0.5;
  expect(error_of([&] { MpiSynchronize soon(MPI_COMM_SELF, options); }).empty(), "half a second");
  if (ranks > 1) between_two_groups();
  expect(calls.communicators == 0, "nothing is left behind");
}

/// Lives longer than MPI.
std::unique_ptr<MpiSynchronize> survivor;
void survives() {
  Small small;
  survivor = std::make_unique<MpiSynchronize>(MPI_COMM_WORLD);
  small.layer.train(small.x, small.y, *survivor);
}
void after_finalize() {
  expect(calls.communicators == 0 && calls.keyvals == 0, "MPI_Finalize frees the duplicate");
  Small small;
  const std::string error = error_of([&] { small.layer.train(small.x, small.y, *survivor); });
  expect(ranks == 1 || has(error, "MPI is running"), "a call behind MPI_Finalize: " + error);
  survivor.reset();
  expect(has(error_of([] { MpiSynchronize late(MPI_COMM_WORLD); }), "got one behind"), "too late");
}

/// The last rank is lost in its own way; the others have a second to find out.
[[noreturn]] void lose(const std::function<void()>& loss) {
  Small small;
  MpiOptions options;
  options.deadline = 1.0;
  MpiSynchronize together(MPI_COMM_WORLD, options);
  small.layer.train(small.x, small.y, together);
  if (rank == ranks - 1) loss();
  const double start = seconds();
  std::string error = error_of([&] { small.layer.train(small.x, small.y, together); });
  const double waited = seconds() - start;
  expect(has(error, "all ranks to take part within 1 s"), error);
  expect(waited > 0.9 && waited < 3.0, "within the deadline: " + std::to_string(waited));
  expect(small.layer.state().batches_seen == 1, "untouched");
  error = error_of([&] { small.layer.train(small.x, small.y, together); });
  expect(has(error, "after an exchange that failed"), error);
  std::printf("rank %d: a rank was lost\n", rank);
  std::fflush(stdout);
  std::_Exit(failures == 0 ? 3 : 1);
}

const std::map<std::string, std::function<void()>> losses = {
    {"exits", [] { std::_Exit(0); }},
    {"killed", [] { raise(SIGKILL); }},
    {"silent",
     [] {
       sleep(4);
       std::_Exit(3);
     }},
};

const std::vector<std::function<void()>> all_well = {
    agree,  masks_and_weights, blocks,          not_a_number, mismatch, thousand,
    groups, other_thread,      wrong_arguments, survives};

}  // namespace

int main(int argc, char** argv) {
  const std::string scenario = argc > 1 ? argv[1] : "well";
  expect(has(error_of([] { MpiSynchronize early(MPI_COMM_WORLD); }), "got one before"),
         "too early");
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  expect(provided >= MPI_THREAD_FUNNELED, "MPI_THREAD_FUNNELED");
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const auto loss = losses.find(scenario);
  if (loss != losses.end()) lose(loss->second);
  for (const auto& test : all_well) test();
  MPI_Finalize();
  after_finalize();
  if (failures == 0 && rank == 0) std::printf("all is well on %d ranks\n", ranks);
  return failures == 0 ? 0 : 1;
}
