// SPDX-License-Identifier: MIT
// Looks at the batch norms of a checkpoint, and folds them into the layers beside them:
//
//   08_fold_checkpoint inspect FILE               also .onnx, .h5, .keras and TensorFlow.js
//   08_fold_checkpoint fold IN OUT --epsilon 1e-5
//   08_fold_checkpoint demo
//
// --help says everything. Where the pieces are: support/fold_plan.hpp finds out which batch norm
// belongs to which layer, support/fold_layer.hpp folds one and runs probes through both files.
//
// Prints as a demo, among other things (the last digits depend on compiler and processor),
//
//   folded  largest gain  gamma 0, < 0  subnormal  vanished  bound (ulp)  probes (ulp)
//   0 -> 1  0.726         0, 1          0          0         0.287        0.172
//   3 -> 4  1.26          0, 0          0          0         0.21         0.0584
//   ...
//   largest difference of an output on 100 inputs: 1.7e-06

#include <batchnorm/io/checkpoint.hpp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/checkpoint_table.hpp"
#include "support/fold_arguments.hpp"
#include "support/fold_demo.hpp"
#include "support/fold_layer.hpp"
#include "support/fold_plan.hpp"
#include "support/open_model.hpp"
#include "support/output_file.hpp"
#include "support/progress.hpp"

namespace {

using namespace example;

constexpr int done = 0;
constexpr int something_left = 1;
constexpr int bad_input = 2;

std::vector<FoundBatchNorm> find_norms(const Tensors& tensors) {
  std::vector<FoundBatchNorm> norms = batchnorm::find_batch_norms(tensors);
  if (!norms.empty()) return norms;
  for (const batchnorm::LeftOut& kind : batchnorm::find_left_out(tensors, norms)) {
    std::printf("%s\n", kind.text().c_str());
  }
  throw std::runtime_error(tensors.name() + ": no batch norm is in this file");
}

int inspect(const FoldArguments& arguments) {
  const std::string& path = arguments.files[0];
  if (reader_of(path) == FileReader::onnx) return inspect_onnx(path) == 0 ? done : bad_input;
  const Tensors tensors = open_model(path);
  const std::vector<FoundBatchNorm> norms = find_norms(tensors);
  const FoldPlan plan = FoldPlanner(tensors, norms, arguments).plan();
  return print_batch_norms(tensors, norms, plan) == 0 ? done : bad_input;
}

/// A fold that was done, and its certificate.
struct FinishedFold {
  PlannedFold fold;
  FoldMaps maps;
  FoldCertificate certificate;
};

/// Folds what can be folded; what cannot joins the others that are left, with the reason.
std::vector<FinishedFold> fold_all(const Tensors& from, Tensors& to, FoldPlan& plan,
                                   const FoldArguments& arguments) {
  std::vector<FinishedFold> finished;
  ProgressLine progress;
  for (const PlannedFold& fold : plan.folds) {
    progress.show_share("folding", finished.size(), plan.folds.size(), printable(fold.text()));
    try {
      const FoldMaps maps(from, fold, arguments);
      finished.push_back({fold, maps, fold_layer(from, to, fold, maps, arguments)});
    } catch (const UsageError&) {
      throw;
    } catch (const std::exception& error) {
      for (const FoundBatchNorm& norm : fold.norms()) {
        plan.left.push_back({name_of(norm), error.what()});
      }
    }
  }
  return finished;
}

/// Writes the file, and reads what was folded back from the disk.
void write(const std::string& path, const Tensors& tensors,
           const std::vector<FinishedFold>& folds) {
  {
    ProgressLine progress;
    batchnorm::write_safetensors(path, tensors, [&](std::uint64_t written, std::uint64_t all) {
      constexpr std::uint64_t megabyte = 1000000;
      progress.show_share(
          "writing", written, all,
          std::to_string(written / megabyte) + " of " + std::to_string(all / megabyte) + " MB");
    });
  }
  const Tensors written = batchnorm::open_checkpoint(path);
  for (const FinishedFold& fold : folds) {
    for (const std::string& key : {fold.fold.layer.weight, fold.fold.layer.bias}) {
      const batchnorm::Tensor& expected = tensors.tensor(key);
      const batchnorm::Tensor& found = written.tensor(key);
      if (found.size != expected.size ||
          std::memcmp(found.bytes.get(), expected.bytes.get(), found.size) != 0) {
        throw std::runtime_error(path + ": " + key + " reads otherwise than it was written");
      }
    }
  }
}

/// Runs probes through the layers of both checkpoints and prints the certificates.
/// @return whether all of them are kept
bool verify(const Tensors& before, const Tensors& after, const std::vector<FinishedFold>& folds,
            int probes) {
  Table table = certificate_table();
  bool kept = true;
  {
    ProgressLine progress;
    std::size_t finished = 0;
    for (const FinishedFold& fold : folds) {
      progress.show_share("probing", finished++, folds.size(), printable(fold.fold.text()));
      const double probed = probe_both(before, after, fold.fold, fold.maps, probes);
      table.push_back(certificate_row(fold.fold, fold.certificate, probed));
      kept =
          kept && fold.certificate.probes_agree() &&
          probed <= fold.certificate.bound_within_ulps + probe_tolerance(before, fold.fold.layer);
    }
  }
  if (folds.empty()) return kept;
  std::fputs(batchnorm::detail::lines_of(table).c_str(), stdout);
  for (const FinishedFold& fold : folds) print_reading(fold.fold, fold.certificate);
  return kept;
}

/// The program that loads the folded file has to construct these layers with a bias.
void print_new_biases(const Tensors& before, const std::vector<FinishedFold>& folds) {
  std::string names;
  for (const FinishedFold& fold : folds) {
    if (before.contains(fold.fold.layer.bias)) continue;
    names += (names.empty() ? "" : ", ") + printable(fold.fold.layer.name());
  }
  if (!names.empty()) std::printf("had no bias and have one now: %s\n\n", names.c_str());
}

int fold(const FoldArguments& arguments) {
  const std::string& path = arguments.files[1];
  if (!arguments.dry_run) check_can_save(path);
  const Tensors before = batchnorm::open_checkpoint(arguments.files[0]);
  const std::vector<FoundBatchNorm> norms = find_norms(before);
  FoldPlan plan = FoldPlanner(before, norms, arguments).plan();
  Tensors after = before;
  const std::vector<FinishedFold> folds = fold_all(before, after, plan, arguments);
  print_new_biases(before, folds);
  const bool kept = verify(before, after, folds, arguments.probes);
  for (const NormAndText& doubt : plan.doubts) {
    std::printf("look at this fold: %s: %s\n", printable(doubt.norm).c_str(),
                printable(doubt.text).c_str());
  }
  for (const NormAndText& left : plan.left) {
    std::printf("left as it is: %s: %s\n", printable(left.norm).c_str(),
                printable(left.text).c_str());
  }
  if (!kept) throw std::runtime_error("probes differ by more than certified; nothing was written");
  if (!arguments.dry_run && !folds.empty()) write(path, after, folds);
  std::printf("%zu folds of %zu batch norms; %s\n", folds.size(), norms.size(),
              arguments.dry_run ? "nothing was written (--dry-run)"
              : folds.empty()   ? "nothing was written"
                                : ("wrote " + path).c_str());
  return plan.left.empty() ? done : something_left;
}

int run(const FoldArguments& arguments) {
  if (arguments.command == "help") {
    std::fputs(fold_usage, stdout);
    return done;
  }
  if (arguments.command == "inspect") return inspect(arguments);
  if (arguments.command == "fold") return fold(arguments);
  return demonstrate([](const FoldArguments& of_demo) { return run(of_demo); });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(FoldParser(argc, argv).parse());
  } catch (const UsageError& error) {
    std::fprintf(stderr, "08_fold_checkpoint: %s\n(--help says what there is)\n", error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "08_fold_checkpoint: %s\n", error.what());
  }
  return bad_input;
}
