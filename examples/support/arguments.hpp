// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_ARGUMENTS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_ARGUMENTS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "support/usage_error.hpp"

namespace example {

/// What a program about digits says of itself, and which of the options below it has.
struct Program {
  std::string name;
  std::string about;
  std::vector<std::string> options;  ///< in the order of the help; --help is always there
  int epochs = 0;                    ///< of the training, unless --epochs says otherwise
};

struct Arguments {
  std::optional<std::string> data, save, load, csv, plot;
  std::optional<int> epochs;
  std::uint64_t seed = 1;
  bool help = false;
};

inline std::string help_of(const std::string& option, const Program& program) {
  if (option == "--data") {
    return "  --data FILE    digits to learn from; without it the program draws digits of its "
           "own\n";
  }
  if (option == "--save") {
    return "  --save FILE    save the trained network: NAME.onnx, or safetensors with the names of "
           "PyTorch\n";
  }
  if (option == "--load") return "  --load FILE    load a network instead of training one\n";
  if (option == "--csv") return "  --csv FILE     save the numbers as a table\n";
  if (option == "--plot") return "  --plot FILE    save a picture of them (SVG); needs gnuplot\n";
  if (option == "--seed") return "  --seed N       start of the random numbers (default 1)\n";
  return "  --epochs N     how often to go through the training images (default " +
         std::to_string(program.epochs) + ")\n";
}

inline std::string usage_of(const Program& program) {
  std::string text = program.about + "\n\nusage: " + program.name + " [options]\n\n";
  for (const std::string& option : program.options) text += help_of(option, program);
  return text + R"(  --help         this text

FILE of --data is optdigits.tes of "Optical Recognition of Handwritten Digits": 1797 lines of
64 pixels (0 to 16) and the digit, separated by commas. Lines 1 to 1437 train, the others test.

  where    UCI Machine Learning Repository, https://doi.org/10.24432/C50P49
  cite     E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits,
           UCI Machine Learning Repository
  licence  Creative Commons Attribution 4.0 International (CC BY 4.0),
           https://creativecommons.org/licenses/by/4.0/

exit code: 0 all well, 1 the result is worse than it has to be, 2 wrong arguments or files
)";
}

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

inline Arguments parse_arguments(const Program& program, int argc, char** argv) {
  constexpr std::uint64_t most_epochs = 100000;
  Arguments arguments;
  for (const auto& [option, value] : split_arguments(argc, argv)) {
    if (is_help(option)) {
      arguments.help = true;
      continue;
    }
    const auto& known = program.options;
    if (std::find(known.begin(), known.end(), option) == known.end()) {
      throw UsageError("unknown option " + option);
    }
    if (value.empty()) throw UsageError(option + " needs a value");
    if (option == "--data") arguments.data = value;
    if (option == "--save") arguments.save = value;
    if (option == "--load") arguments.load = value;
    if (option == "--csv") arguments.csv = value;
    if (option == "--plot") arguments.plot = value;
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
