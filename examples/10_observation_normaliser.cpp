// SPDX-License-Identifier: MIT
// Reinforcement learning normalises what its workers observe, by the statistics of everything that
// was observed so far. Here four workers look at images, each at digits of its own, so that none
// knows the statistics of all. After every round they exchange what they have seen in it: the
// result is that of one machine that sees everything. Workers that merge their totals instead count
// their common past once for each of them, again and again, and learn little from what comes later.
//
//   10_observation_normaliser [--data FILE] [--csv FILE] [--plot FILE.svg] [--seed N]
//
// Prints, among other things,
//
//   digits   1437 to train, 360 to test: drawn by this program, seed 1
//
//   means off by, in standard deviations
//   round   worst alone   exchanged   totals merged   each value counted
//      1        0.381        0.090          0.090               1 times
//      2        0.338        0.058          0.075               2 times
//   ...
//     10        0.300        0.000          0.069           34652 times
//
//   in the end the workers know of 1437 observations, one machine of 1437; mean and variance
//   differ by 5e-16

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "support/checks.hpp"
#include "support/picture.hpp"
#include "support/program.hpp"

namespace {

using namespace example;
using Moments = batchnorm::Moments<double>;
using Worlds = std::vector<Eigen::MatrixXf>;

constexpr std::size_t worker_count = 4;
constexpr Eigen::Index rounds = 10;

/// What each worker is going to observe: the images of two or three digits.
Worlds worlds_of(const Digits& digits) {
  std::vector<std::vector<Eigen::Index>> chosen(worker_count);
  for (Eigen::Index image = 0; image < digits.count(); ++image) {
    chosen[static_cast<std::size_t>(digits.label(image)) * worker_count / classes].push_back(image);
  }
  Worlds worlds;
  for (const auto& images : chosen) worlds.push_back(digits.images(Eigen::all, images));
  return worlds;
}

Eigen::MatrixXf observe(const Eigen::MatrixXf& world, Eigen::Index round) {
  const Eigen::Index begin = world.cols() * round / rounds;
  return world.middleCols(begin, world.cols() * (round + 1) / rounds - begin);
}

/// Distance of the means in standard deviations, root mean square over all pixels.
double distance(const Moments& seen, const Moments& all) {
  const Eigen::ArrayXd deviation = (all.population_variance().array() + 1e-5).sqrt();
  return std::sqrt(((seen.mean - all.mean).array() / deviation).square().mean());
}

/// The statistics after a round.
struct Round {
  double alone, shared, totals;  ///< distances from those of all images; alone: of the worst worker
  double times_counted;          ///< how often totals that are merged count a value, on average
};

// ---- what a program that learns needs: these thirty lines

/// A normaliser by what was observed so far. It does not change any more, so that many threads may
/// use it for one observation or many. The rare pixels with hardly any variance are clipped.
class Normaliser {
 public:
  explicit Normaliser(const Moments& seen) : norm_(state_of(seen), batchnorm::Options()) {}

  Eigen::MatrixXf operator()(const Eigen::MatrixXf& observations) const {
    return norm_(observations).cwiseMax(-10.0f).cwiseMin(10.0f);
  }

 private:
  static batchnorm::State<float> state_of(const Moments& seen) {
    batchnorm::State<float> state(seen.channels());
    batchnorm::set_statistics(state, seen, batchnorm::VarianceEstimator::population);
    return state;
  }

  batchnorm::FrozenBatchNorm<float> norm_;
};

/// The workers go through their worlds.
/// @param look  called after each round with the workers and the moments each has seen in it
template <class Look>
std::vector<batchnorm::StreamingMoments<double>> work(const Worlds& worlds, Look&& look) {
  std::vector<batchnorm::StreamingMoments<double>> workers(worlds.size());
  for (Eigen::Index round = 0; round < rounds; ++round) {
    std::vector<Moments> seen;
    for (std::size_t w = 0; w < workers.size(); ++w) {
      seen.push_back(batchnorm::moments_of(observe(worlds[w], round)));
      workers[w].add(seen.back());
    }
    batchnorm::exchange(workers);  // on several machines: worker.share(the merged own() of all)
    look(workers, seen);
  }
  return workers;
}

// ---- what it is worth

/// Notes how far workers are that share, that keep to themselves, and that merge their totals.
class Comparison {
 public:
  explicit Comparison(const Moments& all) : all_(all) {}

  template <class Workers>
  void operator()(const Workers& sharing, const std::vector<Moments>& seen) {
    alone_.resize(seen.size());
    totals_.resize(seen.size());
    Round now{0, distance(sharing[0].total(), all_), 0, 0};
    Moments merged;
    for (std::size_t w = 0; w < seen.size(); ++w) {
      alone_[w].merge(seen[w]);
      now.alone = std::max(now.alone, distance(alone_[w], all_));
      totals_[w].merge(seen[w]);
      merged.merge(totals_[w]);
    }
    totals_.assign(seen.size(), merged);  // the mistake
    now.totals = distance(merged, all_);
    now.times_counted =
        static_cast<double>(merged.count) / static_cast<double>(sharing[0].total().count);
    table_.push_back(now);
  }

  const std::vector<Round>& table() const { return table_; }

 private:
  const Moments& all_;
  std::vector<Moments> alone_, totals_;
  std::vector<Round> table_;
};

void print(const std::vector<Round>& table) {
  std::printf(
      "\nmeans off by, in standard deviations\n"
      "round   worst alone   exchanged   totals merged   each value counted\n");
  for (std::size_t round = 0; round < table.size(); ++round) {
    const Round& now = table[round];
    std::printf("%4d %12.3f %12.3f %14.3f %14.0f times\n", static_cast<int>(round + 1), now.alone,
                now.shared, now.totals, now.times_counted);
  }
}

std::string table_of(const std::vector<Round>& table) {
  std::ostringstream text;
  text << "round,worst_alone,exchanged,totals_merged,times_counted\n";
  for (std::size_t round = 0; round < table.size(); ++round) {
    text << round + 1 << "," << table[round].alone << "," << table[round].shared << ","
         << table[round].totals << "," << table[round].times_counted << "\n";
  }
  return text.str();
}

void save_picture(const std::string& path, const std::vector<Round>& table) {
  Picture picture("What four workers know of the mean of all observations", "round",
                  "off by, in standard deviations");
  picture.set("key outside right top Left reverse");
  Picture::Rows rows;
  for (const Round& now : table) {
    rows.push_back({static_cast<double>(rows.size() + 1), now.alone, now.totals, now.shared});
  }
  picture.rows(rows);
  const char* const titles[] = {"the worst worker alone", "totals merged", "exchanged"};
  for (std::size_t curve = 0; curve < 3; ++curve) {
    picture.draw("using 1:" + std::to_string(curve + 2) + " with linespoints lw 2 pt 7 ps 0.6 " +
                     colour(curve == 0 ? 3 : curve),
                 titles[curve]);
  }
  picture.save(path);
}

/// The largest difference in standard deviations and in parts of the variance; the counts are
/// equal.
double difference(const Moments& some, const Moments& others) {
  const Eigen::ArrayXd variance = others.population_variance().array() + 1e-9;
  const Eigen::ArrayXd of_means = (some.mean - others.mean).array() / variance.sqrt();
  const Eigen::ArrayXd of_variances =
      (some.population_variance() - others.population_variance()).array() / variance;
  return std::max(of_means.abs().maxCoeff(), of_variances.abs().maxCoeff());
}

/// Whether pixels have mean 0 and variance 1, but for those of hardly any variance before.
bool is_normal(const Moments& normalised, const Moments& before) {
  const Eigen::VectorXd variance = normalised.population_variance();
  const Eigen::VectorXd variance_before = before.population_variance();
  for (Eigen::Index pixel = 0; pixel < pixels; ++pixel) {
    if (variance_before[pixel] < 0.01) continue;  // clipped, or ruled by epsilon
    if (std::abs(normalised.mean[pixel]) > 1e-3 || std::abs(variance[pixel] - 1) > 0.01) {
      return false;
    }
  }
  return true;
}

int run(const Arguments& arguments) {
  const DigitsData data = digits_of(arguments);
  const Moments all = batchnorm::moments_of(data.training.images);  // of one machine
  Comparison comparison(all);
  const auto workers = work(worlds_of(data.training), comparison);
  const std::vector<Round>& table = comparison.table();
  print(table);

  const Moments shared = workers[0].total();
  const double off = difference(shared, all);
  std::printf(
      "\nin the end the workers know of %d observations, one machine of %d; mean and variance\n"
      "differ by %.0e\n",
      static_cast<int>(shared.count), static_cast<int>(all.count), off);
  if (arguments.csv) save_text(*arguments.csv, table_of(table));
  if (arguments.plot) save_picture(*arguments.plot, table);

  Checks checks;
  checks.expect(shared.count == all.count && off < 1e-12, "what one machine knows");
  for (const auto& worker : workers) {
    checks.expect(to_bytes(worker.total()) == to_bytes(shared), "the same bits of all workers");
  }
  checks.expect(is_normal(batchnorm::moments_of(Normaliser(shared)(data.training.images)), all),
                "normalised observations of mean 0 and variance 1");
  checks.expect(table.back().times_counted > 1000,
                "totals that are merged to count again and again");
  checks.expect(table.back().alone > 0.1 && table.back().totals > 0.01,
                "workers alone, and totals that are merged, to be off");
  return checks.exit_code();
}

}  // namespace

int main(int argc, char** argv) {
  const example::Program program = {
      "10_observation_normaliser",
      "Normalises observations of several workers, who exchange what they have seen.",
      {"--data", "--csv", "--plot", "--seed"}};
  return example::run_program(program, argc, argv, run);
}
