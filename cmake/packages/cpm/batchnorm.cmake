# not run with CPM itself, which Debian does not have: tried with a stand-in for CPMAddPackage
CPMAddPackage(
  NAME batchnorm
  VERSION @VERSION@
  GIT_REPOSITORY "@REPOSITORY@"
  GIT_TAG "@COMMIT@"
  EXCLUDE_FROM_ALL YES
  SYSTEM YES
  OPTIONS "BATCHNORM_INSTRUCTION_SETS avx512" "BATCHNORM_COMPILED OFF"
)
