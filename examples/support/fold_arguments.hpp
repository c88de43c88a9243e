// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FOLD_ARGUMENTS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FOLD_ARGUMENTS_HPP

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/usage_error.hpp"
#include "support/weight_layer.hpp"

namespace example {

inline constexpr const char* fold_usage =
    R"(NAME
  08_fold_checkpoint - look at the batch norms of a checkpoint, and fold them into its weights

SYNOPSIS
  08_fold_checkpoint inspect FILE
  08_fold_checkpoint fold IN OUT --epsilon E [options]
  08_fold_checkpoint demo
  08_fold_checkpoint --help

DESCRIPTION
  FILE and IN are safetensors files, or the index.json of several. Batch norms are found by the
  names and shapes of their tensors, as PyTorch, Keras, Flax, Paddle, MXNet and some thirty other
  systems have them. FILE may also be an ONNX model, a .h5 or .keras of Keras, a model.json of
  TensorFlow.js, or a network of RTNeural or NAM in JSON: these carry their epsilon. 14_fold_onnx
  folds ONNX models.

  inspect prints a table of them: channels, type, the range of their statistics, the layer that each
  folds into, and below it what looks wrong, and what looks like batch norm and was left out.

  fold folds every batch norm into the layer before it (or into the linear layer behind it), runs
  random inputs through the layers with and without them, prints for each a certificate, and writes
  a checkpoint without batch norms to OUT, whole or not at all. A layer without bias gets one. A
  batch norm that cannot be folded exactly is named, with the reason, and left as it is.

  demo makes a small checkpoint in a temporary folder, folds it and checks the result.

PAIRS
  A batch norm belongs to the layer before it
    by number   1 follows 0, features.4.1 follows features.4.0: PyTorch's Sequential
    by name     bn1 follows conv1, or fc1, linear1, dense1; conv1_bn, conv1_BN, bn_conv1 follow conv1
  This is a convention and not in the file: look at the table before you trust it. Where bn1 stands
  in front of conv1 the shapes usually tell: when they contradict one pair of such names, no pair of
  these names is folded. A layer that may feed two batch norms is folded with neither, because the
  other one would get something else. What else uses its output cannot be seen.

  Some pairs are folded only when --pair says so:
    batch_normalization_1 and dense_1, whose numbers come from two counters
    none of 8 or more running means is negative: a ReLU seems to stand between layer and norm
    the layer has other tensors (lora_A, weight_g), or another one has the same weights
  When a tensor is called quant, weights are probably rounded when the network runs; --pair or
  --unquantised says that this does not matter.

OPTIONS
  --epsilon E        the number under the root, for all batch norms: 1e-5 is PyTorch's default, 1e-3
                     Keras'. There is no default here. Files of this library carry it themselves.
  --epsilon NORM=E   for one of them
  --pair A=B         B follows A; one of the two is a batch norm. A layer that stands behind its
                     batch norm is folded into when it is linear, or unpadded.
  --unpaired NORM    NORM does not follow the layer that its name suggests
  --unpadded LAYER   a convolution that does not pad; its batch norm may stand in front of it
  --transposed LAYER the weights are those of a transposed convolution. Where it has as many inputs
                     as outputs, they look like those of any other one
  --flattened LAYER=nchw
  --flattened LAYER=nhwc
                     between a batch norm and this linear layer behind it, a flatten puts the
                     positions of each channel side by side (nchw: PyTorch), or the channels of each
                     position (nhwc: Keras, Flax)
  --unquantised      fold although names of tensors speak of quantisation
  --flush-subnormal  store 0 for folded weights that are so small that they slow processors down
  --probes N         random inputs for each layer (default 8)
  --dry-run          do all of it but write nothing

EXIT STATUS
  0 done, 1 something was left unfolded, 2 bad input; nothing is written then

EXAMPLES
  08_fold_checkpoint inspect resnet18.safetensors
  08_fold_checkpoint inspect mobilenet.onnx
  08_fold_checkpoint fold resnet18.safetensors folded.safetensors --epsilon 1e-5 --dry-run
  08_fold_checkpoint fold net.safetensors out.safetensors --epsilon 1e-5 --epsilon head.1=1e-3
  08_fold_checkpoint fold keras.safetensors out.safetensors --epsilon 1e-3 --pair stem=stem_norm
)";

struct FoldArguments {
  std::string command;
  std::vector<std::string> files;
  std::optional<double> epsilon;
  std::map<std::string, double> epsilon_of;
  std::vector<std::pair<std::string, std::string>> pairs;
  std::set<std::string> unpadded, transposed, unpaired;
  std::map<std::string, WeightLayer::Flatten> flattened;
  bool unquantised = false;
  bool flush_subnormal = false;
  bool dry_run = false;
  int probes = 8;
};

/// A finite number, zero or larger, and nothing behind it.
inline double parse_epsilon(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value) || value < 0.0) {
    throw UsageError("--epsilon expects a number, zero or larger, got \"" + text + "\"");
  }
  return value;
}

/// Takes the words of a command line one after the other.
class FoldParser {
 public:
  FoldParser(int argc, char** argv) : words_(argv + 1, argv + argc) {}

  FoldArguments parse() {
    while (next_ < words_.size()) take(words_[next_++]);
    if (result_.command == "help") return result_;
    const std::size_t files = result_.command == "fold" ? 2 : result_.command == "inspect" ? 1 : 0;
    if (result_.command.empty()) throw UsageError("expected a command: inspect, fold or demo");
    if (result_.files.size() != files) {
      throw UsageError(result_.command + " expects " + std::to_string(files) + " files, got " +
                       std::to_string(result_.files.size()));
    }
    if (has_options_ && result_.command != "fold") {
      throw UsageError("options are for fold, and " + result_.command + " has none");
    }
    return result_;
  }

 private:
  void take(const std::string& word) {
    if (word == "--help" || word == "-h") {
      result_.command = "help";
      next_ = words_.size();
    } else if (word.rfind("-", 0) == 0) {
      has_options_ = true;
      take_option(word);
    } else if (!result_.command.empty()) {
      result_.files.push_back(word);
    } else if (word == "inspect" || word == "fold" || word == "demo") {
      result_.command = word;
    } else {
      throw UsageError("unknown command \"" + word + "\"");
    }
  }

  void take_option(const std::string& option) {
    if (option == "--flush-subnormal") {
      result_.flush_subnormal = true;
    } else if (option == "--dry-run") {
      result_.dry_run = true;
    } else if (option == "--epsilon") {
      take_epsilon(value(option));
    } else if (option == "--pair") {
      const auto [first, second] = split(option, value(option));
      result_.pairs.emplace_back(first, second);
    } else if (option == "--unpadded") {
      result_.unpadded.insert(value(option));
    } else if (option == "--transposed") {
      result_.transposed.insert(value(option));
    } else if (option == "--unpaired") {
      result_.unpaired.insert(value(option));
    } else if (option == "--flattened") {
      take_flattened(value(option));
    } else if (option == "--unquantised") {
      result_.unquantised = true;
    } else if (option == "--probes") {
      result_.probes = static_cast<int>(parse_number(option, value(option), 1, 1000000));
    } else {
      throw UsageError("unknown option " + option);
    }
  }

  std::string value(const std::string& option) {
    if (next_ == words_.size() || words_[next_].rfind("--", 0) == 0) {
      throw UsageError(option + " needs a value");
    }
    return words_[next_++];
  }

  void take_epsilon(const std::string& text) {
    if (text.find('=') == std::string::npos) {
      if (result_.epsilon) throw UsageError("--epsilon is given twice for all");
      result_.epsilon = parse_epsilon(text);
      return;
    }
    const auto [norm, number] = split("--epsilon", text);
    if (!result_.epsilon_of.emplace(norm, parse_epsilon(number)).second) {
      throw UsageError("--epsilon is given twice for " + norm);
    }
  }

  void take_flattened(const std::string& text) {
    const auto [layer, order] = split("--flattened", text);
    if (order != "nchw" && order != "nhwc") {
      throw UsageError("--flattened expects the order nchw or nhwc, got \"" + order + "\"");
    }
    const auto flatten = order == "nchw" ? WeightLayer::Flatten::nchw : WeightLayer::Flatten::nhwc;
    if (!result_.flattened.emplace(layer, flatten).second) {
      throw UsageError("--flattened is given twice for " + layer);
    }
  }

  static std::pair<std::string, std::string> split(const std::string& option,
                                                   const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      throw UsageError(option + " expects A=B, got \"" + text + "\"");
    }
    return {text.substr(0, equals), text.substr(equals + 1)};
  }

  std::vector<std::string> words_;
  std::size_t next_ = 0;
  FoldArguments result_;
  bool has_options_ = false;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FOLD_ARGUMENTS_HPP
