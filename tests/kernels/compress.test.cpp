// SPDX-License-Identifier: MIT
#include "batchnorm/kernels/compress.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/random_bits.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

TEMPLATE_TEST_CASE("elements whose bits are set are compressed in their order", "", float, double,
                   Eigen::half, Eigen::bfloat16, long double) {
  Random random(41);
  for (const InstructionSet set :
       {InstructionSet::baseline, detail::usable_instruction_set(InstructionSet::best)}) {
    for (const Index bytes : {0, 1, 2, 5, 64}) {
      const auto bits = random_bits(random, bytes);
      const std::vector<TestType> from = whole_numbers<TestType>(random, bytes * 8);
      std::vector<TestType> to(static_cast<Size>(bytes * 8 + 8), TestType(-7)), expected;
      for (Index i = 0; i < bytes * 8; ++i) {
        if (is_set(bits, i)) expected.push_back(from[static_cast<Size>(i)]);
      }
      detail::compress(set, from.data(), 0, bits.data(), bytes, to.data(), 0, 1);
      CHECK(std::equal(expected.begin(), expected.end(), to.begin()));
      // Lines that begin one element apart, each compressed by the same bits.
      const Index lines = detail::lines_together, room = bytes * 8 + 8;
      const std::vector<TestType> several = whole_numbers<TestType>(random, bytes * 8 + lines);
      std::vector<TestType> packed(static_cast<Size>(lines * room), TestType(-7));
      detail::compress(set, several.data(), 1, bits.data(), bytes, packed.data(), room, lines);
      for (Index line = 0; line < lines; ++line) {
        Index next = line * room;
        for (Index i = 0; i < bytes * 8; ++i) {
          if (!is_set(bits, i)) continue;
          CHECK(packed[static_cast<Size>(next++)] == several[static_cast<Size>(line + i)]);
        }
      }
    }
  }
  for (unsigned bits = 0; bits < 256; ++bits) {
    Index count = 0;
    for (unsigned i = 0; i < 8; ++i) count += bits >> i & 1u;
    CHECK(detail::PlaceBits::count_of(bits) == count);
    if (bits != 0) CHECK((bits >> detail::lowest_bit(bits)) % 2 == 1);
  }
}

TEST_CASE("places on a list, row by row, as bits") {
  detail::PlaceBits bits;
  CHECK(bits.empty());
  bits.reset(2, 11);
  bits.set(0, 0, 1);
  bits.set(0, 7, 9);
  bits.set(0, 10, 11);
  bits.set(1, 1, 2);
  bits.set(1, 10, 11);
  bits.count();
  CHECK(bits.places() == 11);
  CHECK(bits.row_bytes() == 2);
  CHECK(bits.bytes() == 4);
  CHECK(bits.last_places() == 3);
  CHECK(bits.bits(0) == 0x81);
  CHECK(bits.bits(1) == 0x05);
  CHECK(bits.bits(2) == 0x02);
  CHECK(bits.bits(3) == 0x04);
  const Index ranks[] = {0, 2, 4, 5, 6};
  for (Index byte = 0; byte <= 4; ++byte) CHECK(bits.rank(byte) == ranks[byte]);
  const Index bytes[] = {0, 0, 1, 1, 2, 3};
  for (Index rank = 0; rank < 6; ++rank) CHECK(bits.byte_of(rank) == bytes[rank]);
}
