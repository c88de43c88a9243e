// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_NAMING_HPP
#define BATCHNORM_IO_NAMING_HPP

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What the tensors of a batch norm layer are called: by the system that saved them, behind the
// prefix of the layer. Longer than most: one maker per system, one question per peculiarity.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The parts of a text between single separators; "" has one part, which is empty.
inline std::vector<std::string> split_text(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char letter : text) {
    if (letter == separator) {
      parts.emplace_back();
    } else {
      parts.back() += letter;
    }
  }
  return parts;
}

}  // namespace detail

/// The names that a system gives to the tensors of a layer, and what it means by them. A plain
/// value; the makers are the rows of the table in systems.hpp, which says where they differ.
///
/// Systems with two trees keep parameters and statistics apart (Flax: `params` and `batch_stats`).
/// TensorFlow's :0 behind Keras' names is read, too. Some have a list of arrays instead of names.
/// Such a list is a layer only when the caller names the system, when this library has saved it, or
/// when it is the folder `vars` of a layer of Keras 3, or a list with the factor of Caffe, that is
/// called batch norm. A list that lacks an array is refused until the caller says which. Errors:
/// none, unless a maker says so. Cost: constant; copies share the names. Thread safety: immutable.
/// Source: the code of the systems that save and load these files.
class Naming {
 public:
  using Names = std::vector<std::string>;  ///< alternatives, the usual one first

  static Naming pytorch() { return of("PyTorch"); }    ///< weight, bias, running_mean, running_var
  static Naming torch_fx() { return of("torch.fx"); }  ///< those of PyTorch, joined by underscores
  static Naming keras() { return of("Keras"); }     ///< gamma, beta, moving_mean, moving_variance
  static Naming keras1() { return of("Keras 1"); }  ///< gamma, beta, running_mean, running_std
  static Naming keras3() { return of("Keras 3"); }  ///< the list `vars` of a layer
  static Naming tensorflow2() { return of("TensorFlow 2"); }  ///< those of Keras, in a SavedModel
  static Naming slim() { return of("TF-slim"); }  ///< those of Keras, in a folder BatchNorm
  static Naming slim_frozen() { return of("TF-slim, frozen"); }  ///< the same, gamma as Const
  static Naming tf2onnx() { return of("tf2onnx"); }    ///< ReadVariableOp:0, in ONNX files
  static Naming flax() { return of("Flax"); }          ///< scale, bias, mean, var in two trees
  static Naming haiku() { return of("Haiku"); }        ///< scale, offset, and the debiased averages
  static Naming onnx() { return of("ONNX"); }          ///< scale, B, input_mean, input_var
  static Naming mlx() { return of("MLX"); }            ///< those of PyTorch, no counter
  static Naming tinygrad() { return of("tinygrad"); }  ///< those of PyTorch
  static Naming candle() { return of("candle"); }      ///< those of PyTorch, no counter
  static Naming burn() { return of("Gluon or burn"); }  ///< gamma, beta, running_mean, running_var
  /// scale, bias, running_mean, running_var, epsilon
  static Naming dfdx() { return of("dfdx"); }
  /// scale, bias, running_mean, running_var in two trees
  static Naming lux() { return of("Lux"); }
  /// gamma, which counts as 1 unless told otherwise, beta, moving_mean, moving_var
  static Naming mxnet() { return of("MXNet Module"); }
  static Naming gluon() { return of("Gluon or burn"); }  ///< as burn
  static Naming paddle() { return of("Paddle"); }        ///< weight, bias, _mean, _variance
  static Naming paddle_static() { return of("Paddle, static"); }  ///< w_0, b_0, w_1, w_2
  static Naming mindspore() { return of("MindSpore"); }           ///< those of Keras, behind dots
  static Naming chainer() { return of("Chainer"); }  ///< gamma, beta, avg_mean, avg_var
  static Naming caffe() { return of("Caffe"); }      ///< lists of sums and their factor
  static Naming caffe2() { return of("Caffe2"); }    ///< s, b, rm, riv
  /// scales, biases, rolling_mean, rolling_variance
  static Naming darknet() { return of("Darknet"); }
  static Naming ncnn() { return of("ncnn"); }        ///< slope, bias, mean, var; epsilon is in var
  static Naming lasagne() { return of("Lasagne"); }  ///< gamma, beta, mean, inv_std
  static Naming matconvnet() { return of("MatConvNet"); }  ///< g, b, m: mean and deviation
  static Naming coreml() { return of("Core ML"); }         ///< gamma, beta, mean, variance
  static Naming katago() { return of("KataGo"); }          ///< gamma, beta, mean, variance, epsilon
  static Naming katago_pytorch() { return of("KataGo, PyTorch"); }  ///< a deviation is stored
  static Naming leela_zero() { return of("Leela Zero"); }           ///< no gamma; beta is scaled
  /// bn_gammas, bn_betas, bn_means, bn_stddivs
  static Naming leela_chess_zero() { return of("Leela Chess Zero"); }
  /// scale or weight, bias, ra_mean, ra_var
  static Naming stable_baselines() { return of("Stable Baselines"); }
  static Naming rtneural() { return of("RTNeural"); }  ///< a list: gamma, beta, mean, variance
  static Naming nam() { return of("NAM"); }  ///< a list: mean, variance, gamma, beta, epsilon

  /// The naming of a row of the table.
  /// @throws std::invalid_argument when there is no such system; the text names all of them
  static Naming of(const std::string& system) {
    std::string names;
    for (const Naming& naming : all()) {
      if (system == naming.system()) return naming;
      names += (names.empty() ? "" : ", ") + detail::in_quotes(naming.system());
    }
    detail::fail_argument("Naming::of", "name of a system", "one of " + names,
                          detail::in_quotes(system));
  }

  /// All rows of the table. Made once, when they are first asked for.
  static const std::vector<Naming>& all() {
    static const std::vector<Naming> namings = rows(true);
    return namings;
  }

  /// The systems that are recognised by themselves, in the order in which they are tried.
  static const std::vector<Naming>& known() {
    static const std::vector<Naming> namings = rows(false);
    return namings;
  }

  /// The names of another system.
  /// @param system   what reports call it
  /// @param names    for each Role the names that are read; the first is written, none is allowed
  /// @param options  what its layers do where a file says nothing; its epsilon is never used
  Naming(std::string system, std::array<Names, roles> names, const Options& options = {})
      : data_(std::make_shared<const Data>(Data(std::move(system), std::move(names), options))) {}

  /// What it is called in reports and by of().
  const std::string& system() const { return data_->system; }
  /// The names that are read for a role.
  const Names& names(Role role) const { return data_->names[static_cast<std::size_t>(role)]; }

  /// The name that is written for a role; empty when the system has no such tensor.
  std::string name(Role role) const { return names(role).empty() ? "" : names(role).front(); }

  /// Tensors that belong to a layer and that nothing is computed with.
  const Names& idle_names() const { return data_->idle_names; }

  /// Epsilon, update rule and variance estimator that layers of that system usually have. Its
  /// epsilon is for messages: every layer may have another one, so that none is assumed.
  const Options& options() const { return data_->options; }

  /// What a file has in the place of the running variance.
  StoredVariance stored_variance() const { return data_->stored; }

  /// The first part of the path of parameters and statistics, where these are two trees.
  const std::string& parameters_tree() const { return data_->parameters_tree; }
  const std::string& statistics_tree() const { return data_->statistics_tree; }  ///< likewise

  /// The letters that may end the prefix of a layer.
  const std::string& separators() const { return data_->separators; }
  /// What the last part of the prefix has to begin with.
  const std::string& folder() const { return data_->folder; }

  /// Whether the tensors are a list, told apart by their number alone.
  bool is_list() const { return is(detail::system_table::list); }

  /// Whether nothing else than statistics of batch norm has such names, so that a layer of which
  /// something is wrong is one all the same.
  bool is_telling() const { return is(detail::system_table::telling); }

  /// Whether a list has one array less without gamma, and without beta.
  bool list_shrinks() const { return is(detail::system_table::shrinks); }
  /// Whether gamma and beta are a list of their own, that of the layer called scale.
  bool has_scale_layer() const { return is(detail::system_table::scale_layer); }
  /// Whether gamma counts as 1 unless the layer says otherwise (MXNet's fix_gamma).
  bool has_fixed_gamma() const { return is(detail::system_table::fixed_gamma); }
  /// Whether the caller has to say what is stored in the place of the variance.
  bool needs_stored_variance() const { return is(detail::system_table::variance_unsaid); }
  /// Whether mean and deviation are the two columns of one tensor.
  bool has_moments() const { return is(detail::system_table::moments); }
  /// Whether beta is stored times sqrt(v + e).
  bool has_scaled_beta() const { return is(detail::system_table::scaled_beta); }
  /// Whether a deviation of 0 counts as 1e-4.
  bool replaces_zero_deviation() const { return is(detail::system_table::zero_deviation); }
  /// Whether an epsilon of 0 counts as 1e-5.
  bool replaces_zero_epsilon() const { return is(detail::system_table::zero_epsilon); }

  /// Whether the epsilon of a layer is one of its tensors.
  bool saves_epsilon() const { return data_->saves_epsilon; }
  /// Whether its tensors are telling only then.
  bool needs_epsilon() const { return is(detail::system_table::with_epsilon); }

  /// Whether the prefix of a layer has to say batch norm, because names only count its tensors.
  bool must_be_called() const { return is(detail::system_table::called); }

  /// Whether every bit of a state survives: nothing is stored in another form.
  bool is_exact() const { return data_->stored == StoredVariance::variance && !has_scaled_beta(); }

  /// Whether both are the same.
  friend bool operator==(const Naming& a, const Naming& b) {
    return a.data_ == b.data_ || (a.system() == b.system() && a.data_->names == b.data_->names);
  }
  /// Whether they differ.
  friend bool operator!=(const Naming& a, const Naming& b) { return !(a == b); }

 private:
  /// What copies share; nobody changes it.
  struct Data {
    Data(std::string system_name, std::array<Names, roles> all_names, const Options& usual)
        : system(std::move(system_name)), names(std::move(all_names)), options(usual) {}

    explicit Data(const detail::System& row)
        : system(row.name),
          options(usual_options(row)),
          stored(row.stored),
          separators(row.separators),
          peculiar(row.peculiar) {
      const Names endings = detail::split_text(row.endings, ' ');
      add_names(Role::gamma, row.gamma, endings);
      add_names(Role::beta, row.beta, endings);
      add_names(Role::mean, row.mean, endings);
      add_names(Role::variance, row.variance, endings);
      for (const std::string& other : detail::split_text(row.others, ' ')) add_other(other);
      saves_epsilon = !names[static_cast<std::size_t>(Role::epsilon)].empty();
      // Whoever writes one beside the vectors of a layer, means it.
      if (!saves_epsilon && (peculiar & detail::system_table::list) == 0) {
        names[static_cast<std::size_t>(Role::epsilon)] = {"epsilon", "eps"};
      }
      const std::string place = row.place;
      const std::size_t colon = place.find(':');
      const Names parts = detail::split_text(place.substr(colon + 1), ' ');
      if (place.substr(0, colon) == "folder") folder = parts[0];
      if (place.substr(0, colon) != "trees") return;
      parameters_tree = parts[0];
      statistics_tree = parts[1];
    }

    static Options usual_options(const detail::System& row) {
      Options options;
      options.epsilon = row.epsilon;
      options.running_variance = row.estimator;
      switch (row.update.of) {
        case detail::UpdateWeight::Of::new_one:
          options.running = RunningUpdate::take_new(row.update.weight);
          break;
        case detail::UpdateWeight::Of::old_average:
          options.running = RunningUpdate::keep_old(row.update.weight);
          break;
        case detail::UpdateWeight::Of::old_debiased:
          options.running = RunningUpdate::keep_old_debiased(row.update.weight);
          break;
      }
      return options;
    }

    void add_names(Role role, const std::string& alternatives, const Names& endings) {
      for (const std::string& name : detail::split_text(alternatives, ' ')) {
        if (name.empty()) continue;
        for (const std::string& ending : endings) {
          names[static_cast<std::size_t>(role)].push_back(name + ending);
        }
      }
    }

    void add_other(const std::string& other) {
      constexpr std::pair<const char*, Role> words[] = {{"counter", Role::counter},
                                                        {"epsilon", Role::epsilon},
                                                        {"new_weight", Role::new_weight},
                                                        {"factor", Role::factor},
                                                        {"input_bias", Role::input_bias}};
      const std::size_t equals = other.find('=');
      if (equals == std::string::npos) return;
      const std::string name = other.substr(equals + 1);
      for (const auto& [word, role] : words) {
        if (other.compare(0, equals, word) == 0) add_names(role, name, {""});
      }
      if (other[0] == '-') idle_names.push_back(name);
    }

    std::string system;
    std::array<Names, roles> names;
    Names idle_names;
    Options options;
    std::string parameters_tree;
    std::string statistics_tree;
    StoredVariance stored = StoredVariance::variance;
    std::string separators = "./";
    std::string folder;
    bool saves_epsilon = false;
    unsigned peculiar = 0;
  };

  explicit Naming(const detail::System& row) : data_(std::make_shared<const Data>(Data(row))) {}

  static std::vector<Naming> rows(bool with_those_asked_for) {
    std::vector<Naming> namings;
    for (const detail::System& row : detail::systems) {
      const bool asked_for = (row.peculiar & detail::system_table::asked_for) != 0;
      if (with_those_asked_for || !asked_for) namings.push_back(Naming(row));
    }
    return namings;
  }

  bool is(unsigned peculiarity) const { return (data_->peculiar & peculiarity) != 0; }

  std::shared_ptr<const Data> data_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_NAMING_HPP
