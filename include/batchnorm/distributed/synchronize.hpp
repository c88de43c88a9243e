// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DISTRIBUTED_SYNCHRONIZE_HPP
#define BATCHNORM_DISTRIBUTED_SYNCHRONIZE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/distributed/call_header.hpp"
#include "batchnorm/distributed/exchange_reference.hpp"
#include "batchnorm/distributed/share_tree.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/version.hpp"

// One minibatch spread over ranks: processes, threads, machines. README.md of this folder has the
// messages, what they cost, and what happens when something goes wrong.
// Longer than most: the messages of a call in their order, which all ranks must keep.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Whose gradients of gamma and beta backward returns.
enum class ParameterGradients {
  of_this_rank,  ///< its part of the sum, as for all other weights of data-parallel training
  of_all_ranks   ///< the whole sum, the same on all ranks
};

/// How ranks work together; the same on all of them.
struct SynchronizeOptions {
  /// Examples per block; 0: what a rank has is one block. Statistics are taken of blocks and merged
  /// in one tree over their numbers. Where every shard begins at a multiple of the block, counted
  /// over all ranks, results have the same bits for every number of ranks. Costs room for two
  /// numbers per channel and block.
  Index block = 0;
  /// What backward returns.
  ParameterGradients parameter_gradients = ParameterGradients::of_this_rank;
  /// Without blocks, and for an exchange that can also sum: from more than this many channels times
  /// ranks on, sums about a common pivot are exchanged, not the moments of all ranks (README.md).
  Index gather_at_most = 32768;
};

/// Makes the train, normalize and backward of several ranks one call on one minibatch. A reference
/// to something that exchanges small messages: MPI (distributed/mpi.hpp), threads, pipes, sockets.
///
///     Synchronize together(exchange, rank, ranks);
///     const auto batch = layer.train(x, y, together);
///     layer.backward(batch, x, dy, dx, execution.with(together, layer_number));
///
/// All ranks make the same calls in the same order, each with its own part of the examples, which
/// may be none. All get the same moments and running statistics, to the bit, or all fail with the
/// same message, and then no layer has changed. Moments, masks' counts and weights are merged
/// exactly as one machine merges them.
///
/// The exchange is called by the thread that calls the layer, and is one of:
///
///     exchange(mine, bytes, all)    const void*, std::size_t, void*: `all` receives the bytes of
///                                   rank 0, then those of rank 1, ... `bytes` is never 0.
///     exchange.sum(mine, n, all)    optional. const double*, std::size_t, double*: `all` receives
///                                   the sums over all ranks, the same bits on all of them
///
/// It returns when everything is there, and throws when that fails: this object is of no use then,
/// and says so. It must not touch mine and all afterwards.
///
/// Cost: per call, without blocks and sums, two exchanges, one of 64 bytes and one of 8 (2 C + 3)
/// bytes per rank, for C channels. One rank without blocks exchanges nothing. The exchange must
/// outlive this object, and this object the Executions that refer to it. Thread safety: for one
/// call at a time. Source: Chan, Golub and LeVeque 1979, eq. 2.1, for what is merged.
class Synchronize : private detail::Collective {
  template <class Exchange>
  using if_exchange =
      std::enable_if_t<std::is_invocable<Exchange&, const void*, std::size_t, void*>::value, int>;

 public:
  /// For this rank, 0 or higher, of so many ranks.
  /// @throws std::invalid_argument unless 0 <= rank < ranks, and for negative options
  template <class Exchange, if_exchange<Exchange> = 0>
  Synchronize(Exchange& exchange, int rank, int ranks, const SynchronizeOptions& options = {})
      : Collective(&combine_ranks, options.parameter_gradients == ParameterGradients::of_all_ranks),
        exchange_(exchange),
        rank_(rank),
        ranks_(ranks),
        options_(options) {
    check_options();
  }
  /// Neither copied nor moved: Executions refer to it.
  Synchronize(const Synchronize&) = delete;
  Synchronize& operator=(const Synchronize&) = delete;  ///< likewise
  int rank() const { return rank_; }                    ///< the number of this rank, from 0
  int ranks() const { return ranks_; }                  ///< how many there are
  /// What was given.
  const SynchronizeOptions& options() const { return options_; }

  /// What a call takes: this thread does the work of this rank. For more threads, and for numbers
  /// of layers: Execution::with.
  operator Execution() { return Execution().with(*this); }

  /// Takes the place of the next call on a rank that cannot make it, say because its data could not
  /// be read: the call of all other ranks fails and names this rank and the reason. Returns then.
  /// @throws what the exchange does
  void refuse(const std::string& reason) {
    exchange_.begin_call();
    if (ranks_ == 1) return;
    detail::CallHeader header;
    header.kind = detail::CollectiveKind::refusal;
    header.call = exchange_.calls();
    header.verdict = detail::Verdict::other;
    exchange_headers(header).check_same_call();
    exchange_reasons(reason);
  }

 private:
  friend class Execution;
  static constexpr std::size_t reason_length = 256;

  void check_options() const {
    if (rank_ < 0 || rank_ >= ranks_) {
      detail::fail_argument("Synchronize", "a rank is one of all", "0 <= rank < ranks",
                            detail::text(rank_, " of ", ranks_));
    }
    if (options_.block < 0 || options_.gather_at_most < 0) {
      detail::fail_argument("Synchronize", "examples of a block, and numbers that are gathered",
                            "zero or more",
                            detail::text(options_.block, " and ", options_.gather_at_most));
    }
  }

  static void combine_ranks(Collective& self, std::uint64_t layer,
                            const detail::CollectiveCall& call,
                            const detail::CollectivePiece& piece, detail::ChannelShare& own,
                            detail::ChannelShare& all) {
    static_cast<Synchronize&>(self).join(layer, call, piece, own, all);
  }

  void join(std::uint64_t layer, const detail::CollectiveCall& call,
            const detail::CollectivePiece& piece, detail::ChannelShare& own,
            detail::ChannelShare& all) {
    exchange_.begin_call();
    detail::CallHeader header = header_of(layer, call);
    std::string reason;
    header.verdict = take_own(call, piece, reason);
    header.weights = static_cast<std::uint16_t>(weights_);
    samples_ = call.samples;
    all.weights = weights_;
    if (ranks_ == 1) {
      if (header.verdict != detail::Verdict::accepted)
        detail::fail_for_rank(header.verdict, reason);
    } else {
      const detail::CallHeaders headers = exchange_headers(header);
      headers.check_same_call();
      reject_together(call.function, headers, reason);
      samples_ = headers.samples();
      all.weights = headers.check_same_weights();
      if (exchange_.can_sum() && options_.block == 0 &&
          call.channels > options_.gather_at_most / ranks_) {
        detail::numbers_to_share(leaves_.data(), call.channels, own);
        sum_all(call, all);
        return;
      }
    }
    gather_all(call, own, all);
  }

  detail::CallHeader header_of(std::uint64_t layer, const detail::CollectiveCall& call) const {
    detail::CallHeader header;
    header.kind = call.kind;
    header.call = exchange_.calls();
    header.channels = call.channels;
    header.layer = layer;
    header.options = detail::Fingerprint()
                         .add(call.options)
                         .add(static_cast<std::uint64_t>(options_.block))
                         .add(static_cast<std::uint64_t>(options_.gather_at_most))
                         .add(static_cast<std::uint64_t>(options_.parameter_gradients))
                         .value();
    header.state = call.state;
    header.scalar = static_cast<std::uint16_t>(call.scalar);
    header.samples = call.samples;
    return header;
  }

  /// The pieces of this rank, into leaves_. What refuses them becomes a reason that can travel.
  detail::Verdict take_own(const detail::CollectiveCall& call, const detail::CollectivePiece& piece,
                           std::string& reason) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
    try {
      take_pieces(call, piece);
    } catch (const std::invalid_argument& error) {
      reason = error.what();
      return detail::Verdict::argument;
    } catch (const std::domain_error& error) {
      reason = error.what();
      return detail::Verdict::domain;
    } catch (const std::exception& error) {
      reason = error.what();
      return detail::Verdict::other;
    } catch (...) {
      reason = "an exception that is no std::exception";
      return detail::Verdict::other;
    }
#else
    take_pieces(call, piece);
#endif
    if (!call.reject_non_finite) return detail::Verdict::accepted;
    const std::size_t length = leaf_length(call.channels);
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      if (i % length < 3 || detail::is_finite(leaves_[i])) continue;
      const Index channel = static_cast<Index>(i % length - 3) % call.channels;
      reason = detail::text("NaN, infinity or overflow in channel ", channel);
      return detail::Verdict::domain;
    }
    return detail::Verdict::accepted;
  }

  void take_pieces(const detail::CollectiveCall& call, const detail::CollectivePiece& piece) {
    const Index size = options_.block == 0 ? call.samples : options_.block;
    const std::size_t length = leaf_length(call.channels);
    leaves_.resize(length);
    weights_ = 0;
    Index first = 0;
    do {
      const std::size_t begin = leaves_.size() - length;
      double* const numbers = leaves_.data() + begin;
      detail::ChannelShare share;
      share.first = numbers + 3;
      share.second = share.first + call.channels;
      const Index samples = (std::min)(size, call.samples - first);
      piece(first, samples, share);
      weights_ = (std::max)(weights_, share.weights);
      detail::share_to_numbers(share, numbers);
      first += samples;
      if (first < call.samples) leaves_.resize(leaves_.size() + length);
    } while (first < call.samples);
  }

  detail::CallHeaders exchange_headers(const detail::CallHeader& header) {
    headers_.resize(sizeof header * static_cast<std::size_t>(ranks_));
    exchange_.gather(&header, sizeof header, headers_.data());
    return {headers_.data(), ranks_};
  }

  /// The reasons of all ranks, each of the same length.
  std::string exchange_reasons(std::string reason) {
    reason.resize(reason_length - 1);
    reason.resize(reason_length);  // ends with a zero
    std::string all(reason_length * static_cast<std::size_t>(ranks_), '\0');
    exchange_.gather(reason.data(), reason.size(), all.data());
    return all;
  }

  /// When one rank refuses its part, all fail, and say which one it was.
  void reject_together(const char* function, const detail::CallHeaders& headers,
                       const std::string& reason) {
    const int refusing = headers.first_refusal();
    if (refusing == ranks_) return;
    const std::string reasons = exchange_reasons(reason);
    const char* const text = reasons.data() + reason_length * static_cast<std::size_t>(refusing);
    detail::fail_for_rank(
        headers[refusing].verdict,
        detail::rule_text(function, "a minibatch is accepted by all ranks or by none",
                          detail::text("all ", ranks_, " ranks to accept their parts"),
                          detail::text("a refusal by rank ", refusing, ": ", text)));
  }

  /// How many leaves a rank has.
  Index leaves_of(Index samples) const {
    if (options_.block == 0) return 1;
    return samples / options_.block + (samples % options_.block != 0 ? 1 : 0);
  }

  /// The nodes that each rank's leaves are made of.
  std::vector<std::vector<detail::ShareNode>> nodes_of_ranks(Index own) const {
    const detail::CallHeaders headers(headers_.data(), ranks_);
    std::vector<std::vector<detail::ShareNode>> nodes;
    Index begin = 0;
    for (int rank = 0; rank < ranks_; ++rank) {
      const Index end = begin + leaves_of(rank == rank_ ? own : Index(headers[rank].samples));
      nodes.push_back(detail::nodes_of(begin, end));
      begin = end;
    }
    return nodes;
  }

  /// Everybody gets the nodes of all ranks and merges them.
  void gather_all(const detail::CollectiveCall& call, detail::ChannelShare& own,
                  detail::ChannelShare& all) {
    const bool moments = call.kind != detail::CollectiveKind::backward;
    const std::size_t length = leaf_length(call.channels);
    const auto nodes = nodes_of_ranks(call.samples);
    std::size_t most = 0;
    for (const auto& some : nodes) most = (std::max)(most, some.size());
    detail::ShareTree mine(moments, call.channels);
    const double* leaf_numbers = leaves_.data();
    for (const detail::ShareNode& node : nodes[static_cast<std::size_t>(rank_)]) {
      for (Index i = 0; i < node.size; ++i, leaf_numbers += length) {
        mine.add({node.first + i, 1}, leaf_numbers);
      }
    }
    if (ranks_ == 1) {
      detail::numbers_to_share(mine.finish(), call.channels, own);
      detail::numbers_to_share(mine.finish(), call.channels, all);
      return;
    }
    sent_.assign(most * length, 0.0);
    std::copy(mine.numbers(), mine.numbers() + mine.nodes().size() * length, sent_.begin());
    received_.resize(sent_.size() * static_cast<std::size_t>(ranks_));
    // Without an example anywhere there is no block, and nobody has anything to send.
    if (!sent_.empty()) {
      exchange_.gather(sent_.data(), sent_.size() * sizeof(double), received_.data());
    }
    if (own.first != nullptr) detail::numbers_to_share(mine.finish(), call.channels, own);
    detail::ShareTree tree(moments, call.channels);
    for (std::size_t rank = 0; rank < nodes.size(); ++rank) {
      const double* numbers = received_.data() + rank * sent_.size();
      for (const detail::ShareNode& node : nodes[rank]) {
        tree.add(node, numbers);
        numbers += length;
      }
    }
    detail::numbers_to_share(tree.finish(), call.channels, all);
  }

  /// Sums over all ranks. Moments take two rounds: the mean m of all, roughly, as sum(W_r mean_r) /
  /// W; then, with d_r = mean_r - m, which is small, sum(W_r d_r) and sum(M_r + W_r d_r^2):
  ///
  ///     mean = m + sum(W_r d_r) / W     M = sum(M_r + W_r d_r^2) - sum(W_r d_r)^2 / W
  void sum_all(const detail::CollectiveCall& call, detail::ChannelShare& all) {
    const std::size_t channels = static_cast<std::size_t>(call.channels);
    const bool moments = call.kind != detail::CollectiveKind::backward;
    sent_ = leaves_;
    if (moments) {
      sent_.resize(3 + channels);
      for (std::size_t i = 0; i < channels; ++i) sent_[3 + i] *= leaves_[1];
    }
    sum_of_ranks(sent_);
    if (!moments || !(sent_[0] > 0.0)) {
      sent_.resize(leaves_.size(), 0.0);
      detail::numbers_to_share(sent_.data(), call.channels, all);
      return;
    }
    all.count = static_cast<Index>(sent_[0]);
    all.weight = sent_[1];
    all.squared_weight = sent_[2];
    std::vector<double> sums(2 * channels, 0.0);
    for (std::size_t i = 0; i < channels; ++i) {
      all.first[i] = sent_[3 + i] / all.weight;
      if (!(leaves_[0] > 0.0)) continue;
      const double difference = leaves_[3 + i] - all.first[i];
      sums[i] = leaves_[1] * difference;
      sums[channels + i] = leaves_[3 + channels + i] + sums[i] * difference;
    }
    sum_of_ranks(sums);
    for (std::size_t i = 0; i < channels; ++i) {
      const double step = sums[i] / all.weight;
      const double squares = sums[channels + i] - sums[i] * step;
      all.first[i] += step;
      all.second[i] = detail::is_negative(squares) ? 0.0 : squares;
    }
  }

  void sum_of_ranks(std::vector<double>& numbers) {
    received_.resize(numbers.size());
    exchange_.sum(numbers.data(), numbers.size(), received_.data());
    numbers.swap(received_);
  }

  static std::size_t leaf_length(Index channels) {
    return static_cast<std::size_t>(detail::share_length(channels));
  }

  detail::ExchangeReference exchange_;
  int rank_;
  int ranks_;
  SynchronizeOptions options_;
  std::uint32_t weights_ = 0;   ///< what those of this rank say, as in ChannelShare
  std::string headers_;         ///< bytes
  std::vector<double> leaves_;  ///< this rank's pieces, each as numbers in a row
  std::vector<double> sent_, received_;
};

inline Execution Execution::with(Synchronize& synchronize, std::uint64_t layer) const {
  Execution execution = *this;
  // One rank without blocks does what it would do without ranks.
  const bool alone = synchronize.ranks() == 1 && synchronize.options().block == 0;
  execution.collective_ = alone ? nullptr : &synchronize;
  execution.layer_ = layer;
  return execution;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DISTRIBUTED_SYNCHRONIZE_HPP
