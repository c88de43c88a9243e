// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LOAD_OPTIONS_HPP
#define BATCHNORM_IO_LOAD_OPTIONS_HPP

#include <optional>
#include <utility>

#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The number that is added to a variance inside the root, as a type of its own: a bare number in
/// a call could be anything. Files of the frameworks do not carry it and it differs between layers
/// of one network, so there is no default. Thread safety: a plain value.
struct Epsilon {
  double value;  ///< epsilon, in the unit of the variance

  /// From the number.
  /// @throws std::invalid_argument when it is negative or not finite.
  explicit Epsilon(double number) : value(number) {
    Options options;
    options.epsilon = number;
    validate(options);
  }
};

/// What a file does not say about a layer, and the caller has to. Each call returns changed
/// options.
///
///     load_state<float>(file, "1.", Epsilon(1e-5));
///     load_state<float>(file, "1.", LoadOptions(Epsilon(1e-3)).named(Naming::keras()));
///     load_state<float>(file, "1.", LoadOptions(Epsilon(1e-5)).without_scale_and_shift());
///     load_state<float>(file, "1.", LoadOptions::saved());
///
/// Errors: none. Thread safety: immutable.
class LoadOptions {
 public:
  /// The epsilon of the layer. A file that carries another one is refused.
  LoadOptions(Epsilon epsilon) : epsilon_(epsilon) {}

  /// Epsilon is in the file, because this library has written it, or a system that keeps it beside
  /// the vectors of a layer (dfdx, RTNeural, Keras by way of read_keras). Other files are refused.
  static LoadOptions saved() { return LoadOptions(); }

  /// The names of one system only, its `naming`; otherwise the names that are there decide.
  LoadOptions named(Naming naming) const {
    LoadOptions changed = *this;
    changed.naming_ = std::move(naming);
    return changed;
  }

  /// The layer has no scale: gamma is 1, and whatever vector stands beside it is none. Without this
  /// word, a vector that could be the gamma of an unknown system is an error; with it, a gamma is.
  LoadOptions without_scale() const {
    LoadOptions changed = *this;
    changed.has_scale_ = false;
    return changed;
  }

  /// The layer has no shift: the same for beta, which is 0.
  LoadOptions without_shift() const {
    LoadOptions changed = *this;
    changed.has_shift_ = false;
    return changed;
  }

  /// The layer has neither (PyTorch: affine=False). Files with statistics alone are refused without
  /// this word, because gamma and beta are usually there under names that are not known.
  LoadOptions without_scale_and_shift() const { return without_scale().without_shift(); }

  /// The layer keeps no running statistics (PyTorch: track_running_stats=False). Without this word,
  /// vectors that could be statistics under names that are not known are an error.
  LoadOptions without_statistics() const {
    LoadOptions changed = *this;
    changed.has_statistics_ = false;
    return changed;
  }

  /// For networks that were trained with inplace_abn, which multiplies by |weight| + epsilon:
  /// that becomes gamma. (Rota Bulo, Porzi and Kontschieder 2018, arXiv:1712.02616, and the source
  /// of the package, which differ in it.)
  LoadOptions from_inplace_abn() const {
    LoadOptions changed = *this;
    changed.is_inplace_abn_ = true;
    return changed;
  }

  /// What is stored in the place of the running variance. Needed where versions of a system
  /// differ: Keras 1 calls `running_std` what is a deviation in some versions and a variance in
  /// others.
  LoadOptions storing(StoredVariance stored) const {
    LoadOptions changed = *this;
    changed.stored_variance_ = stored;
    return changed;
  }

  /// The layer adds epsilon to the deviation, not to the variance: (x - mean) / (sqrt(v) +
  /// epsilon), as Darknet does on CPUs. The state gets (sqrt(v) + epsilon)^2 as its variance, and
  /// the layer an epsilon of 0, which gives the same outputs.
  LoadOptions epsilon_outside_root() const {
    LoadOptions changed = *this;
    changed.is_epsilon_outside_ = true;
    return changed;
  }

  /// The file has gamma - 1, so that weight decay pulls gamma to 1 (KataGo, BigGAN).
  LoadOptions adding_one_to_gamma() const {
    LoadOptions changed = *this;
    changed.adds_one_ = true;
    return changed;
  }

  /// gamma is the one in the file although layers of the system count it as 1 by default (MXNet:
  /// fix_gamma=False).
  LoadOptions without_fixed_gamma() const {
    LoadOptions changed = *this;
    changed.has_free_gamma_ = true;
    return changed;
  }

  /// How the layer updates its running statistics, and which variance it averages, which no file of
  /// a framework says: names tell a system, and a system has only a usual rule.
  LoadOptions updating(RunningUpdate running, VarianceEstimator variance) const {
    LoadOptions changed = *this;
    changed.running_ = running;
    changed.running_variance_ = variance;
    return changed;
  }

  /// What was said, for each word above; empty or false where nothing was.
  const std::optional<Epsilon>& epsilon() const { return epsilon_; }
  const std::optional<Naming>& naming() const { return naming_; }  ///< of named()
  bool is_inplace_abn() const { return is_inplace_abn_; }          ///< of from_inplace_abn()
  /// Of storing().
  const std::optional<StoredVariance>& stored_variance() const { return stored_variance_; }
  /// Of epsilon_outside_root().
  bool is_epsilon_outside_root() const { return is_epsilon_outside_; }
  bool adds_one_to_gamma() const { return adds_one_; }     ///< of adding_one_to_gamma()
  bool has_free_gamma() const { return has_free_gamma_; }  ///< of without_fixed_gamma()
  /// Of updating().
  const std::optional<RunningUpdate>& running() const { return running_; }
  /// Of updating().
  const std::optional<VarianceEstimator>& running_variance() const { return running_variance_; }

  /// False where the caller has said that there is none; otherwise nothing is known.
  std::optional<bool> has_scale() const { return has_scale_; }
  std::optional<bool> has_shift() const { return has_shift_; }            ///< likewise
  std::optional<bool> has_statistics() const { return has_statistics_; }  ///< likewise

 private:
  LoadOptions() = default;

  std::optional<Epsilon> epsilon_;
  std::optional<Naming> naming_;
  std::optional<bool> has_scale_;
  std::optional<bool> has_shift_;
  std::optional<bool> has_statistics_;
  std::optional<StoredVariance> stored_variance_;
  std::optional<RunningUpdate> running_;
  std::optional<VarianceEstimator> running_variance_;
  bool is_inplace_abn_ = false;
  bool is_epsilon_outside_ = false;
  bool adds_one_ = false;
  bool has_free_gamma_ = false;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LOAD_OPTIONS_HPP
