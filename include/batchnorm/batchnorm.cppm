// SPDX-License-Identifier: MIT
// The C++20 module batchnorm: what <batchnorm/batchnorm.hpp> declares for its users, without the
// inside and without macros. Needs clang 16 or later; with CMake 3.28 or later link
// batchnorm::module. cmake/packages/README.md says how.
//
//   #include <Eigen/Core>  // before the import, for the matrices that are passed in
//   import batchnorm;
//
// What needs more than Eigen (batchnorm/io/..., view/eigen_tensor.hpp, distributed/mpi.hpp) is
// included as a header, before the import. All names belong to the global module, so that one
// program, and one file, may have the headers as well as the module.

module;

#include "batchnorm/batchnorm.hpp"

export module batchnorm;

// Everything that the headers declare outside of detail: test_structure_module sees to it.
export namespace batchnorm {

// batchnorm/detail/check.hpp
using batchnorm::ErrorHandler;
using batchnorm::set_error_handler;

// batchnorm/detail/scalar.hpp
using batchnorm::accumulator_t;
using batchnorm::ChannelVector;
using batchnorm::Index;
using batchnorm::parameter_t;

// batchnorm/distributed/synchronize.hpp
using batchnorm::ParameterGradients;
using batchnorm::Synchronize;
using batchnorm::SynchronizeOptions;

// batchnorm/execution.hpp
using batchnorm::Execution;
using batchnorm::InstructionSet;
using batchnorm::Task;
#if defined(_OPENMP)
using batchnorm::openmp;
#endif

// batchnorm/fold/certificate.hpp
using batchnorm::FoldCertificate;
using batchnorm::FoldOptions;
using batchnorm::Padding;

// batchnorm/fold/fold.hpp
using batchnorm::fold_after;
using batchnorm::fold_before;
using batchnorm::fold_before_padded;
using batchnorm::PaddedFold;

// batchnorm/fold/geometry.hpp
using batchnorm::ConvolutionAxis;

// batchnorm/fold/inference_map.hpp
using batchnorm::InferenceMap;

// batchnorm/fold/weights.hpp
using batchnorm::convolution_hwio;
using batchnorm::convolution_oihw;
using batchnorm::depthwise_hwim;
using batchnorm::flattened_channels_first;
using batchnorm::flattened_channels_last;
using batchnorm::LayerKind;
using batchnorm::linear;
using batchnorm::transposed_hwoi;
using batchnorm::transposed_iohw;
using batchnorm::WeightSizes;
using batchnorm::WeightStrides;
using batchnorm::WeightView;

// batchnorm/frozen.hpp
using batchnorm::BatchNorm;
using batchnorm::FrozenBatchNorm;

// batchnorm/kernels/instruction_set.hpp
using batchnorm::limit_instruction_set;

// batchnorm/math/gradient_sums.hpp
using batchnorm::Gradients;
using batchnorm::GradientSums;

// batchnorm/math/masked.hpp
using batchnorm::masked;
using batchnorm::weighted;

// batchnorm/math/moments.hpp
using batchnorm::Moments;
using batchnorm::moments_of;

// batchnorm/math/moments_bytes.hpp
using batchnorm::moments_from_bytes;
using batchnorm::to_bytes;

// batchnorm/math/running.hpp
using batchnorm::apply_running_update;
using batchnorm::check_counter;
using batchnorm::check_running_start;
using batchnorm::check_running_update;
using batchnorm::set_statistics;
using batchnorm::update_factor;

// batchnorm/math/streaming_moments.hpp
using batchnorm::exchange;
using batchnorm::StreamingMoments;

// batchnorm/options.hpp
using batchnorm::Epilogue;
using batchnorm::NonFinite;
using batchnorm::Options;
using batchnorm::RunningUpdate;
using batchnorm::SingleValue;
using batchnorm::validate;
using batchnorm::VarianceEstimator;

// batchnorm/recalibrate/adapt.hpp
using batchnorm::adapt;
using batchnorm::adapted;
using batchnorm::target_shares;

// batchnorm/recalibrate/adaptation.hpp
using batchnorm::Adaptation;

// batchnorm/recalibrate/adaptive.hpp
using batchnorm::AdaptiveBatchNorm;
using batchnorm::Forgetting;

// batchnorm/recalibrate/diagnose.hpp
using batchnorm::diagnose;

// batchnorm/recalibrate/diagnosis.hpp
using batchnorm::Diagnosis;

// batchnorm/recalibrate/drift.hpp
using batchnorm::DriftMonitor;
using batchnorm::DriftOptions;

// batchnorm/recalibrate/drift_report.hpp
using batchnorm::DriftReport;

// batchnorm/recalibrate/drift_score.hpp
using batchnorm::DriftSample;
using batchnorm::kl_divergence;
using batchnorm::log_e_value;

// batchnorm/recalibrate/effective_values.hpp
using batchnorm::values_of_equal_weight;

// batchnorm/recalibrate/freezing.hpp
using batchnorm::backward;
using batchnorm::forward;
using batchnorm::ForwardPass;
using batchnorm::NormalizeWith;
using batchnorm::Running;

// batchnorm/recalibrate/layer_handle.hpp
using batchnorm::LayerHandle;

// batchnorm/recalibrate/minibatch_series.hpp
using batchnorm::MinibatchSeries;

// batchnorm/recalibrate/minibatches.hpp
using batchnorm::Minibatches;
using batchnorm::Proceed;
using batchnorm::ReestimationProgress;

// batchnorm/recalibrate/reestimate.hpp
using batchnorm::reestimate;

// batchnorm/recalibrate/reestimation.hpp
using batchnorm::Reestimation;
using batchnorm::ReestimationOptions;
using batchnorm::ReestimationPass;

// batchnorm/recalibrate/reestimation_report.hpp
using batchnorm::ChannelSummary;
using batchnorm::Estimator;
using batchnorm::LayerReestimate;
using batchnorm::ReestimationOrder;
using batchnorm::ReestimationReport;
using batchnorm::StatisticsGap;
using batchnorm::summarize;

// batchnorm/recalibrate/statistic_bank.hpp
using batchnorm::StatisticBank;

// batchnorm/state.hpp
using batchnorm::Staleness;
using batchnorm::StaleStatistics;
using batchnorm::State;
using batchnorm::StatisticVector;

// batchnorm/variants/conditional.hpp
using batchnorm::backward_conditional;
using batchnorm::backward_conditional_frozen;
using batchnorm::infer_conditional;
using batchnorm::Modulation;
using batchnorm::train_conditional;

// batchnorm/variants/derivatives.hpp
using batchnorm::double_backward;
using batchnorm::double_backward_frozen;
using batchnorm::jvp;
using batchnorm::jvp_frozen;

// batchnorm/variants/evalnorm.hpp
using batchnorm::evalnorm_loss;
using batchnorm::EvalNormLoss;
using batchnorm::EvalNormShares;

// batchnorm/variants/ghost.hpp
using batchnorm::backward_ghosts;
using batchnorm::GhostBatches;
using batchnorm::GhostMoments;
using batchnorm::GhostUpdate;
using batchnorm::train_ghosts;

// batchnorm/variants/renormalize.hpp
using batchnorm::backward_renormalized;
using batchnorm::Renormalization;
using batchnorm::RenormalizedBatch;
using batchnorm::RenormAverage;
using batchnorm::train_renormalized;

// batchnorm/variants/weigh_examples.hpp
using batchnorm::backward_weighing_examples;
using batchnorm::ExampleWeighing;
using batchnorm::infer_weighing_examples;

// batchnorm/version.hpp
using batchnorm::Version;
using batchnorm::version;

// batchnorm/view/batch_view.hpp
using batchnorm::BatchView;
using batchnorm::channels_first;
using batchnorm::channels_last;
using batchnorm::PositionOrder;

// batchnorm/view/calls.hpp
using batchnorm::BackwardResult;
using batchnorm::TrainResult;

// batchnorm/view/eigen.hpp
using batchnorm::Examples;
using batchnorm::examples_in_columns;
using batchnorm::examples_in_rows;
using batchnorm::MatrixView;

// batchnorm/view/input.hpp
using batchnorm::GradientOutput;
using batchnorm::Input;
using batchnorm::Output;

// batchnorm/view/mask.hpp
using batchnorm::MaskedInput;
using batchnorm::MaskedOutput;
using batchnorm::Weights;

// batchnorm/view/residual.hpp
using batchnorm::with_residual;
using batchnorm::WithResidual;

}  // namespace batchnorm
