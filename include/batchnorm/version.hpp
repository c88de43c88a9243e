// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VERSION_HPP
#define BATCHNORM_VERSION_HPP

/// @file
/// The version, in the only place where it is written (the build files read it from here), and what
/// is part of the name of the inline namespace.

/// Version::major
#define BATCHNORM_VERSION_MAJOR 0
/// Version::minor
#define BATCHNORM_VERSION_MINOR 3
/// Version::patch
#define BATCHNORM_VERSION_PATCH 0

/// For users to define, the same in a whole program: for which vector instructions of x86-64 the
/// kernels are compiled. Each call chooses among them at run time.
///
///     avx512     those that the compiler may use everywhere, AVX2, and AVX-512; the default
///     avx2       without AVX-512
///     baseline   without both, for the smallest programs
///
/// With CMake it is an option of the same name, which defines it for all who link to batchnorm.
#if !defined(BATCHNORM_INSTRUCTION_SETS)
#define BATCHNORM_INSTRUCTION_SETS avx512
#endif

/// @cond
#define BATCHNORM_JOIN_AS_THEY_ARE(a, b, c, d, e, f, g) a##b##c##d##e##f##g
#define BATCHNORM_JOIN(a, b, c, d, e, f, g) BATCHNORM_JOIN_AS_THEY_ARE(a, b, c, d, e, f, g)
#define BATCHNORM_NUMBER_OF_baseline 1
#define BATCHNORM_NUMBER_OF_avx2 2
#define BATCHNORM_NUMBER_OF_avx512 3
#define BATCHNORM_NUMBER_OF_INSTRUCTION_SETS \
  BATCHNORM_JOIN(BATCHNORM_NUMBER_OF_, BATCHNORM_INSTRUCTION_SETS, , , , , )
#if BATCHNORM_NUMBER_OF_INSTRUCTION_SETS == 0
#error "batchnorm: BATCHNORM_INSTRUCTION_SETS must be baseline, avx2 or avx512"
#endif

// The inline namespace says everything by which the code of one name may differ between the
// translation units of a program, because a linker that meets two functions of one name takes
// either of them:
//
//   v0               the major version: two of them can live in one program
//   _no_exceptions   a failed check ends in the error handler instead of a throw
//   _avx2_fma ...    the instructions that the compiler may use everywhere (-mavx2, -march=...): on
//                    a processor without them, a program must be able to run its other units
//   _up_to_avx2      BATCHNORM_INSTRUCTION_SETS; also _baseline_only
//
// A unit without flags for any of these has v0.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define BATCHNORM_TAG_OF_EXCEPTIONS
#else
#define BATCHNORM_TAG_OF_EXCEPTIONS _no_exceptions
#endif

// Each of these includes those below it.
#if defined(__AVX512FP16__)
#define BATCHNORM_TAG_OF_VECTORS _avx512fp16
#elif defined(__AVX512VBMI2__)
#define BATCHNORM_TAG_OF_VECTORS _avx512vbmi2
#elif defined(__AVX512VL__)
#define BATCHNORM_TAG_OF_VECTORS _avx512vl
#elif defined(__AVX512F__)
#define BATCHNORM_TAG_OF_VECTORS _avx512f
#elif defined(__AVX2__)
#define BATCHNORM_TAG_OF_VECTORS _avx2
#elif defined(__AVX__)
#define BATCHNORM_TAG_OF_VECTORS _avx
#elif defined(__SSE4_2__)
#define BATCHNORM_TAG_OF_VECTORS _sse4_2
#elif defined(__SSE4_1__)
#define BATCHNORM_TAG_OF_VECTORS _sse4_1
#elif defined(__SSSE3__)
#define BATCHNORM_TAG_OF_VECTORS _ssse3
#elif defined(__SSE3__)
#define BATCHNORM_TAG_OF_VECTORS _sse3
#elif defined(__ARM_FEATURE_SVE)
#define BATCHNORM_TAG_OF_VECTORS _sve
#else
#define BATCHNORM_TAG_OF_VECTORS
#endif

// These are chosen one by one, or come with -march.
#if defined(__FMA__)
#define BATCHNORM_TAG_OF_FMA _fma
#else
#define BATCHNORM_TAG_OF_FMA
#endif
#if defined(__F16C__)
#define BATCHNORM_TAG_OF_F16C _f16c
#else
#define BATCHNORM_TAG_OF_F16C
#endif
#if defined(__BMI2__)
#define BATCHNORM_TAG_OF_BITS _bmi2
#elif defined(__BMI__) || defined(__LZCNT__) || defined(__MOVBE__)
#define BATCHNORM_TAG_OF_BITS _bmi
#else
#define BATCHNORM_TAG_OF_BITS
#endif

#if BATCHNORM_NUMBER_OF_INSTRUCTION_SETS == 3
#define BATCHNORM_TAG_OF_SETS
#elif BATCHNORM_NUMBER_OF_INSTRUCTION_SETS == 2
#define BATCHNORM_TAG_OF_SETS _up_to_avx2
#else
#define BATCHNORM_TAG_OF_SETS _baseline_only
#endif

#define BATCHNORM_INLINE_NAMESPACE                                                                \
  BATCHNORM_JOIN(v0, BATCHNORM_TAG_OF_EXCEPTIONS, BATCHNORM_TAG_OF_VECTORS, BATCHNORM_TAG_OF_FMA, \
                 BATCHNORM_TAG_OF_F16C, BATCHNORM_TAG_OF_BITS, BATCHNORM_TAG_OF_SETS)
/// @endcond

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The version as numbers, for code that prefers them to macros.
struct Version {
  int major;  ///< version with which calls may change their meaning
  int minor;  ///< version with which calls are added; before 1.0 also changed
  int patch;  ///< version with which mistakes are mended
};

/// The version of the headers that this translation unit includes.
inline constexpr Version version{BATCHNORM_VERSION_MAJOR, BATCHNORM_VERSION_MINOR,
                                 BATCHNORM_VERSION_PATCH};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VERSION_HPP
