// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_ARGUMENTS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_ARGUMENTS_HPP

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "support/usage_error.hpp"

namespace example {

inline constexpr const char* usage =
    R"(Trains a network with batch norm to read handwritten digits, then reads them one at a time.

usage: 02_digits [options]

  --data FILE    digits to learn from; without it the program draws digits of its own
  --save FILE    save the trained network (safetensors, the names of PyTorch)
  --load FILE    load a network instead of training one
  --epochs N     how often to go through the training images (default 60)
  --seed N       start of the random numbers (default 1)
  --help         this text

FILE of --data is optdigits.tes of "Optical Recognition of Handwritten Digits": 1797 lines of
64 pixels (0 to 16) and the digit, separated by commas. Lines 1 to 1437 train, the others test.

  where    UCI Machine Learning Repository, https://doi.org/10.24432/C50P49
  cite     E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits,
           UCI Machine Learning Repository
  licence  Creative Commons Attribution 4.0 International (CC BY 4.0),
           https://creativecommons.org/licenses/by/4.0/

exit code: 0 all well, 1 the result is worse than it has to be, 2 wrong arguments or files
)";

struct Arguments {
  std::optional<std::string> data, save, load;
  std::optional<int> epochs;
  std::uint64_t seed = 1;
  bool help = false;
};

inline bool is_help(const std::string& option) {
  return option == "--help" || option == "-h";
}

/// Options and their values, as `--option VALUE` or `--option=VALUE`.
inline std::map<std::string, std::string> split_arguments(int argc, char** argv) {
  std::map<std::string, std::string> given;
  for (int k = 1; k < argc; ++k) {
    std::string option = argv[k];
    std::string value;
    const std::size_t equals = option.find('=');
    if (equals != std::string::npos) {
      value = option.substr(equals + 1);
      option.resize(equals);
    }
    if (option.rfind("-", 0) != 0) throw UsageError("unexpected argument \"" + option + "\"");
    const bool value_follows = k + 1 < argc && std::string(argv[k + 1]).rfind("--", 0) != 0;
    if (!is_help(option) && equals == std::string::npos && value_follows) value = argv[++k];
    if (!given.emplace(option, value).second) throw UsageError(option + " is given twice");
  }
  return given;
}

inline Arguments parse_arguments(int argc, char** argv) {
  constexpr std::uint64_t most_epochs = 100000;
  Arguments arguments;
  for (const auto& [option, value] : split_arguments(argc, argv)) {
    if (is_help(option)) {
      arguments.help = true;
      continue;
    }
    if (option != "--data" && option != "--save" && option != "--load" && option != "--epochs" &&
        option != "--seed") {
      throw UsageError("unknown option " + option);
    }
    if (value.empty()) throw UsageError(option + " needs a value");
    if (option == "--data") arguments.data = value;
    if (option == "--save") arguments.save = value;
    if (option == "--load") arguments.load = value;
    if (option == "--epochs") {
      arguments.epochs = static_cast<int>(parse_number(option, value, 1, most_epochs));
    }
    if (option == "--seed") arguments.seed = parse_number(option, value, 0, UINT64_MAX);
  }
  if (arguments.load && arguments.epochs) {
    throw UsageError("--epochs is for training, and with --load nothing is trained");
  }
  return arguments;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_ARGUMENTS_HPP
