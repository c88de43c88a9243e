// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DISTRIBUTED_MPI_HPP
#define BATCHNORM_DISTRIBUTED_MPI_HPP

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/distributed/synchronize.hpp"
#include "batchnorm/version.hpp"

// The one header that includes mpi.h: Synchronize over MPI 3.0 or later, through its C functions.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How ranks work together over MPI.
struct MpiOptions {
  SynchronizeOptions synchronize;  ///< blocks, and whose gradients
  /// How long a rank waits for the others, in seconds, before it takes one of them for lost.
  double deadline = 60.0;
};

namespace detail {

/// The exchange of an MpiSynchronize.
class MpiExchange {
  using Clock = std::chrono::steady_clock;

 public:
  MpiExchange(MPI_Comm communicator, double deadline) : deadline_(deadline) {
    check_initialized();
    check_thread();
    if (!is_finite(deadline) || !(deadline > 0.0)) {
      fail_argument(name, "deadline in seconds", "a positive number", text(deadline));
    }
    if (communicator == MPI_COMM_NULL) {
      fail_argument(name, "communicator", "one that this rank belongs to", "MPI_COMM_NULL");
    }
    int inter = 0;
    MPI_Comm_test_inter(communicator, &inter);
    if (inter != 0) {
      fail_argument(name, "communicator", "one group of ranks", "an intercommunicator");
    }
    link_ = new Link;
    check(MPI_Comm_dup(communicator, &link_->communicator), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(link_->communicator, MPI_ERRORS_RETURN);
    // MPI_Finalize deletes what is attached to MPI_COMM_SELF first, while MPI can still be called.
    MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, &free_at_finalize, &link_->key, nullptr);
    MPI_Comm_set_attr(MPI_COMM_SELF, link_->key, link_);
    MPI_Comm_rank(link_->communicator, &rank_);
    MPI_Comm_size(link_->communicator, &ranks_);
  }
  MpiExchange(const MpiExchange&) = delete;
  MpiExchange& operator=(const MpiExchange&) = delete;

  ~MpiExchange() {
    // After an exchange that did not end, MPI may still write to what the link has.
    if (failed_) return;
    if (link_->key != MPI_KEYVAL_INVALID) MPI_Comm_delete_attr(MPI_COMM_SELF, link_->key);
    delete link_;
  }

  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  void operator()(const void* mine, std::size_t bytes, void* all) {
    const std::size_t all_bytes = bytes * static_cast<std::size_t>(ranks_);
    begin(mine, bytes, all_bytes, bytes);
    check(MPI_Iallgather(link_->sent.data(), static_cast<int>(bytes), MPI_BYTE,
                         link_->received.data(), static_cast<int>(bytes), MPI_BYTE,
                         link_->communicator, &link_->request),
          "MPI_Iallgather");
    wait("MPI_Iallgather");
    std::memcpy(all, link_->received.data(), all_bytes);
  }

  void sum(const double* mine, std::size_t n, double* all) {
    begin(mine, n * sizeof(double), n * sizeof(double), n);
    check(MPI_Iallreduce(link_->sent.data(), link_->received.data(), static_cast<int>(n),
                         MPI_DOUBLE, MPI_SUM, link_->communicator, &link_->request),
          "MPI_Iallreduce");
    wait("MPI_Iallreduce");
    std::memcpy(all, link_->received.data(), n * sizeof(double));
  }

 private:
  static constexpr const char* name = "MpiSynchronize";

  /// What MPI knows the address of. It outlives everything else when a request is left pending.
  struct Link {
    MPI_Comm communicator = MPI_COMM_NULL;
    MPI_Request request = MPI_REQUEST_NULL;
    int key = MPI_KEYVAL_INVALID;
    bool pending = false;
    std::vector<unsigned char> sent, received;
  };

  /// Called by MPI_Comm_delete_attr and by MPI_Finalize, whichever is first.
  static int free_at_finalize(MPI_Comm, int, void* stored, void*) {
    Link* const link = static_cast<Link*>(stored);
    MPI_Comm_free_keyval(&link->key);
    // Freeing waits for what is pending, which a lost rank never ends.
    return link->pending ? MPI_SUCCESS : MPI_Comm_free(&link->communicator);
  }

  static void check_initialized() {
    int initialized = 0, finalized = 0;
    MPI_Initialized(&initialized);
    MPI_Finalized(&finalized);
    if (initialized != 0 && finalized == 0) return;
    fail_argument(name, "MPI is running", "a call between MPI_Init_thread and MPI_Finalize",
                  initialized == 0 ? "one before" : "one behind");
  }

  /// MPI_THREAD_FUNNELED is enough: MPI is called by the thread that calls the layer, and by none
  /// that does work for it.
  static void check_thread() {
    int level = MPI_THREAD_SINGLE, is_main = 0;
    MPI_Query_thread(&level);
    if (level >= MPI_THREAD_SERIALIZED) return;
    MPI_Is_thread_main(&is_main);
    if (is_main != 0) return;
    fail_argument(name, "below MPI_THREAD_SERIALIZED only one thread calls MPI",
                  "the thread that has called MPI_Init_thread", "another thread");
  }

  void check(int code, const char* function) {
    if (code == MPI_SUCCESS) return;
    failed_ = true;
    char message[MPI_MAX_ERROR_STRING + 1] = {};
    int length = 0;
    MPI_Error_string(code, message, &length);
    raise_runtime_error(rule_text(name, function, "success", message));
  }

  void begin(const void* mine, std::size_t bytes, std::size_t all_bytes, std::size_t count) {
    check_initialized();
    check_thread();
    if (count > static_cast<std::size_t>((std::numeric_limits<int>::max)())) {
      fail_argument(name, "length of a message", "less than 2^31", text(count));
    }
    const unsigned char* const from = static_cast<const unsigned char*>(mine);
    link_->sent.assign(from, from + bytes);
    link_->received.resize(all_bytes);
  }

  /// Asks MPI again and again, then sleeps in between, for longer and longer: ranks may be more
  /// than cores, and those that are waited for need one. (Three ranks on two cores that have other
  /// work as well take 1.1 ms per exchange in this way, and 3.6 ms with yield() instead.)
  void wait(const char* function) {
    using std::chrono::microseconds;
    link_->pending = true;
    const Clock::time_point start = Clock::now();
    const auto limit = std::chrono::duration<double>(deadline_);
    for (int done = 0; done == 0;) {
      check(MPI_Test(&link_->request, &done, MPI_STATUS_IGNORE), function);
      if (done != 0) break;
      const Clock::duration waited = Clock::now() - start;
      if (waited > limit) fail_deadline(function);
      if (waited < microseconds(50)) continue;
      const Clock::duration longest = microseconds(1000);
      std::this_thread::sleep_for((std::min)(Clock::duration(waited / 16), longest));
    }
    link_->pending = false;
  }

  [[noreturn]] void fail_deadline(const char* function) {
    failed_ = true;
    raise_runtime_error(rule_text(
        name, text(function, " on rank ", rank_, " of ", ranks_),
        text("all ranks to take part within ", deadline_, " s"),
        "no answer from at least one, which may have ended, hang, or be in another call; the "
        "communicator is of no use any more"));
  }

  double deadline_;
  Link* link_ = nullptr;
  bool failed_ = false;
  int rank_ = 0;
  int ranks_ = 1;
};

}  // namespace detail

/// Synchronize over MPI.
///
///     MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
///     batchnorm::MpiSynchronize together(MPI_COMM_WORLD);
///     layer.train(x, y, together);
///
/// Works on a duplicate of the communicator, so that its messages meet no others. Statistics over
/// groups of ranks: give it a communicator of MPI_Comm_split. The duplicate is freed with this
/// object or by MPI_Finalize, whichever comes first; ranks destroy their objects in one order.
///
/// When a rank is lost, or does not call within the deadline, the others get a std::runtime_error;
/// from then on the communicator is of no use, calls say so, and MPI_Finalize may hang: leave with
/// MPI_Abort or std::_Exit. Many MPIs end all ranks when one ends without MPI_Finalize, whatever
/// the others would do.
///
/// Creating it is collective. For MpiOptions::synchronize see Synchronize. Cost: as Synchronize;
/// one MPI_Comm_dup when it is made. Thread safety: MPI_THREAD_FUNNELED is enough; one call at a
/// time. Source: the standard of MPI 3.0.
/// @throws std::invalid_argument for no or a wrong communicator, a deadline that is not positive,
///         outside of MPI_Init and MPI_Finalize, and on a thread that may not call MPI
class MpiSynchronize final : private detail::MpiExchange, public Synchronize {
 public:
  /// Of the ranks of a communicator, with options.
  explicit MpiSynchronize(MPI_Comm communicator, const MpiOptions& options = {})
      : MpiExchange(communicator, options.deadline),
        Synchronize(static_cast<MpiExchange&>(*this), MpiExchange::rank(), MpiExchange::ranks(),
                    options.synchronize) {}

  using Synchronize::rank;   ///< the number of this rank
  using Synchronize::ranks;  ///< how many there are
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DISTRIBUTED_MPI_HPP
