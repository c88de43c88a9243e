// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VERSION_HPP
#define BATCHNORM_VERSION_HPP

// The only place where the version is written; the build files read it from here.
#define BATCHNORM_VERSION_MAJOR 0
#define BATCHNORM_VERSION_MINOR 2
#define BATCHNORM_VERSION_PATCH 0

// The inline namespace carries the major version, so that two majors can live in one program. A
// build without exceptions gets a namespace of its own: there, a failed check ends in the error
// handler instead of a throw, and one name must not have two definitions in one program.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define BATCHNORM_INLINE_NAMESPACE v0
#else
#define BATCHNORM_INLINE_NAMESPACE v0_no_exceptions
#endif

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The version as numbers, for code that prefers them to macros.
struct Version {
  int major;
  int minor;
  int patch;
};

/// The version of the headers that this translation unit includes.
inline constexpr Version version{BATCHNORM_VERSION_MAJOR, BATCHNORM_VERSION_MINOR,
                                 BATCHNORM_VERSION_PATCH};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VERSION_HPP
